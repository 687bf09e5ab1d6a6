"""One search over the unique queries of a batch, checked, and spread back to its rows; candidates and lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np

from recr1.env.checks import checked_hits
from retrievers.abilities import max_k_of
from retrievers.base import Hits, Query, Retriever
from retrievers.errors import EngineError, MissingAnswers
from rewards.base import Need

DEPTH = 1000
"""Items that a search returns where candidates are ranked, or as many as the retriever finds at most."""

Faults: TypeAlias = Mapping[int, EngineError]
"""Places of queries, or rows of rollouts, without an answer, and why."""


def ask_for(
    retriever: Retriever,
    queries: Sequence[Query | None],
    needs: Sequence[Need],
    *,
    k: int,
    items: int,
    again: int = 0,
    hides_history: bool = False,
) -> tuple[Hits, Faults]:
    """As `ask`, for needs: one for each query, or none at all.

    Of a need with candidates only these are ranked, from a deeper search. Of another one nothing that is in its history
    is found, if histories are hidden. So what a need finds does not depend on the other needs of a batch.
    """
    most = max_k_of(retriever) or items
    taken = [need.history if hides_history and not need.candidates else () for need in needs]
    ranks = any(need.candidates for need in needs)
    deeper = max(k + max((len(set(one)) for one in taken), default=0), DEPTH if ranks else 0)
    depth = max(k, min(deeper, items, most))
    hits, faults = ask(retriever, queries, k=depth, items=items, again=again)
    if any(taken):
        hits = without_taken(hits, taken, depth if ranks else k)
    if not ranks:
        return hits, faults
    answered = [None if row in faults else query for row, query in enumerate(queries)]
    return among(hits, answered, needs, k), faults


def ask(
    retriever: Retriever, queries: Sequence[Query | None], *, k: int, items: int, again: int = 0
) -> tuple[Hits, Faults]:
    """Hits (len(queries), k), empty for a query without an answer, and the errors of these.

    None means "no query" and finds nothing; if there is no query at all, the retriever is not called. Queries without
    an answer are retried `again` times. Raises `ContractError` for hits that a catalog of `items` items cannot have.
    """
    places: dict[Query, int] = {}
    place_B = np.fromiter(
        (-1 if query is None else places.setdefault(query, len(places)) for query in queries), np.intp, len(queries)
    )
    rows_BK = np.full((len(queries), k), -1, np.int32)
    scores_BK = np.full((len(queries), k), -np.inf, np.float32)
    faults: Faults = {}
    if places:
        hits, lost = _ask_each(retriever, list(places), k, items, again)
        valid_B = place_B >= 0
        rows_BK[valid_B] = hits.rows_QK[place_B[valid_B]]
        scores_BK[valid_B] = hits.scores_QK[place_B[valid_B]]
        if lost:
            faults = {row: lost[place] for row, place in enumerate(place_B.tolist()) if place in lost}
    return Hits(rows_BK, scores_BK), faults


def _ask_each(retriever: Retriever, queries: Sequence[Query], k: int, items: int, again: int) -> tuple[Hits, Faults]:
    try:
        hits, lost = retriever.search(queries, k), {}
    except MissingAnswers as error:
        hits, lost = error.hits, error.faults
    checked_hits(hits, retriever, len(queries), k, items)
    if not lost or not again:
        return hits, lost
    late, still = _ask_each(retriever, [queries[place] for place in lost], k, items, again - 1)
    whole = hits.of(range(len(queries)))  # a copy: the retriever may own these arrays
    for part, other in zip(whole, late, strict=True):
        part[list(lost)] = other
    return whole, {place: still[order] for order, place in enumerate(lost) if order in still}


def listed(orders: Sequence[Sequence[int]], k: int) -> Hits:
    """(B, k) the hits of lists of rows, best first: the first k of each, with scores from 0 down."""
    rows_BK = np.full((len(orders), k), -1, np.int32)
    for rows_K, order in zip(rows_BK, orders, strict=True):
        rows_K[: len(order)] = order[:k]
    return Hits(rows_BK, np.where(rows_BK < 0, -np.inf, -np.arange(k)).astype(np.float32))


def among(hits: Hits, queries: Sequence[Query | None], needs: Sequence[Need], k: int) -> Hits:
    """(B, k) the candidates of each need as a search ranks them; those that it did not find follow as they are shown.

    A need without candidates keeps its hits, and a query that is None finds nothing.
    """
    cut = Hits(hits.rows_QK[:, :k].copy(), hits.scores_QK[:, :k].copy())
    for row, (query, need) in enumerate(zip(queries, needs, strict=True)):
        if query is not None and need.candidates:
            shown = [one.row for one in need.candidates]
            own = hits.rows_QK[row][np.isin(hits.rows_QK[row], shown)].tolist()
            one = listed([list(dict.fromkeys([*own, *shown]))], k)
            cut.rows_QK[row], cut.scores_QK[row] = one.rows_QK[0], one.scores_QK[0]
    return cut


def without_taken(hits: Hits, histories: Sequence[Sequence[int]], k: int) -> Hits:
    """(B, k) the first k hits that are not in the history of their place: those below move up."""
    taken_BK = np.array([np.isin(rows, taken) for rows, taken in zip(hits.rows_QK, histories, strict=True)])
    rows_BK, scores_BK = np.where(taken_BK, -1, hits.rows_QK), np.where(taken_BK, -np.inf, hits.scores_QK)
    order_BK = np.argsort(rows_BK < 0, axis=1, kind="stable")[:, :k]
    return Hits(
        np.take_along_axis(rows_BK, order_BK, 1).astype(np.int32),
        np.take_along_axis(scores_BK, order_BK, 1).astype(np.float32),
    )
