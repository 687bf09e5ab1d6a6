"""The task: do answer keys and prompts belong to the needs, and can queries find what needs want?"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from recr1.doctor.base import Fault, Finding, Setup, Verdict, catching, finding, graded
from recr1.errors import examples
from recr1.evaluate.references import TEXT_WORDS, find_references
from recr1.tasks.splits import copied
from retrievers.abilities import capabilities_of
from rewards.base import Need, Qrels
from rewards.measures import parse_measure

NO_KEY = "no need has a valid answer key: see the check qrels"
ASKS_FOR: Mapping[str, str] = {
    "boolean": r"\b(AND|OR)\b|\b[Bb]oolean\b",
    "phrases": r"(?i)\bquotation marks\b|\bexact phrases?\b|\bphrase quer(y|ies)\b",
    "fields": r"(?i)\b(title|brand|category|description|body):\w",
    "filters": r"\w:\[\S+ TO ",
}
"""Capability -> a pattern of prompts that ask for it. NOT alone is no sign of one: "Do NOT explain"."""


def qrels(setup: Setup) -> Finding:
    """Every need has an answer key, with rows of the catalog and at least one positive grade."""
    task, items = setup.env.task, len(setup.catalog)
    keys = {need.id: task.qrels.get(need.id) for need in setup.needs}
    without = [need_id for need_id, key in keys.items() if key is None]
    outside = [need_id for need_id, key in keys.items() if key and key.rows_J[-1] >= items]
    hopeless = [need_id for need_id, key in keys.items() if key is not None and not key.positives]
    beyond = f"have answer keys with rows beyond the {items} items of the catalog"
    problems = [
        Fault("error", f"{len(needs)} of {len(keys)} needs {what} ({examples(needs)}): {remedy}")
        for needs, what, remedy in (
            (without, "have no answer key", "use the same need ids in both files"),
            (outside, beyond, "use one catalog for both"),
            (hopeless, "have no item with a grade above 0", "drop them, since nothing can be learned from them"),
        )
        if needs
    ]
    numbers: dict[str, Any] = {
        "needs": len(keys),
        "without_key": len(without),
        "rows_outside": len(outside),
        "without_positive": len(hopeless),
        "counts": dict(task.counts),
    }
    if not setup.needs:
        problems.append(Fault("error", "no split has any needs: nothing can be trained or measured"))
    ok = f"{len(keys)} needs have answer keys, and all their rows are in the catalog"
    return finding("qrels", problems, ok, numbers)


def ceiling(setup: Setup) -> Finding:
    """What needs want can be found: by the items' own texts, and by any query of the ceiling."""
    needs = setup.judged_needs
    if not needs:
        return Finding("ceiling", "error", NO_KEY, {})
    measure = parse_measure(setup.main_measure)
    with catching("searching the texts of the best items"):
        references = find_references(setup.env, needs, [measure])
    best, lists = references.ceiling[measure.name], setup.env.reranks
    histories = setup.env.reads_histories  # no history is sure to find an item, and no text is one
    unserved = [] if histories else [need.id for need, value in zip(needs, best, strict=True) if value <= 0]
    by_text = 1.0 if lists or histories else _found_by_text(setup, needs)
    floor, top = float(references.floor[measure.name].mean()), float(best.mean())
    numbers = {
        "needs": len(needs),
        "measure": measure.name,
        "floor": floor,
        "ceiling": top,
        **({} if lists or histories else {"best_items_found_by_text": by_text}),
        "unserved": unserved,
    }
    problems = []
    if unserved:
        tried = "order of the candidates" if lists else "query of the ceiling"
        what = f"for {len(unserved)} of {len(needs)} needs no {tried} has {measure.name} above 0"
        remedy = "see with `recr1 search` why their items cannot be found, or drop them"
        if lists:
            remedy = "take other candidates, or drop them"
        verdict: Verdict = "error" if len(unserved) >= 0.1 * len(needs) else "warning"
        problems.append(Fault(verdict, f"{what} ({examples(unserved)}): {remedy}"))
    reach = graded(by_text, warn_below=0.8, fail_below=0.2)
    if reach != "ok":
        what = f"for only {by_text:.0%} of needs, the text of a best item finds it within k={setup.env.k}"
        problems.append(Fault(reach, f"{what}: raise k, or search the fields that hold the texts"))
    ok = f"{len(needs)} needs can be served: {measure.name} is {floor:.3f} for raw needs, {top:.3f} for the best query"
    if lists and references.shown:
        numbers["shown"] = shown = float(references.shown[measure.name].mean())
        ok = (
            f"{measure.name} of {len(needs)} needs is {shown:.3f} as candidates are shown, {floor:.3f} as the retriever"
        )
        ok += f" orders them, {top:.3f} by grade"
    return finding("ceiling", problems, ok, numbers)


