"""Do answer keys and catalog speak of the same items, and can a query reach what a need wants?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from recr1.doctor.base import Finding, Patient, Symptom, Verdict, finding, graded, watching
from recr1.errors import examples
from recr1.evaluate.references import BEST_ITEMS, TEXT_WORDS, find_references
from rewards.base import Need, Qrels
from rewards.measures import parse_measure

ENOUGH_NEEDS = 20
"""Fewer needs than this say nothing about whether answer keys belong to them."""


def qrels(patient: Patient) -> Finding:
    """Every need has an answer key whose rows are in the catalog and one of whose grades is positive."""
    task, items = patient.env.task, len(patient.catalog)
    keys = {need.id: task.qrels.get(need.id) for need in patient.needs}
    without = [need_id for need_id, key in keys.items() if key is None]
    outside = [need_id for need_id, key in keys.items() if key and key.rows_J[-1] >= items]
    hopeless = [need_id for need_id, key in keys.items() if key is not None and not key.positives]
    symptoms = [
        Symptom("error", f"{len(needs)} of {len(keys)} needs {what} ({examples(needs)}): {remedy}")
        for needs, what, remedy in (
            (without, "have no answer key", "use the same need ids in both files"),
            (outside, f"have an answer key with rows beyond the catalog's {items} items", "judge this catalog's items"),
            (hopeless, "have no item with a grade above 0", "leave them out, since nothing can be learned from them"),
        )
        if needs
    ]
    numbers: dict[str, Any] = {
        "needs": len(keys),
        "without_key": len(without),
        "rows_outside": len(outside),
        "without_positive": len(hopeless),
        "excluded": dict(task.excluded),
    }
    if not patient.needs:
        symptoms.append(Symptom("error", "the task has no needs in any split: nothing can be trained or measured"))
    if len(patient.judged) >= ENOUGH_NEEDS:
        own, others = _common_words(patient)
        numbers |= {"words_shared_with_own_items": own, "words_shared_with_items_of_others": others}
        if own <= 1.1 * others:
            what = "needs share no more words with the items judged best for them than with those of other needs"
            remedy = "see whether ids were mixed up or rows are shifted (different languages look like this too)"
            symptoms.append(Symptom("warning", f"{what} ({own:.3f} and {others:.3f} of them): {remedy}"))
    fine = f"{len(keys)} needs have answer keys, all rows of which are in the catalog"
    return finding("qrels", symptoms, fine, numbers)


def _common_words(patient: Patient) -> tuple[float, float]:
    """The share of a need's words that stand in its best item, and in the best item of another need."""
    words = [_lower(patient, need.text) for need in patient.judged]
    held = [_lower(patient, patient.catalog.texts[best_rows(_key(patient, need))[0]]) for need in patient.judged]
    own = [len(need & item) / max(len(need), 1) for need, item in zip(words, held, strict=True)]
    others = [
        len(need & item) / max(len(need), 1)
        for turn in range(1, min(6, len(held)))
        for need, item in zip(words, held[turn:] + held[:turn], strict=True)
    ]
    return float(np.mean(own)), float(np.mean(others))


def _lower(patient: Patient, text: str) -> set[str]:
    return {word.lower() for word in patient.content_words(text)}


def _key(patient: Patient, need: Need) -> Qrels:
    return patient.env.task.qrels[need.id]


def best_rows(key: Qrels) -> list[int]:
    """The items of an answer key's highest grade, at most so many as the ceiling looks at."""
    best: list[int] = key.rows_J[key.grades_J == key.grades_J.max()][:BEST_ITEMS].tolist()
    return best


def ceiling(patient: Patient) -> Finding:
    """What needs want can be reached: by the items' own texts, and by any query of the ceiling."""
    needs = patient.judged
    if not needs:
        return Finding("ceiling", "error", "no need has an answer key that can be used: see the check qrels", {})
    measure = parse_measure(patient.main_measure)
    with watching("searching the texts of the best items"):
        references = find_references(patient.env, needs, [measure])
    best = references.ceiling[measure.name]
    unserved = [need.id for need, value in zip(needs, best, strict=True) if value <= 0]
    by_text = _found_by_text(patient, needs)
    numbers = {
        "needs": len(needs),
        "measure": measure.name,
        "floor": float(references.floor[measure.name].mean()),
        "ceiling": float(best.mean()),
        "best_items_found_by_text": by_text,
        "unserved": unserved,
    }
    symptoms = []
    if unserved:
        what = f"no query of the ceiling earns {len(unserved)} of {len(needs)} needs a {measure.name} above 0"
        remedy = "see with `recr1 search` why their items cannot be found, or leave them out"
        verdict: Verdict = "error" if len(unserved) >= 0.1 * len(needs) else "warning"
        symptoms.append(Symptom(verdict, f"{what} ({examples(unserved)}): {remedy}"))
    reach = graded(by_text, warn_below=0.8, fail_below=0.2)
    if reach != "ok":
        what = f"only {by_text:.0%} of needs find their best items within k={patient.env.k} by the items' own texts"
        symptoms.append(Symptom(reach, f"{what}: raise k, or search the fields that hold the texts"))
    floor, top = numbers["floor"], numbers["ceiling"]
    fine = (
        f"{len(needs)} needs can be served: {measure.name} is {floor:.3f} for raw needs, {top:.3f} for the best query"
    )
    return finding("ceiling", symptoms, fine, numbers)


def _found_by_text(patient: Patient, needs: Sequence[Need]) -> float:
    """The share of needs one of whose best items is found by its own text, cut as the ceiling does it."""
    wanted = [(place, row) for place, need in enumerate(needs) for row in best_rows(_key(patient, need))]
    hits = patient.search([" ".join(patient.catalog.texts[row].split()[:TEXT_WORDS]) for _, row in wanted])
    served = {place for (place, row), rows_K in zip(wanted, hits.rows_QK, strict=True) if row in rows_K}
    return len(served) / len(needs)
