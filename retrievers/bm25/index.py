"""From texts to postings: what each term adds to the score of each item, computed once, when the index is built.

Texts are read one by one and counted in chunks, so that building a large index takes little more memory than the index.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from retrievers.analyzer import Analyzer
from retrievers.base import Floats, Rows
from retrievers.progress import tracked

CHUNK_ITEMS = 2**16
"""Items that are counted together, at most: their numbers within the chunk take two bytes."""
BLOCK_LETTERS = 2**20
"""Characters of texts that are cut together, at least."""
CHUNK_TOKENS = 2**21
"""Words after which a chunk ends: counting takes some 50 bytes for each."""
WORD = 64
"""Rows whose presence in a column is one number, a bit each."""
COMMON = 32
"""A column is common when at least one item in 32 has it; then these bits take less memory than postings."""

Integers: TypeAlias = NDArray[np.integer]


class Postings(NamedTuple):
    """An index as plain arrays: what each term adds to the score of each item that holds it.

    Column c, one term of one field, owns the entries from `ends[c]` to `ends[c + 1]`; its rows ascend.
    """

    weights: Floats
    rows: Rows
    ends: NDArray[np.int64]


Cut: TypeAlias = Callable[[Sequence[str]], tuple[NDArray[np.int32], NDArray[np.int32]]]
"""From texts to the columns of their terms, one text after the other, and the number of terms of each text."""
Count: TypeAlias = Callable[[NDArray[np.int32], NDArray[np.int32], int], tuple[Integers, NDArray[np.uint16], Integers]]
"""How many items have each column; the items of one column after the other, and how often they have it."""
Index: TypeAlias = tuple[list[dict[str, int]], Postings]
"""The column of each term, by field, and the postings of all columns."""


def index_fields(
    analyzer: Analyzer, searched: Sequence[tuple[Sequence[str], float]], k1: float, b: float, *, compiled: bool = False
) -> Index:
    """The index of all fields, each with its weight; the same with compiled code, sooner."""
    columns_by_field, parts = [], []
    for texts, weight in searched:
        columns, postings = _index(analyzer, texts, k1, b, compiled=compiled)
        postings.weights[:] *= np.float32(weight)
        columns_by_field.append(columns)
        parts.append(postings)
    if len(parts) == 1:
        return columns_by_field, parts[0]
    weights, rows = (np.concatenate([getattr(part, name) for part in parts]) for name in ("weights", "rows"))
    ends = np.cumsum(np.concatenate([[0], *(np.diff(part.ends) for part in parts)]))
    return columns_by_field, Postings(weights, rows, ends)


class _Chunk(NamedTuple):
    """The items from `first` on, counted. Column `columns_C[c]` owns the next `counts_C[c]` entries; rows ascend."""

    first: int
    columns_C: NDArray[np.int32]
    counts_C: NDArray[np.int32]
    rows_E: NDArray[np.uint16]  # rows less `first`
    times_E: Integers
    """How often the item holds the term."""


class _ColumnNumbers(dict[str, int]):
    """The column of each word, numbered when it is first read; words with one stem share theirs."""

    def __init__(self, analyzer: Analyzer) -> None:
        super().__init__()
        self._stem = analyzer.stem
        self.by_term: dict[str, int] = {}

    def __missing__(self, word: str) -> int:
        column = self[word] = self.by_term.setdefault(self._stem(word), len(self.by_term))
        return column


def _index(
    analyzer: Analyzer, texts: Sequence[str], k1: float, b: float, *, compiled: bool
) -> tuple[dict[str, int], Postings]:
    """The column of each term, in the order in which they first occur, and the postings of one field."""
    columns = _ColumnNumbers(analyzer)

    def columns_of(text: str) -> list[int]:
        return [columns[word] for word in analyzer.words(text)]

    cut: Cut = partial(_cut_each, columns_of)
    count: Count = _counted
    if compiled:
        from retrievers.bm25.words import Pieces, counted

        cut, count = Pieces(columns_of, cut).columns, counted
    lengths: list[NDArray[np.int32]] = []
    chunks = []
    for first, columns_T, lengths_I in _parts(cut, texts):
        lengths.append(lengths_I)
        counts_C, rows_E, times_E = count(columns_T, lengths_I, len(columns.by_term))
        held = np.flatnonzero(counts_C).astype(np.int32)
        times_E = times_E.astype(np.min_scalar_type(times_E.max(initial=0)))
        chunks.append(_Chunk(first, held, counts_C[held].astype(np.int32), rows_E, times_E))
    del cut  # frees the words
    lengths_N = np.concatenate(lengths)
    # Of an index without a word, the mean length is 0, and no norm is ever read.
    norms_N = k1 * ((1 - b) + b * lengths_N / max(lengths_N.sum() / len(lengths_N), np.finfo(np.float64).tiny))
    return columns.by_term, _weighed(chunks, len(columns.by_term), norms_N)


def _cut_each(
    columns_of: Callable[[str], list[int]], texts: Sequence[str]
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    by_text = list(map(columns_of, texts))
    return np.array(list(chain(*by_text)), np.int32), np.array(list(map(len, by_text)), np.int32)


def _parts(cut: Cut, texts: Sequence[str]) -> Iterator[tuple[int, NDArray[np.int32], NDArray[np.int32]]]:
    """For each chunk its first row, the columns of its terms, and how many terms each text has."""
    first, parts, tokens, block, letters = 0, [], 0, [], 0
    for end, text in enumerate(tracked(texts, "indexing items"), 1):
        block.append(text)
        letters += len(text)
        full = end - first == CHUNK_ITEMS or end == len(texts)
        if full or letters >= BLOCK_LETTERS:
            parts.append(cut(block))
            tokens += len(parts[-1][0])
            block, letters = [], 0
        if parts and (full or tokens >= CHUNK_TOKENS):
            columns_T, lengths_I = (np.concatenate(each) for each in zip(*parts, strict=True))
            yield first, columns_T, lengths_I
            first, parts, tokens = end, [], 0


def _counted(
    columns_T: NDArray[np.int32], lengths: NDArray[np.int32], columns: int
) -> tuple[Integers, NDArray[np.uint16], Integers]:
    # A token is its column in the upper bits and its row in the lower 16: sorted, equal ones are neighbours.
    keys = columns_T.astype(np.int64) << 16
    keys |= np.repeat(np.arange(len(lengths)), lengths)
    keys.sort()
    begins = np.flatnonzero(np.diff(keys, prepend=-1))
    times_E = np.diff(begins, append=len(keys))
    keys = keys[begins]
    return np.bincount(keys >> 16, minlength=columns), (keys & 0xFFFF).astype(np.uint16), times_E


def _weighed(chunks: list[_Chunk], columns: int, norms_N: NDArray[np.float64]) -> Postings:
    """The postings of all chunks, which are freed. Each weight is computed in 64 bits from an idf of 32."""
    items_C = np.zeros(columns, np.int64)
    for chunk in chunks:
        items_C[chunk.columns_C] += chunk.counts_C
    ends = np.concatenate([[0], np.cumsum(items_C)])
    known, place_C = np.unique(items_C, return_inverse=True)
    # Rounded to 32 bits as the library bm25s does, whose weights these equal.
    idf = [math.log(1 + (len(norms_N) - df + 0.5) / (df + 0.5)) for df in known.tolist()]
    idf_C = np.array(idf, np.float32).astype(np.float64)[place_C]
    postings = Postings(np.empty(ends[-1], np.float32), np.empty(ends[-1], np.int32), ends)
    free_C = ends[:-1].copy()
    chunks.reverse()
    while chunks:
        first, columns_C, counts_C, rows_E, times_E = chunks.pop()
        before_C = np.cumsum(counts_C) - counts_C
        entries = np.arange(len(rows_E)) + np.repeat(free_C[columns_C] - before_C, counts_C)
        rows = rows_E.astype(np.int32) + np.int32(first)
        postings.rows[entries] = rows
        postings.weights[entries] = np.repeat(idf_C[columns_C], counts_C) * (times_E / (norms_N[rows] + times_E))
        free_C[columns_C] += counts_C
    return postings


class Bounds(NamedTuple):
    """Of C columns, D of them common: their extreme weights, and which rows hold them."""

    extremes_2C: Floats
    """The least and the largest weight of each column."""
    places_C: NDArray[np.int32]
    """The place of a column in `held_DW2`; -1 if it is not common."""
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
