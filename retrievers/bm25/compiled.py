"""The compiled parts of a search: reading all postings of a query, and finding candidates in a block of rows.

Only this module and `blocks` use numba. They are imported when a retriever needs them.
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
"""Places in addition to 2 k that are filled before the best are selected."""


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """A compiled function that lets other threads run; cached on disk if numba finds a folder that it can write to."""
    try:
        return numba.njit(cache=True, nogil=True)(function)  # type: ignore[no-any-return]
    except RuntimeError:  # no such folder (a read-only container): compile in every process
        return numba.njit(nogil=True)(function)  # type: ignore[no-any-return]


def inner(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that only compiled ones call: wrappers for Python would take time to compile."""
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
    """Moves items with keys above the bar from the sums to the best, of which there are `count`, until these are full.

    Returns the new count and how many rows were read. Their sums become zero, so that an item that comes twice is taken
    once. Most items fail the one comparison, which the processor predicts; a test whether an item matched at all would
    double the time.
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
    """Collects, and when no place is left selects the k best, whose least key is the new bar. Returns count and bar.

    This saves up to 60% of the time that a heap takes at k = 3000.
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
    """Puts the keys of the k best items in front of `best_M`; returns their number. Sums are zero before and after."""
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


LOOK_UP = 50
"""Postings that are added up in the time in which one candidate is found and looked up in one column."""
CHUNK, PART = 128, 16
"""Sums that are compared together, where no candidate is expected and where there are some."""


@inner
def candidates(postings: Any, query: Any, block: Any, left_out: int, least: np.float64, room: Any) -> tuple[int, Any]:
    """The number of skipped columns, at most `left_out`, and that of candidates, which are in `room`; sums are zero."""
    terms = len(query.columns)
    added = terms  # the sums hold the columns from this one on
    while True:
        for term in range(left_out, added):
            add(postings, room.starts[term], room.stops[term], query.often[term], room.sums, block.first)
        added = left_out
        spared, entries = _entries(room, 0, left_out), _entries(room, left_out, terms)
        most = CHUNK + spared // (LOOK_UP * left_out) if left_out else block.size
        needed = least - query.below[left_out]
        if 2 * entries < block.size:
            found = np.int64(0)
            for term in range(left_out, terms):
                rows_E = postings.rows[room.starts[term] : room.stops[term]]
                found = _take(rows_E, block.first, needed, room, found)
            added = terms
        else:
            found = take_large(room.sums[: block.size], block.first, needed, room, most)
        if found <= most:
            return left_out, found
        left_out -= 1


@inner
def _entries(room: Any, first: int, last: int) -> int:
    """How many entries of the block the columns from `first` to before `last` have."""
    count = 0
    for term in range(first, last):
        count += room.stops[term] - room.starts[term]
    return count


@inner
def add(postings: Any, start: int, stop: int, often: np.float64, sums_N: NDArray[np.float64], first: int) -> None:
    """Adds entries to the sums, which begin with row `first`."""
    for entry in range(start, stop):
        # Unsigned, since for what may be negative numba asks whether it counts from the end.
        sums_N[np.uint32(postings.rows[entry]) - np.uint32(first)] += often * np.float64(postings.weights[entry])


@inner
def _take(rows_E: Rows, first: int, needed: np.float64, room: Any, found: int) -> int:
    """Makes candidates of rows whose sum is large enough, each once; returns their number. Their sums become zero."""
    for entry in range(len(rows_E)):
        row = np.uint32(rows_E[entry]) - np.uint32(first)
        value = room.sums[row]
        room.sums[row] = 0.0
        if value >= needed:
            room.rows[found] = rows_E[entry]
            room.values[found] = value
            found += 1
    return found


@inner
def take_large(sums_N: NDArray[np.float64], first: int, needed: np.float64, room: Any, most: int) -> int:
    """Makes candidates of all rows whose sum is large enough; returns their number, and then sums are zero.

    With more than `most` it stops, returns `most` + 1, and leaves the sums.
    """
    found = 0
    for start in range(0, len(sums_N), CHUNK):
        stop = min(start + CHUNK, len(sums_N))
        if _reached(sums_N, start, stop, needed) == 0:
            continue
        for part in range(start, stop, PART):
            end = min(part + PART, stop)
            if _reached(sums_N, part, end, needed) == 0:
                continue
            for row in range(part, end):  # no branch, which a processor could not predict
                room.rows[found] = first + row
                found += sums_N[row] >= needed
        if found > most:
            return most + 1
    for place in range(found):
        room.values[place] = sums_N[room.rows[place] - first]
    sums_N[:] = 0.0
    return found


@inner
def _reached(sums_N: NDArray[np.float64], start: int, stop: int, needed: np.float64) -> int:
    """How many sums are large enough: many are compared at once, unlike in a search for the first."""
    count = 0
    for row in range(start, stop):
        count += sums_N[row] >= needed
    return count


@inner
def look_up(
    weights_E: Floats, held_W2: NDArray[np.uint64], often: np.float64, needed: np.float64, room: Any, found: int
) -> int:
    """Adds the weights of a common column to candidates, and keeps the large enough ones; returns their number."""
    kept = 0
    for place in range(found):
        row = np.uint64(room.rows[place])
        bits = held_W2[row >> np.uint64(6), 0] >> (row & np.uint64(63))
        holds = bits & np.uint64(1)
        # The last entry of its 64 rows, less those from this row on.
        after = held_W2[row >> np.uint64(6), 1] + _ones(held_W2[row >> np.uint64(6), 0]) - _ones(bits)
        entry = after if holds else np.uint64(0)
        value = room.values[place] + often * np.float64(holds) * np.float64(weights_E[entry])
        room.rows[kept] = room.rows[place]
        room.values[kept] = value
        kept += value >= needed
    return kept


@inner
def _ones(bits: np.uint64) -> np.uint64:
    """How many bits are set, in a form that compilers replace by the processor's instruction."""
    bits = bits - ((bits >> np.uint64(1)) & np.uint64(0x5555555555555555))
    bits = (bits & np.uint64(0x3333333333333333)) + ((bits >> np.uint64(2)) & np.uint64(0x3333333333333333))
    bits = (bits + (bits >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return (bits * np.uint64(0x0101010101010101)) >> np.uint64(56)


@inner
def first_from(rows_E: Rows, start: int, stop: int, row: int) -> int:
    """The first entry, of those from `start` to before `stop`, whose row is `row` or more; `stop` if there is none."""
    step = 1
    while start + step < stop and rows_E[start + step] < row:
        start += step
        step *= 2
    stop = min(stop, start + step)
    while start < stop:
        middle = (start + stop) // 2
        if rows_E[middle] < row:
            start = middle + 1
        else:
            stop = middle
    return start
