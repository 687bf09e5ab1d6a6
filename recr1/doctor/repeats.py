"""The same question asked again: twice, in another order, alone, for more items, and after everything else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from recr1.doctor.base import Fault, Finding, PartFailed, Setup, finding, graded
from recr1.errors import examples
from retrievers.abilities import matches_everything, max_k_of
from retrievers.base import Hits, Rows

CLOSE = 1e-4
"""Scores this close, as a share of a query's highest, may change places: another order of addition rounds otherwise."""
DEPTHS = (1, 5, 10, 100)
"""Items per search of the check `depth`, besides the recipe's k."""


def deterministic(setup: Setup) -> Finding:
    """The same queries find the same: twice, in another order, and one by one."""
    queries = [*(need.text for need in setup.judged_needs), *(setup.titles[r] for r in setup.probes)]
    queries = setup.sampled(list(dict.fromkeys(queries + setup.words[::4])), "deterministic")
    first, again, backwards = setup.search(queries), setup.search(queries), setup.search(queries[::-1])
    alone = list(range(0, len(queries), max(1, len(queries) // 10)))
    singly = _joined([setup.search([queries[place]]) for place in alone])
    others = {
        "when searched again": (first, again),
        "in another order of the batch": (first, Hits(backwards.rows_QK[::-1], backwards.scores_QK[::-1])),
        "when searched one by one": (first.of(alone), singly),
    }
    problems, changed = [], {}
    for how, (before, after) in others.items():
        changed[how] = int((before.rows_QK != after.rows_QK).any(axis=1).sum())
        problems += _changes(before, after, how)
    ok = f"{len(queries)} queries find the same twice, in another order and one by one"
    return finding("deterministic", problems, ok, {"queries": len(queries), "changed": changed})


def history(setup: Setup) -> Finding:
    """The titles that were searched first, and words, find the same after the queries of all other checks."""
    asked = [*(setup.titles[row] for row in setup.probes), *setup.words]
    before = _joined([setup.title_hits, setup.word_hits])
    some = setup.sampled(range(len(asked)), "history", 100)
    problems = _changes(before.of(some), setup.search([asked[place] for place in some]), "after many other queries")
    ok = f"{len(some)} queries find at the end what they found at first"
    return finding("history", problems, ok, {"queries": len(some)})


def _joined(parts: Sequence[Hits]) -> Hits:
    return Hits(np.concatenate([part.rows_QK for part in parts]), np.concatenate([part.scores_QK for part in parts]))


def _changes(before: Hits, after: Hits, how: str) -> list[Fault]:
    """What is wrong if the same queries find other items."""
    differ = (before.rows_QK != after.rows_QK).any(axis=1)
    far = differ & ~_close(before, after)
    if far.any():
        what = f"{far.sum()} of {len(far)} queries find other items {how}"
        return [Fault("error", f"{what}: rewards would be random; seed the engine, or use one replica")]
    if differ.any():
        what = f"in {differ.sum()} of {len(differ)} queries, items with almost equal scores change places {how}"
        return [Fault("warning", f"{what}: break ties by row, as retrievers.topk does")]
    return []


def _close(one: Hits, other: Hits) -> NDArray[np.bool_]:
    """(Q,) whether only near ties have changed places: scores agree in every place, and with a neighbour's there.

    In the last place, the neighbour is an item that was not asked for.
    """
    scores, others = (np.where(np.isfinite(hits.scores_QK), hits.scores_QK, -1e30) for hits in (one, other))
    slack_Q1 = CLOSE * np.maximum(np.abs(scores[:, :1]), 1e-30)
    near = np.abs(np.diff(scores, axis=1)) <= slack_Q1
    edge = np.zeros((len(near), 1), bool)
    tied = np.hstack([edge, near]) | np.hstack([near, ~edge])
    close: NDArray[np.bool_] = ((np.abs(scores - others) <= slack_Q1) & (tied | (one.rows_QK == other.rows_QK))).all(1)
    return close


def empty_answers(setup: Setup) -> Finding:
    """A query that finds nothing finds nothing either if it is written twice: in any engine, the same items match.

    One query that fails the test is a warning, 1% are an error.
    """
    needs = [need.text for need in setup.judged_needs]
    asked = [*(setup.titles[row] for row in setup.probes), *setup.words, *needs]
    rows = np.concatenate([setup.title_hits.rows_QK, setup.word_hits.rows_QK, setup.rows(needs)])
    silent = [query for query, row in zip(asked, rows[:, 0], strict=True) if row < 0]
    some = setup.sampled(silent, "silent", 100)
    again = setup.rows([f"{query} {query}" for query in some])[:, 0] >= 0
    lost = [query for query, found in zip(some, again, strict=True) if found and not setup.unparsed([query])]
    problems = []
    if lost:
        verdict = graded(1 - len(lost) / len(asked), warn_below=1.0, fail_below=0.99)
        what = f"{len(lost)} of {len(asked)} queries find nothing, but find items if they are written twice"
        remedy = "answers are lost: look for time-outs, limits and errors that are taken for an empty answer"
        problems.append(Fault(verdict, f"{what} ({examples(lost)}): {remedy}"))
    without = len(set(silent) & set(needs)) / max(len(set(needs)), 1)
    if setup.wants_all_words and without >= 0.2:
        what = f"the engine joins words by AND, and {without:.0%} of the raw needs find nothing"
        problems.append(Fault("warning", f"{what}: most queries will have no reward; let it join words by OR"))
    ok = f"{len(silent)} of {len(asked)} queries find nothing, also if they are written twice"
    return finding("empty_answers", problems, ok, {"queries": len(asked), "empty": len(silent), "lost": lost})


def depth(setup: Setup) -> Finding:
    """A search for k items finds k where so many match, and they are the first ones of a deeper search.

    Asked with the 20 most frequent words of titles, alone, in pairs, and ten and more together. How many items match at
    least is known from the titles that hold one of the words. Nine in ten items must be the same at every depth; of
    vectors three in four, since a deeper search of an approximate index may find better ones.
    """
    items, k = len(setup.catalog), setup.env.k
    deepest = max(k, min(DEPTHS[-1], items, max_k_of(setup.env.retriever) or items))
    rows = setup.sampled(range(items), "vocabulary", 2000)
    titles = [set(setup.content_words(setup.titles[row])) for row in rows]
    frequent = [word for word, _ in Counter(word for title in titles for word in title).most_common(20)]
    found_any = setup.rows(frequent)[:, 0] >= 0
    words = [word for word, found in zip(frequent, found_any, strict=True) if found]
    asked = [[word] for word in words]
    if not setup.wants_all_words:
        asked += [words[place : place + 2] for place in range(0, len(words) - 1, 2)]
        asked += [words[:10], words[5:15], words[10:], words]
    queries = [" ".join(each) for each in asked]
    found = {depth: setup.rows(queries, depth) for depth in sorted({*DEPTHS, k}) if depth < deepest}
    try:
        rows_QK = setup.rows(queries, deepest)
    except PartFailed as failed:
        if deepest == k or failed.unreachable:
            raise
        message = f"a search for {deepest} items fails, and the recipe's k is {k} ({failed}): declare max_k"
        return Finding("depth", "warning", message, {"queries": len(queries)})
    bounds = [min(deepest, sum(not title.isdisjoint(each) for title in titles)) for each in asked]
    least = 0.75 if matches_everything(setup.env.retriever) else 0.9
    problems = [fault for depth in found for fault in _shorter(found[depth], rows_QK, depth, least)][:1]
    problems = problems or _too_few((rows_QK >= 0).sum(axis=1).tolist(), bounds, deepest, k)
    ok = f"searches for 1 to {deepest} items find as many as match, in one order"
    return finding("depth", problems, ok, {"queries": len(queries), "depths": [*found, deepest]})


def _shorter(rows_Qk: Rows, rows_QK: Rows, depth: int, least: float) -> list[Fault]:
    """Whether a shorter search finds fewer items than it should, or others than a deeper one has first."""
    pairs = [
        (short[short >= 0].tolist(), deep[deep >= 0].tolist()) for short, deep in zip(rows_Qk, rows_QK, strict=True)
    ]
    wrong = [(len(short), len(deep)) for short, deep in pairs if len(short) != min(depth, len(deep))]
    if wrong:
        what = f"{len(wrong)} of {len(pairs)} searches for {depth} items do not find as many as match"
        detail = f"{wrong[0][0]}, and {wrong[0][1]} if {rows_QK.shape[1]} are asked for"
        return [Fault("error", f"{what} ({detail}): filter and merge before items are counted, not afterwards")]
    same = sum(len(set(short) & set(deep[:depth])) for short, deep in pairs)
    moved = [[row for row in short if row in deep] != [row for row in deep if row in short] for short, deep in pairs]
    if same < least * sum(len(short) for short, _ in pairs) or sum(moved) > 0.05 * len(moved):
        deeper = f"than one for {rows_QK.shape[1]} has first"
        what = f"a search for {depth} items finds others, or in another order, {deeper}"
        return [Fault("error", f"{what}: rank all items by one score, and break ties by row")]
    return []


def _too_few(sizes: Sequence[int], bounds: Sequence[int], deepest: int, k: int) -> list[Fault]:
    """Whether searches end before the items do that are known to match: at a limit, or in 30% of those with two."""
    short = [(size, bound) for size, bound in zip(sizes, bounds, strict=True) if 0 < size < bound]
    most, several = max(sizes, default=0), sum(bound > 1 for bound in bounds)
    if len(short) >= 3 and all(size == most for size, _ in short):
        what = f"no search finds more than {most} items, though more match and {deepest} are asked for"
        return [Fault("error" if most < k else "warning", f"{what}: raise the limit of the engine, or declare max_k")]
    if len(short) >= max(3, 0.3 * several):
        what = f"{len(short)} of {several} queries find fewer items than have one of their words in the title"
        remedy = "look for a lowest score, a time limit, items left out, or a cache whose key lacks k"
        return [Fault("warning", f"{what} ({short[0][0]}, not {short[0][1]}): {remedy}")]
    return []
