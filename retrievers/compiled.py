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


def _compile(function: Callable[..., Any]) -> Callable[..., Any]:
    """A compiled function that lets other threads run; kept on disk between processes where a folder can be written."""
    try:
        return numba.njit(cache=True, nogil=True)(function)  # type: ignore[no-any-return]
    except RuntimeError:  # numba found no such folder (a read-only container): compile in every process
        return numba.njit(nogil=True)(function)  # type: ignore[no-any-return]


@_compile
def _replace_least(heap_K: Keys, key: np.int64) -> None:
    """Puts a key in the place of the least one of a min-heap."""
    here, size = 0, len(heap_K)
    while True:
        child = 2 * here + 1
        if child >= size:
            break
        if child + 1 < size and heap_K[child + 1] < heap_K[child]:
            child += 1
        if heap_K[child] >= key:
            break
        heap_K[here] = heap_K[child]
        here = child
    heap_K[here] = key


@_compile
def _add(weights_E: Floats, rows_E: Rows, often: np.float64, sums_N: NDArray[np.float64]) -> None:
    """Adds the postings of one term to the sums."""
    for entry in range(len(rows_E)):
        sums_N[rows_E[entry]] += often * np.float64(weights_E[entry])


@_compile
def _keep_best(heap_K: Keys, rows_E: Rows, sums_N: NDArray[np.float64], least: np.float32) -> np.float32:
    """Moves items from the sums to the heap of the best; gives the least score that the next one must have.

    A sum is set to zero when it was looked at, so that an item that comes twice is looked at once. Most items fail the
    one comparison, and the processor predicts that: asking first whether an item matched at all doubles the time.
    """
    score = np.empty(1, np.float32)
    bits = score.view(np.int32)
    for row in rows_E:
        if np.float32(sums_N[row]) >= least:
            score[0] = sums_N[row]
            key = (np.int64(bits[0]) << 32) | (LAST_ROW - row)
            if key > heap_K[0]:
                _replace_least(heap_K, key)
                bits[0] = heap_K[0] >> 32
                least = score[0] if heap_K[0] != NO_KEY else least
        sums_N[row] = 0
    return least


@_compile
def best_keys_of_postings(postings: Any, terms: Any, items: int, k: int) -> Keys:
    """The keys (Q, k) of the best items of each query, in the order of a heap.

    `postings` and `terms` are the `Postings` and `Terms` of `bm25.py`. A query takes time in the number of postings of
    its terms, however many items there are.
    """
    keys_QK = np.full((len(terms.ends) - 1, k), NO_KEY)
    sums_N = np.zeros(items, np.float64)
    all_rows = np.arange(items).astype(np.int32)
    for query, heap_K in enumerate(keys_QK):  # all NO_KEY: a heap already, so that to fill it is to replace in it
        columns_T = terms.columns[terms.ends[query] : terms.ends[query + 1]]
        times_T = terms.times[terms.ends[query] : terms.ends[query + 1]]
        looked_at = 0
        for column, often in zip(columns_T, times_T):  # noqa: B905 (numba knows no strict)
            start, end = postings.ends[column], postings.ends[column + 1]
            _add(postings.weights[start:end], postings.rows[start:end], often, sums_N)
            looked_at += end - start
        least = ABOVE_ZERO
        if 2 * looked_at > items:
            _keep_best(heap_K, all_rows, sums_N, least)
            continue
        for column in columns_T:
            rows_E = postings.rows[postings.ends[column] : postings.ends[column + 1]]
            least = _keep_best(heap_K, rows_E, sums_N, least)
    return keys_QK
