"""What lets a search leave out most postings: the largest weight of each column, and where common columns hold a row.

A word that most items hold adds little to any score. An item that the rarer words of a query leave far behind the k
best cannot catch up by it, so its postings of that word need not be read (MaxScore: Turtle and Flood, "Query
Evaluation: Strategies and Optimizations", 1995). For the few items that could, the weight is looked up.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from retrievers.base import Floats
from retrievers.bm25.index import Postings

WORD = 64
"""Rows whose presence in a column stands in one number."""

COMMON = 32
"""A column is common when one item in so many holds it; up to there, looking up takes less memory than postings do."""


class Bounds(NamedTuple):
    """Of C columns, D of them common: what they add at most, and which rows hold them."""

    extremes_2C: Floats
    """The least and the largest weight of each column."""
    places_C: NDArray[np.int32]
    """Where a column stands in `held_DW2`; -1 if it is not common."""
    held_DW2: NDArray[np.uint64]
    """For each `WORD` rows: those that hold the column, as bits, and the entry of the first of them."""


def bounds_of(postings: Postings, items: int) -> Bounds:
    """The bounds of the columns of an index."""
    counts_C = np.diff(postings.ends)
    extremes_2C = np.zeros((2, len(counts_C)), np.float32)
    if len(counts_C):
        for row, best in enumerate((np.minimum, np.maximum)):
            extremes_2C[row] = best.reduceat(postings.weights, postings.ends[:-1])
    common = np.flatnonzero(counts_C * COMMON >= items)
    places_C = np.full(len(counts_C), -1, np.int32)
    places_C[common] = np.arange(len(common))
    held_DW2 = np.empty((len(common), items // WORD + 1, 2), np.uint64)
    for place, column in enumerate(common.tolist()):
        first, last = postings.ends[column], postings.ends[column + 1]
        present = np.zeros(held_DW2.shape[1] * WORD, np.bool_)
        present[postings.rows[first:last]] = True
        bits_W = np.packbits(present, bitorder="little").view("<u8")
        counts_W = np.bitwise_count(bits_W).astype(np.int64)
        held_DW2[place, :, 0] = bits_W
        held_DW2[place, :, 1] = first + np.cumsum(counts_W) - counts_W
    return Bounds(extremes_2C, places_C, held_DW2)
