"""The numba kernels. The only module that imports numba: it is imported when a retriever wants it, never before."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from retrievers.base import Floats, Rows
from retrievers.topk import LAST_ROW, NO_KEY, Keys

ABOVE_ZERO = np.finfo(np.float32).smallest_subnormal

SPARE = 64
"""Places beside those for 2 k items that are collected before the best are cut out."""


def _compile(function: Callable[..., Any]) -> Callable[..., Any]:
    """A compiled function that lets other threads run; kept on disk between processes where a folder can be written."""
    try:
        return numba.njit(cache=True, nogil=True)(function)  # type: ignore[no-any-return]
    except RuntimeError:  # numba found no such folder (a read-only container): compile in every process
        return numba.njit(nogil=True)(function)  # type: ignore[no-any-return]


@_compile
def _add(weights_E: Floats, rows_E: Rows, often: np.float64, sums_N: NDArray[np.float64]) -> None:
    """Adds the postings of one term to the sums."""
    for entry in range(len(rows_E)):
        sums_N[rows_E[entry]] += often * np.float64(weights_E[entry])


@_compile
def _collect(
    best_M: Keys, count: int, bar: np.int64, rows_E: Rows, sums_N: NDArray[np.float64], k: int
) -> tuple[int, np.int64]:
    """Moves items from the sums to the best ones, of which `count` are there; only a key above the bar can be one.

    When no place is left, the k best stay and the least of their keys is the bar. Gives the new count and bar. Against
    a heap this saves up to 60% of the time of a search at k = 3000, and costs some microseconds a query at k = 10.

    A sum is set to zero when it was looked at, so that an item that comes twice is looked at once. Most items fail the
    one comparison, and the processor predicts that: asking first whether an item matched at all doubles the time.
    """
    score = np.empty(1, np.float32)
    bits = score.view(np.int32)
    least = ABOVE_ZERO
    if bar != NO_KEY:
        bits[0] = bar >> 32
        least = score[0]
    for row in rows_E:
        if np.float32(sums_N[row]) >= least:
            score[0] = sums_N[row]
            key = (np.int64(bits[0]) << 32) | (LAST_ROW - row)
            if key > bar:
                best_M[count] = key
                count += 1
            if count == len(best_M):
                best_M[:k] = np.partition(best_M, count - k)[count - k :]
                count = k
                bar = best_M[:k].min()
                bits[0] = bar >> 32
                least = score[0]
        sums_N[row] = 0
    return count, bar


@_compile
def best_keys_of_postings(postings: Any, terms: Any, items: int, k: int) -> Keys:
    """The keys (Q, k) of the best items of each query, in any order.

    `postings` and `terms` are the `Postings` of `bm25_index.py` and the `Terms` of `bm25.py`. A query takes time in the
    number of postings of its terms, however many items there are.
    """
    keys_QK = np.full((len(terms.ends) - 1, k), NO_KEY)
    best_M = np.empty(2 * k + SPARE, np.int64)
    sums_N = np.zeros(items, np.float64)
    all_rows = np.arange(items).astype(np.int32)
    for query in range(len(keys_QK)):
        columns_T = terms.columns[terms.ends[query] : terms.ends[query + 1]]
        times_T = terms.times[terms.ends[query] : terms.ends[query + 1]]
        looked_at = 0
        for column, often in zip(columns_T, times_T):  # noqa: B905 (numba knows no strict)
            start, end = postings.ends[column], postings.ends[column + 1]
            _add(postings.weights[start:end], postings.rows[start:end], often, sums_N)
            looked_at += end - start
        count, bar = 0, NO_KEY
        if 2 * looked_at > items:
            count, bar = _collect(best_M, count, bar, all_rows, sums_N, k)
        else:
            for column in columns_T:
                rows_E = postings.rows[postings.ends[column] : postings.ends[column + 1]]
                count, bar = _collect(best_M, count, bar, rows_E, sums_N, k)
        if count > k:
            keys_QK[query] = np.partition(best_M[:count], count - k)[count - k :]
        else:
            keys_QK[query, :count] = best_M[:count]
    return keys_QK
