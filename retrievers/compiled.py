"""The numba kernels. The only module that imports numba: it is imported when a retriever wants it, never before."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from retrievers.base import Floats, Rows
from retrievers.topk import LAST_ROW, NO_KEY, Keys


def _compile(function: Callable[..., Any]) -> Callable[..., Any]:
    """A compiled function that lets other threads run; kept on disk between processes where a folder can be written."""
    try:
        return numba.njit(cache=True, nogil=True)(function)  # type: ignore[no-any-return]
    except RuntimeError:  # numba found no such folder (a read-only container): compile in every process
        return numba.njit(nogil=True)(function)  # type: ignore[no-any-return]


@_compile
def _add_postings(
    weights: Floats, rows: Rows, times: np.float32, sums_N: NDArray[np.float64], touched_N: Rows, touched: int
) -> int:
    """Adds one term to the sums, and its rows to the touched ones; gives the new number of touched rows."""
    for entry in range(len(rows)):
        row = rows[entry]
        if sums_N[row] == 0:
            touched_N[touched] = row
            touched += 1
        sums_N[row] += np.float64(times) * np.float64(weights[entry])
    return touched


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
def best_keys_of_postings(
    weights: Floats,
    rows: Rows,
    ends: NDArray[np.int64],
    columns: NDArray[np.int64],
    times: Floats,
    query_ends: NDArray[np.int64],
    items: int,
    k: int,
) -> Keys:
    """The keys (Q, k) of the best items of each query, in the order of a heap.

    The first three are a `Postings`, the next three a `Terms` of `bm25.py`. One query takes one pass over the postings
    of its terms and one over the items that they touch, however many items there are.
    """
    keys_QK = np.full((len(query_ends) - 1, k), NO_KEY)
    sums_N = np.zeros(items, np.float64)
    touched_N = np.empty(items, np.int32)
    score = np.empty(1, np.float32)
    bits = score.view(np.int32)
    for query in range(len(query_ends) - 1):
        touched = 0
        for term in range(query_ends[query], query_ends[query + 1]):
            start, end = ends[columns[term]], ends[columns[term] + 1]
            touched = _add_postings(weights[start:end], rows[start:end], times[term], sums_N, touched_N, touched)
        heap_K = keys_QK[query]  # all NO_KEY: a heap already, so that filling and replacing are one thing
        for row in touched_N[:touched]:
            score[0] = sums_N[row]
            sums_N[row] = 0
            key = (np.int64(bits[0]) << 32) | (LAST_ROW - row)
            if key > heap_K[0]:
                _replace_least(heap_K, key)
    return keys_QK
