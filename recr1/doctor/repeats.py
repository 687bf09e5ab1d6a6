"""The same question asked again: twice, in another order, alone, for more items, and after everything else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from recr1.doctor.base import Fault, Finding, PartFailed, Setup, finding, graded
from recr1.errors import examples
from retrievers.abilities import max_k_of
from retrievers.base import Hits

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
    rows = list(range(0, len(setup.probes), max(1, len(setup.probes) // 50)))
    words = list(range(0, len(setup.words), max(1, len(setup.words) // 50)))
    asked = [setup.titles[setup.probes[row]] for row in rows] + [setup.words[place] for place in words]
    before = _joined([setup.title_hits.of(rows), setup.word_hits.of(words)])
    problems = _changes(before, setup.search(asked), "after many other queries") if asked else []
    ok = f"{len(asked)} queries find at the end what they found at first"
    return finding("history", problems, ok, {"queries": len(asked)})


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
    """A query that finds nothing finds nothing either if each of its words is written twice.

    That is so for every engine: the same items match. One query that fails the test is a warning, 1% are an error.
    """
    needs = [need.text for need in setup.judged_needs]
    found = np.concatenate([h.rows_QK[:, 0] for h in (setup.title_hits, setup.word_hits, setup.search(needs))])
    asked = [*(setup.titles[row] for row in setup.probes), *setup.words, *needs]
    silent = setup.sampled([q for q, row in zip(asked, found, strict=True) if row < 0], "silent", 100)
    again = setup.rows([f"{query} {query}" for query in silent])[:, 0]
    lost = [query for query, row in zip(silent, again, strict=True) if row >= 0 and not setup.unparsed([query])]
    problems = []
    if lost:
        verdict = graded(1 - len(lost) / len(asked), warn_below=1.0, fail_below=0.99)
        what = f"{len(lost)} of {len(asked)} queries find nothing, and items if they are written twice"
        remedy = "answers get lost: look for time-outs, limits and errors that are taken for no match"
        problems.append(Fault(verdict, f"{what} ({examples(lost)}): {remedy}"))
    without = float((found[len(found) - len(needs) :] < 0).mean()) if needs else 0.0
    if setup.wants_all_words and without >= 0.2:
        what = f"the engine joins words by AND, and {without:.0%} of the raw needs find nothing"
        problems.append(Fault("warning", f"{what}: most queries will have no reward; let it join words by OR"))
    ok = f"{len(silent)} of {len(asked)} queries find nothing, and nothing if they are written twice"
    return finding("empty_answers", problems, ok, {"queries": len(asked), "empty": len(silent), "lost": lost})


def depth(setup: Setup) -> Finding:
    """A search for k items finds k where so many match, and they are the first ones of a deeper search.

    Asked with the 20 most frequent words of titles, alone, in pairs, and ten together; pairs turned round are asked for
    most items only, and must find as many. How many items match at least is known from titles that hold the word, and
    from what words find alone. Of an approximate index, a deeper search may find better items: nine in ten must be the
    same.
    """
    items, k = len(setup.catalog), setup.env.k
    deepest = max(k, min(DEPTHS[-1], items, max_k_of(setup.env.retriever) or items))
    rows = setup.sampled(range(items), "vocabulary", 2000)
    holding = Counter(word for row in rows for word in setup.content_words(setup.titles[row]))
    words = [word for word, _ in holding.most_common(min(20, setup.sample))]
    joint = [words[place : place + 2] for place in range(0, len(words) - 1, 2)] + [words[:10]]
    queries = [*words, *map(" ".join, joint)]
    turned = [f"{b} {a}" for a, b in joint[:-1]]
    depths = sorted({depth for depth in (*DEPTHS, k) if depth < deepest})
    found = {depth: setup.search(queries, depth).rows_QK for depth in depths}
    try:
        found[deepest], fresh = np.split(setup.search([*queries, *turned], deepest).rows_QK, [len(queries)])
    except PartFailed as failed:
        if deepest == k or failed.unreachable:
            raise
        message = f"a search for {deepest} items fails, and the recipe's k is {k} ({failed}): declare max_k"
        return Finding("depth", "warning", message, {"queries": len(queries)})
    whole = [set(rows_K.tolist()) - {-1} for rows_K in found[deepest]]
    sizes = np.array([len(rows) for rows in whole])
    problems = [fault for depth in depths for fault in _shorter(found[depth], found[deepest], depth, deepest)][:1]
    bounds = [holding[word] for word in words]
    if not setup.wants_all_words:
        bounds += [len(set().union(*(whole[words.index(word)] for word in each))) for each in joint]
    problems = problems or _too_few(sizes, np.array(bounds), len(words), deepest, k)
    afresh = (fresh >= 0).sum(axis=1)
    if (other := afresh != sizes[len(words) : -1]).any():
        one = int(np.argmax(other))
        what = f"{queries[len(words) + one]!r} finds {sizes[len(words) + one]} items, and {turned[one]!r} {afresh[one]}"
        problems.append(
            Fault("error", f"{what}: look for lost words, or a cache that gives shorter answers to longer searches")
        )
    numbers = {"queries": len(queries), "depths": [*depths, deepest], "found": sizes.tolist()}
    return finding("depth", problems, f"searches for 1 to {deepest} items find as many as match, in one order", numbers)


def _shorter(rows_Qk: np.ndarray, rows_QK: np.ndarray, depth: int, deepest: int) -> list[Fault]:
    """Whether a shorter search finds fewer items than it should, or others than a deeper one has first."""
    expected = np.minimum((rows_QK >= 0).sum(axis=1), depth)
    sizes = (rows_Qk >= 0).sum(axis=1)
    wrong = sizes != expected
    if wrong.any():
        one = int(np.argmax(wrong))
        what = f"{wrong.sum()} of {len(wrong)} searches for {depth} items do not find as many as match"
        detail = f"{sizes[one]}, and {(rows_QK[one] >= 0).sum()} if {deepest} are asked for"
        return [Fault("error", f"{what} ({detail}): filter and merge before items are counted, not afterwards")]
    pairs = [
        ([*map(int, one[one >= 0])], [*map(int, all_[all_ >= 0])]) for one, all_ in zip(rows_Qk, rows_QK, strict=True)
    ]
    same = sum(len(set(one) & set(whole[:depth])) for one, whole in pairs)
    moved = [[row for row in one if row in whole] != [row for row in whole if row in one] for one, whole in pairs]
    if same < 0.9 * sizes.sum() or sum(moved) > 0.05 * len(moved):
        what = f"a search for {depth} items finds others, or in another order, than one for {deepest} has first"
        return [Fault("error", f"{what}: rank all items by one score, and break ties by row")]
    return []


def _too_few(sizes: np.ndarray, bounds: np.ndarray, words: int, deepest: int, k: int) -> list[Fault]:
    """Whether searches end before the items do that are known to match."""
    sizes_B = sizes[: len(bounds)]
    asked = (sizes_B > 0) & (bounds > 0)
    short = asked & (sizes_B < np.minimum(bounds, deepest))
    most = sizes.max(initial=0)
    if short.sum() >= 3 and (sizes_B[short] == most).all():
        what = f"no search finds more than {most} items, though more match and {deepest} are asked for"
        return [Fault("error" if most < k else "warning", f"{what}: raise the limit of the engine, or declare max_k")]
    if short[:words].sum() >= max(3, 0.3 * asked[:words].sum()):
        one = int(np.argmax(short))
        what = f"{short[:words].sum()} of {asked[:words].sum()} words find fewer items than have them in their title"
        detail = f"{sizes_B[one]}, not {bounds[one]}"
        return [Fault("warning", f"{what} ({detail}): look for a lowest score, a time limit, or items left out")]
    return []
