"""The items of a block that may be among the best: from the sums of some columns, and by looking up the others."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrievers.base import Floats, Rows
from retrievers.bm25.compiled import inner

LOOK_UP = 50
"""Postings that are added up in the time in which one candidate is found and looked up in one column."""

CHUNK, PART = 128, 16
"""Sums that are compared together, where no candidate is expected and where there are some."""


@inner
def candidates(postings: Any, query: Any, block: Any, left_out: int, least: np.float64, room: Any) -> tuple[int, Any]:
    """The columns left out, at most those given, and the number of candidates, which lie in `room`; sums are zero."""
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
    """How many entries of the block the columns have, from the first to before the last."""
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
    """Makes candidates of those rows whose sum is large enough; gives their number. Sums of all rows become zero.

    A row that comes twice is taken once, since its sum is zero the second time.
    """
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
    """Makes candidates of all whose sum is large enough; gives their number, and then sums are zero.

    With more than `most` it stops, gives `most` + 1, and leaves the sums.
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
            for row in range(part, end):  # no branch, which a processor could not foretell
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
    """How many sums are large enough: many are compared at once, which a search for the first could not be."""
    count = 0
    for row in range(start, stop):
        count += sums_N[row] >= needed
    return count


@inner
def look_up(
    weights_E: Floats,
    held_W2: NDArray[np.uint64],
    often: np.float64,
    needed: np.float64,
    room: Any,
    found: int,
) -> int:
    """Adds the weights of a common column to candidates, and keeps those that are large enough; gives their number."""
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
    """How many bits are set, in the way that compilers know as the processor's own instruction."""
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
