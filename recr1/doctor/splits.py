"""Are the splits apart? Needs that stand in two of them, or almost; and targets that they share."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from itertools import combinations
from math import ceil
from typing import Any

from recr1.doctor.base import Finding, Patient, Symptom, Verdict, examples, finding
from recr1.doctor.qrels import best_rows
from rewards.base import Need

NEAR = 0.8
"""Needs are near-equal when this share of all their different words is common to both (Jaccard)."""
WORTH_A_WORD, WRONG = 0.01, 0.2
"""Shares of a split that may be near-equal to needs of another one before it is a warning, and an error."""


def splits(patient: Patient) -> Finding:
    """No need of one split stands in another, by id, by text or almost; shared targets are counted."""
    symptoms: list[Symptom] = []
    numbers: dict[str, Any] = {"needs": {split: len(needs) for split, needs in patient.splits.items()}}
    for (one, needs), (other, held) in combinations(patient.splits.items(), 2):
        pair = f"{one} and {other}"
        ids = sorted({need.id for need in needs} & {need.id for need in held})
        texts = {_plain(need.text) for need in needs}
        equal = [need.text for need in held if _plain(need.text) in texts]
        near = [need.text for need in near_equal(needs, held) if _plain(need.text) not in texts]
        shared = _targets(patient, needs) & _targets(patient, held)
        numbers[pair] = {
            "equal_ids": len(ids),
            "equal_needs": len(equal),
            "near_equal_needs": len(near),
            "shared_targets": len(shared),
        }
        symptoms += _overlap(pair, other, ids, equal, near, len(held))
    pairs = {pair: counts for pair, counts in numbers.items() if pair != "needs"}
    nearly = sum(counts["near_equal_needs"] for counts in pairs.values())
    reported = "; ".join(f"{pair} {counts['shared_targets']}" for pair, counts in pairs.items())
    fine = f"no need stands in two splits, {nearly or 'none'} almost (targets in common: {reported or 'one split'})"
    return finding("splits", symptoms, fine, numbers)


def _overlap(pair: str, other: str, ids: Sequence[str], equal: list[str], near: list[str], held: int) -> list[Symptom]:
    symptoms = []
    if ids:
        what = f"{len(ids)} need ids stand in {pair} ({examples(ids)})"
        symptoms.append(Symptom("error", f"{what}: training would find two needs for one id; rename or drop them"))
    if equal:
        what = f"{len(equal)} of {held} needs of {other} are the same text in {pair} ({examples(equal, 2)})"
        symptoms.append(Symptom("error", f"{what}: the split measures memory; split by text, not by line"))
    if len(near) >= WORTH_A_WORD * held:
        verdict: Verdict = "error" if len(near) >= WRONG * held else "warning"
        what = f"{len(near)} of {held} needs of {other} have almost the same words in {pair} ({examples(near, 2)})"
        symptoms.append(Symptom(verdict, f"{what}: keep variants of a need in one split"))
    return symptoms


def near_equal(needs: Sequence[Need], held: Sequence[Need], least: float = NEAR) -> Iterator[Need]:
    """The held needs whose set of words has a Jaccard similarity of at least `least` with some need's; exact.

    Two sets this alike share one of the rarest words of each, so that only those are looked up (prefix filtering:
    Chaudhuri, Ganti, Kaushik, "A Primitive Operator for Similarity Joins in Data Cleaning", ICDE 2006).
    """
    sets, probes = [_tokens(need.text) for need in needs], [_tokens(need.text) for need in held]
    frequency = Counter(token for tokens in (*sets, *probes) for token in tokens)

    def rarest(tokens: frozenset[str]) -> list[str]:
        ordered = sorted(tokens, key=lambda token: (frequency[token], token))
        return ordered[: len(tokens) - ceil(least * len(tokens)) + 1]

    holders: dict[str, list[int]] = defaultdict(list)
    for place, tokens in enumerate(sets):
        for token in rarest(tokens):
            holders[token].append(place)
    for need, tokens in zip(held, probes, strict=True):
        places = {place for token in rarest(tokens) for place in holders.get(token, ())}
        if any(len(tokens & sets[place]) >= least * len(tokens | sets[place]) for place in places):
            yield need


def _tokens(text: str) -> frozenset[str]:
    return frozenset(re.findall(r"\w+", text.casefold()))


def _plain(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.casefold())) or text


def _targets(patient: Patient, needs: Sequence[Need]) -> set[int]:
    """The best items of needs."""
    keys = (patient.env.task.qrels.get(need.id) for need in needs)
    return {row for key in keys if key for row in best_rows(key)}
