"""Compiled search that skips most postings of common words, with the same hits as one that reads them all.

Rows are searched in blocks whose sums fit the processor's cache. In each block:

1. The postings of all columns but the first few are added up. The largest sum of these few is known, so an item needs a
   certain sum without them to be among the best; items that have it are candidates.
2. A candidate's weights in the skipped columns are looked up, column by column, while it can still be among the best.

How many columns can be skipped follows from the score that the k best reach. It is estimated from a sample of the rows
before the first block; if the estimate was too high (fewer than k items reach it), the query is searched again without
it. How many columns it pays to skip is seen in each block by the number of candidates.

Sums are exact, whatever the order of the weights: 64 bits hold the sum of 32-bit weights without rounding unless the
largest is many million times the least. Such queries are searched by reading all postings.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from retrievers.base import Floats, Rows
from retrievers.bm25.compiled import (
    CHUNK,
    PART,
    SPARE,
    add,
    candidates,
    compiled,
    cut_out,
    first_from,
    inner,
    keys_of_query,
    look_up,
    take_large,
)
from retrievers.bm25.index import Bounds, Postings
from retrievers.topk import LAST_ROW, NO_KEY, Keys

BLOCK = 2**15
"""Rows of a block: their sums, in 64 bits, take a quarter of a core's cache."""
FEW, FEW_OF_MANY = BLOCK, BLOCK // 8
"""Up to this many postings reading all of them is faster; the first is for catalogs whose sums fit the cache too."""
SAMPLES = 8
"""Places in the catalog from which the sample is taken, so that a sorted one is sampled fairly."""
SAMPLED, LEAST_SAMPLE = 64, 4096
"""The sample is one row in 64, and at least 4096 rows."""
WAIT = 4
"""Blocks in which no further column is skipped after it did not pay."""
EXACT = 2.0**29
"""Sums below this multiple of the least weight are exact: 53 bits, less the 24 of a weight."""
BELOW = 1 - 1e-7
"""A sum that rounds up to a score in 32 bits is above this share of it."""
ABOVE_ZERO = np.float64(np.finfo(np.float32).smallest_subnormal)
"""The least score of an item with a matching word."""


class _Query(NamedTuple):
    """The T columns of a query, the one with the smallest largest weight first."""

    columns: NDArray[np.int64]
    often: NDArray[np.float64]
    places: NDArray[np.int64]
    """In `Bounds.held_DW2`; -1 where the column is not common."""
    below: NDArray[np.float64]
    """(T + 1,) the largest sum of the first t columns."""
    common: int
    """How many of the first columns are common, and so can be skipped."""


class _Room(NamedTuple):
    """Buffers for all queries of a search."""

    sums: NDArray[np.float64]
    rows: Rows
    values: NDArray[np.float64]
    """The candidates of a block, and their sums so far."""
    best: Keys
    starts: NDArray[np.int64]
    stops: NDArray[np.int64]
    """The entries of each column in the block."""


class _Index(NamedTuple):
    postings: Postings
    bounds: Bounds


class _Block(NamedTuple):
    first: int
    size: int


@compiled
def best_keys_in_blocks(postings: Any, bounds: Any, terms: Any, items: int, k: int) -> Keys:
    """The keys (Q, k) of the best items of each query, in any order; of `Postings`, `Bounds` and `Terms`."""
    keys_QK = np.full((len(terms.ends) - 1, k), NO_KEY)
    most = 1
    for query in range(len(keys_QK)):
        most = max(most, terms.ends[query + 1] - terms.ends[query])
    index = _Index(postings, bounds)
    plain_sums = np.zeros(items, np.float64)
    room = _Room(
        np.zeros(BLOCK, np.float64),
        np.empty(BLOCK + CHUNK, np.int32),
        np.empty(BLOCK + CHUNK, np.float64),
        np.empty(2 * k + SPARE, np.int64),
        np.empty(most, np.int64),
        np.empty(most, np.int64),
    )
    for number in range(len(keys_QK)):
        first, last = terms.ends[number], terms.ends[number + 1]
        columns_T, times_T = terms.columns[first:last], terms.times[first:last]
        query = _query(bounds, columns_T, times_T)
        if _takes_blocks(index, query, items):
            count = _search(index, query, items, k, room)
        else:
            count = keys_of_query(postings, columns_T, times_T, plain_sums, room.best, k)
        for place in range(count):  # assigning slices takes two seconds to compile
            keys_QK[number, place] = room.best[place]
    return keys_QK


@inner
def _query(bounds: Any, columns_T: NDArray[np.int64], times_T: Floats) -> Any:
    count = len(columns_T)
    columns, often = np.empty(count, np.int64), np.empty(count, np.float64)
    places, adds, below = np.empty(count, np.int64), np.empty(count, np.float64), np.zeros(count + 1, np.float64)
    for done in range(count):
        column, times = columns_T[done], np.float64(times_T[done])
        most = times * np.float64(bounds.extremes_2C[1, column])
        place = done
        while place > 0 and adds[place - 1] > most:
            columns[place], often[place], adds[place] = columns[place - 1], often[place - 1], adds[place - 1]
            place -= 1
        columns[place], often[place], adds[place] = column, times, most
    common = 0
    for place in range(count):
        below[place + 1] = below[place] + adds[place]
        places[place] = bounds.places_C[columns[place]]
        if places[place] >= 0 and common == place:
            common += 1
    return _Query(columns, often, places, below, common)


