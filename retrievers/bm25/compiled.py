"""Compiled search that reads all postings of a query.

This module and its neighbours `compiled_*.py` alone use numba. They are imported when a retriever wants them, never
before.
"""

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


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """A compiled function that lets other threads run; kept on disk between processes where a folder can be written."""
    try:
        return numba.njit(cache=True, nogil=True)(function)  # type: ignore[no-any-return]
    except RuntimeError:  # numba found no such folder (a read-only container): compile in every process
        return numba.njit(nogil=True)(function)  # type: ignore[no-any-return]


def inner(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that compiled ones alone call: what Python would need to call it takes time to compile."""
    return numba.njit(nogil=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)(function)  # type: ignore[no-any-return]


@inner
def _add(weights_E: Floats, rows_E: Rows, often: np.float64, sums_N: NDArray[np.float64]) -> None:
    """Adds the postings of one term to the sums."""
    for entry in range(len(rows_E)):
        # Unsigned, since for what may be negative numba asks whether it counts from the end.
        sums_N[np.uint32(rows_E[entry])] += often * np.float64(weights_E[entry])


@inner
def cut_out(keys_C: Keys, k: int) -> None:
    """Puts the k largest of different keys in front, in place, the least of them at k - 1: Hoare's quickselect.

    numba's own `np.partition` does the same and takes seven seconds to compile.
    """
    low, high = 0, len(keys_C) - 1
    while low < high:
        pivot = keys_C[(low + high) // 2]
        left, right = low, high
        while left <= right:
            while keys_C[left] > pivot:
                left += 1
            while keys_C[right] < pivot:
                right -= 1
            if left <= right:
                keys_C[left], keys_C[right] = keys_C[right], keys_C[left]
                left += 1
                right -= 1
        if k - 1 <= right:
            high = right
        elif k - 1 >= left:
            low = left
        else:
            break


@inner
def _collect(best_M: Keys, count: int, bar: np.int64, rows_E: Rows, sums_N: NDArray[np.float64]) -> tuple[int, int]:
    """Moves items with keys above the bar from the sums to the best, of which `count` are there, until these are full.

    Gives the new count and how many rows were looked at. A sum is set to zero when it was looked at, so that an item
    that comes twice is looked at once. Most items fail the one comparison, and the processor predicts that: asking
    first whether an item matched at all doubles the time.
    """
    score = np.empty(1, np.float32)
    bits = score.view(np.int32)
    least = ABOVE_ZERO
    if bar != NO_KEY:
        bits[0] = bar >> 32
        least = score[0]
    for place, row in enumerate(rows_E):
        if np.float32(sums_N[row]) >= least:
            score[0] = sums_N[row]
            key = (np.int64(bits[0]) << 32) | (LAST_ROW - row)
            if key > bar:
                best_M[count] = key
                count += 1
                if count == len(best_M):
                    sums_N[row] = 0
                    return count, place + 1
        sums_N[row] = 0
    return count, len(rows_E)


@inner
def _keep_best(
    best_M: Keys, count: int, bar: np.int64, rows_E: Rows, sums_N: NDArray[np.float64], k: int
) -> tuple[int, np.int64]:
    """Collects, and when no place is left cuts out the k best, the least of whose keys is the bar from then on.

    Against a heap this saves up to 60% of the time of a search at k = 3000. Gives the new count and bar.
    """
    done = 0
    while done < len(rows_E):
        count, looked_at = _collect(best_M, count, bar, rows_E[done:], sums_N)
        done += looked_at
        if count == len(best_M):
            cut_out(best_M, k)
            count, bar = k, best_M[k - 1]
    return count, bar


@inner
def keys_of_query(
    postings: Any, columns_T: NDArray[np.int64], times_T: Floats, sums_N: NDArray[np.float64], best_M: Keys, k: int
) -> Any:
    """Puts the keys of the k best items, or of all that match, in front of the best; gives their number.

    The sums must be zero, and are again when it is done.
    """
    for column, often in zip(columns_T, times_T):  # noqa: B905 (numba knows no strict)
        start, end = postings.ends[column], postings.ends[column + 1]
        _add(postings.weights[start:end], postings.rows[start:end], often, sums_N)
    count, bar = np.int64(0), NO_KEY  # a plain 0 has a type of its own, and what takes it is compiled twice
    for column in columns_T:
        rows_E = postings.rows[postings.ends[column] : postings.ends[column + 1]]
        count, bar = _keep_best(best_M, count, bar, rows_E, sums_N, k)
    if count > k:
        cut_out(best_M[:count], k)
        count = np.int64(k)
    return count