def _found_by_text(setup: Setup, needs: Sequence[Need]) -> float:
    """The share of needs with a best item that its own text finds, cut as the ceiling cuts it."""
    wanted = [(place, row) for place, need in enumerate(needs) for row in setup.best_rows(need)]
    hits = setup.search([" ".join(setup.catalog.texts[row].split()[:TEXT_WORDS]) for _, row in wanted])
    served = {place for (place, row), rows_K in zip(wanted, hits.rows_QK, strict=True) if row in rows_K}
    return len(served) / len(needs)


def prompt(setup: Setup) -> Finding:
    """Each prompt holds its need and no answer, and asks for nothing that the engine ignores."""
    if not setup.needs:
        return Finding("prompt", "error", "the task has no needs, so there is no prompt", {})
    some = setup.needs[: max(2, min(50, setup.sample))]
    with catching("rendering the prompt"):
        chats = setup.env.prompts(some)
    texts = ["\n".join(message["content"] for message in chat) for chat in chats]
    problems = []
    # Line by line: the format `history` numbers them.
    pairs = [(need.text.splitlines(), text) for need, text in zip(some, texts, strict=True)]
    without = sum(not all(line in text for line in lines) for lines, text in pairs)
    if without:
        what = f"{without} of {len(some)} prompts do not contain the text of their need"
        problems.append(Fault("error", f"{what}: the policy cannot know what is wanted; put {{need}} in the prompt"))
    if any(not chat or chat[-1]["role"] != "user" for chat in chats):
        problems.append(Fault("error", "a prompt does not end with a user message: see the format's render()"))
    lists = setup.env.reranks
    # Every candidate is in a prompt, so that only the need itself can give one away.
    ids, titles = _given_away(setup, some, [need.text for need in some] if lists else texts)
    if ids:
        what = f"{len(ids)} of {len(texts)} prompts contain the id of a relevant item ({texts[ids[0]][:80]!r})"
        problems.append(Fault("error", f"{what}: the policy sees the answer; remove ids from the needs"))
    if lists:
        problems += _alike(some)
    template = "" if lists else texts[0].replace(some[0].text, "")  # for a list, nothing is asked of the engine
    asked = {capability for capability, pattern in ASKS_FOR.items() if re.search(pattern, template)}
    with catching("reading the retriever's capabilities"):
        ignored = sorted(asked - capabilities_of(setup.env.retriever))
    if ignored:
        what = f"the prompt asks for {', '.join(ignored)}, which the retriever does not declare and would read as words"
        problems.append(Fault("error", f"{what}: change the prompt or the retriever"))
    with_titles = f"; {len(titles)} of {len(texts)} contain the whole title of a relevant item" if titles else ""
    ok = f"the prompts contain their needs{with_titles}; the first one, of {len(texts[0])} characters:"
    numbers = {"asks_for": sorted(asked), "characters": len(texts[0]), "ids": len(ids), "titles": len(titles)}
    shown = "\n".join(f"{message['role']}: {message['content']}" for message in chats[0])
    return finding("prompt", problems, ok, numbers, shown)


def _alike(needs: Sequence[Need]) -> list[Fault]:
    """Candidates that read like another one of their need."""
    texts = [[" ".join(one.text.split()) for one in need.candidates] for need in needs]
    count = sum(map(len, texts))
    alike = sum(len(of_need) - len(set(of_need)) for of_need in texts)
    if alike < 0.05 * count:
        return []
    what = f"{alike} of {count} candidates read like another one of their need, so that no policy can tell them apart"
    return [Fault("warning", f"{what}: raise task.words, or name another task.field")]


def _given_away(setup: Setup, needs: Sequence[Need], texts: Sequence[str]) -> tuple[list[int], list[int]]:
    """The places of prompts with the id of a relevant item, and of those with its whole title."""
    keys = [setup.env.task.qrels.get(need.id, Qrels({})) for need in needs]
    wanted = [[row for row, grade in key.items() if grade > 0 and row < len(setup.catalog)] for key in keys]
    ids = copied(texts, [[setup.catalog.ids[row] for row in rows] for rows in wanted])
    return ids, copied(texts, [[setup.titles[row] for row in rows] for rows in wanted])
