"""The only top-k: ties go to the lower row, -1 where fewer than k items matched.

An item is ranked by one 64-bit key: its score in the upper half, its row, reversed, in the lower. No two keys are
equal, so the k largest need no rule for ties, are the same however they are found (numpy here, compiled in `bm25`), and
read back into rows and scores without a lookup.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from retrievers.base import Floats, Hits
from retrievers.errors import shown

Keys: TypeAlias = NDArray[np.int64]
"""Items as sortable integers; a larger key ranks higher."""
NO_KEY = np.int64(np.iinfo(np.int64).min)
"""The key of "no item": below the key of every item."""
LAST_ROW = np.int64(np.iinfo(np.int32).max)


def topk(scores_QN: NDArray[np.floating[Any]], k: int, matched_QN: NDArray[np.bool_] | None = None) -> Hits:
    """Hits (Q, k): the best items of each query, from the scores of all N items.

    Args:
        scores_QN: One score per query and item; rounded to float32 first, and compared as such. -inf means that the
            item did not match.
        k: How many items to return; may exceed N.
        matched_QN: Which items may be found. Without it, every item with a score above -inf matched. A lexical
            retriever passes it where an item with a term of the query can have a score of 0 or less.

    Raises `ValueError` if k is below 1 or a score is NaN.
    """
    check_k(k)
    scores_QN = np.asarray(scores_QN, np.float32)
    if np.isnan(scores_QN).any():
        query, row = np.argwhere(np.isnan(scores_QN))[0]
        raise ValueError(f"the score of row {row} for query {query} is NaN: it cannot be ranked")
    if matched_QN is not None:
        scores_QN = np.where(matched_QN, scores_QN, np.float32(-np.inf))
    return hits_from_keys(best_keys(scores_QN, k), k)


def topk_of(rows_QM: NDArray[np.integer[Any]], scores_QM: NDArray[np.floating[Any]], k: int) -> Hits:
    """Hits (Q, k): the best of M candidates of each query, where `topk` takes all items; -1 in `rows_QM` is none.

    A row may appear once per query. Scores are rounded to float32 first, and read for candidates only. Raises
    `ValueError` if k is below 1 or the score of a candidate is NaN or infinite.
    """
    check_k(k)
    there_QM = rows_QM >= 0
    with np.errstate(over="ignore"):  # what overflows becomes inf, an error below
        scores_QM = np.where(there_QM, scores_QM, 0).astype(np.float32)
    if not np.isfinite(scores_QM).all():
        query, place = np.argwhere(~np.isfinite(scores_QM))[0]
        row, score = rows_QM[query, place], scores_QM[query, place]
        raise ValueError(f"the score of row {row} for query {query} is {score}: it cannot be ranked")
    keys_QM = np.where(there_QM, _keys(scores_QM, rows_QM), NO_KEY)
    more = keys_QM.shape[1] - k
    return hits_from_keys(np.partition(keys_QM, more, axis=1)[:, more:] if more > 0 else keys_QM, k)


def best_keys(scores_QN: Floats, k: int) -> Keys:
    """The keys (Q, k) of the best items in any order, NO_KEY where too few have a score above -inf."""
    queries = len(scores_QN)
    least_Q1 = np.maximum(_least_of_best(scores_QN, k), np.finfo(np.float32).min)
    query_C, row_C = np.nonzero(scores_QN >= least_Q1)
    keys_C = _keys(scores_QN[query_C, row_C], row_C)
    count_Q = np.bincount(query_C, minlength=queries)
    place_C = np.arange(len(keys_C)) - np.repeat(np.cumsum(count_Q) - count_Q, count_Q)
    width = max(k, int(count_Q.max(initial=0)))
    keys_QW = np.full((queries, width), NO_KEY)
    keys_QW[query_C, place_C] = keys_C
    return keys_QW if width == k else np.partition(keys_QW, width - k, axis=1)[:, width - k :]


def hits_from_keys(keys_QM: Keys, k: int) -> Hits:
    """Hits of shape (Q, k) from at most k keys of each query, in any order."""
    keys_QK = np.full((len(keys_QM), k), NO_KEY)
    keys_QK[:, : keys_QM.shape[1]] = np.sort(keys_QM, axis=1)[:, ::-1]
    rows_QK = (LAST_ROW - (keys_QK & LAST_ROW)).astype(np.int32)
    scores_QK = _in_order_of_bits((keys_QK >> 32).astype(np.int32)).view(np.float32)
    nothing_QK = keys_QK == NO_KEY
    rows_QK[nothing_QK] = -1
    scores_QK[nothing_QK] = -np.inf
    return Hits(rows_QK, scores_QK)


def no_hits(queries: int, k: int) -> Hits:
    """Hits of shape (queries, k) that hold no item."""
    return hits_from_keys(np.empty((queries, 0), np.int64), k)


def check_k(k: int) -> None:
    """Raises `ValueError` for a k below 1."""
    if k < 1:
        raise ValueError(f"k must be an integer >= 1, got {shown(k)}")


def _least_of_best(scores_QN: Floats, k: int) -> Floats:
    """For each query a score (Q, 1) that at least k items reach, and not many more, unless they tie.

    It is the k-th of the best of 4 k groups of items: one pass over the scores, where a partition costs ten.
    """
    queries, items = scores_QN.shape
    if items <= k:
        return np.full((queries, 1), -np.inf, np.float32)
    members = max(items // (4 * k), 1)
    groups = items // members
    best_QG = scores_QN[:, : groups * members].reshape(queries, members, groups).max(axis=1)
    return np.partition(best_QG, groups - k, axis=1)[:, groups - k, None]


def _keys(scores: Floats, rows: NDArray[np.integer[Any]]) -> Keys:
    bits = _in_order_of_bits((scores + np.float32(0)).view(np.int32))  # plus zero: -0.0 and 0.0 are one score
    return (bits.astype(np.int64) << 32) | (LAST_ROW - rows)


def _in_order_of_bits(bits: NDArray[np.int32]) -> NDArray[np.int32]:
    """Bits of floats as integers of the same order, and back: those of negative floats run the other way."""
    return np.where(bits < 0, bits ^ np.int32(LAST_ROW), bits)