@inner
def _takes_blocks(index: Any, query: Any, items: int) -> bool:
    entries, least = 0, np.inf
    for column in query.columns:
        entries += index.postings.ends[column + 1] - index.postings.ends[column]
        least = min(least, np.float64(index.bounds.extremes_2C[0, column]))
    few = FEW if items <= 4 * BLOCK else FEW_OF_MANY
    return entries > few and query.below[-1] < EXACT * least


@inner
def _search(index: Any, query: Any, items: int, k: int, room: Any) -> Any:
    """Puts the keys of the k best items in front of `room.best`; returns their number."""
    guess = _guess(index.postings, query, items, k, room)
    count = _search_above(index, query, items, k, guess, room)
    if count < k and guess > ABOVE_ZERO:
        count = _search_above(index, query, items, k, ABOVE_ZERO, room)
    return count


@inner
def sampled_rows(items: int) -> int:
    """How many rows are sampled at each place: at most a block."""
    return min(max(items // SAMPLED, LEAST_SAMPLE) // SAMPLES, BLOCK) // PART * PART


@inner
def _guess(postings: Any, query: Any, items: int, k: int, room: Any) -> np.float64:
    """A score that the k best items very likely reach; the least of all when too few of the sample match."""
    rows = sampled_rows(items)
    share = k * rows * SAMPLES / items
    reach = int(share + 4 * np.sqrt(share) + 4)  # four standard deviations more than are expected in the sample
    if rows * SAMPLES * 2 > items or 2 * reach > len(room.best):
        return ABOVE_ZERO
    score = np.empty(1, np.float32)
    bits = score.view(np.int32)
    count, least = 0, ABOVE_ZERO
    for sample in range(SAMPLES):
        first = sample * (items // SAMPLES)
        for term in range(len(query.columns)):
            start, stop = postings.ends[query.columns[term]], postings.ends[query.columns[term] + 1]
            start = first_from(postings.rows, start, stop, first)
            stop = first_from(postings.rows, start, min(start + rows, stop), first + rows)
            add(postings, start, stop, query.often[term], room.sums, first)
        found = take_large(room.sums[:rows], first, least, room, rows)
        for place in range(found):
            score[0] = room.values[place]
            room.best[count] = bits[0]
            count += 1
            if count == 2 * reach:
                cut_out(room.best[:count], reach)
                count = reach
                bits[0] = room.best[reach - 1]
                least = np.float64(score[0]) * BELOW
    if count < reach:
        return ABOVE_ZERO
    cut_out(room.best[:count], reach)
    bits[0] = room.best[reach - 1]
    return np.float64(score[0]) * BELOW


@inner
def _search_above(index: Any, query: Any, items: int, k: int, least: np.float64, room: Any) -> Any:
    """As `_search`, among items with a score >= `least`."""
    count, bar = np.int64(0), NO_KEY
    left_out, wait = np.int64(0), 0
    for term in range(len(query.columns)):
        room.stops[term] = index.postings.ends[query.columns[term]]
    for first in range(0, items, BLOCK):
        block = _Block(first, min(BLOCK, items - first))
        _enter(index, query, first + block.size, items, room)
        wait -= 1
        tried = _tried(query, left_out, least) if wait <= 0 else left_out
        left_out, found = candidates(index.postings, query, block, tried, least, room)
        if left_out < tried:
            wait = WAIT
        for term in range(left_out - 1, -1, -1):
            held_W2 = index.bounds.held_DW2[query.places[term]]
            needed = least - query.below[term]
            found = look_up(index.postings.weights, held_W2, query.often[term], needed, room, found)
        count, bar, least = _keep(room, found, k, count, bar, least)
    if count > k:
        cut_out(room.best[:count], k)
        count = np.int64(k)
    return count


@inner
def _tried(query: Any, left_out: int, least: np.float64) -> int:
    """How many columns may be skipped, at least `left_out`: their largest sum must be below `least`."""
    while left_out < query.common and query.below[left_out + 1] < least:
        left_out += 1
    return left_out


@inner
def _keep(room: Any, found: int, k: int, count: int, bar: np.int64, least: np.float64) -> tuple[int, np.int64, Any]:
    """Adds large enough candidates to the best. Returns their number, the key to beat, and its score."""
    score = np.empty(1, np.float32)
    bits = score.view(np.int32)
    for place in range(found):
        if room.values[place] < least:
            continue
        score[0] = room.values[place]
        key = (np.int64(bits[0]) << 32) | (LAST_ROW - room.rows[place])
        if key > bar:
            room.best[count] = key
            count += 1
            if count == len(room.best):
                cut_out(room.best, k)
                count, bar = k, room.best[k - 1]
                bits[0] = bar >> 32
                least = np.float64(score[0]) * BELOW
    return count, bar, least


@inner
def _enter(index: Any, query: Any, last: int, items: int, room: Any) -> None:
    """Moves `starts` and `stops` to the block that ends before row `last`."""
    for term in range(len(query.columns)):
        start, end = room.stops[term], index.postings.ends[query.columns[term] + 1]
        room.starts[term] = start
        if last == items:
            room.stops[term] = end
        elif query.places[term] >= 0:  # a block ends between two words of bits
            room.stops[term] = np.int64(index.bounds.held_DW2[query.places[term], last >> 6, 1])
        else:
            room.stops[term] = first_from(index.postings.rows, start, end, last)
