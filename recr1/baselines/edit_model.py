"""What an edit of a need is expected to gain: a linear model of the changed words and their neighbours.

One need says little about an edit: that a search did better without the word "blue" may be luck. Thousands of needs
show which words searches do better without. The model sees needs, queries and what they gained; no catalog.
"""

from __future__ import annotations

import math
import zlib
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from difflib import SequenceMatcher
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from recr1.baselines.best_edit import Edited, EditSearch
from retrievers.analyzer import folded
from retrievers.base import Floats

SIZE = 1 << 20
"""Weights; features share them by their hash (Weinberger et al. 2009, arXiv 0902.2206)."""
RIDGE = 30.0
"""Added to each feature's count: what is seen rarely is believed less."""
STEPS = 20
"""Of conjugate gradients (Hestenes and Stiefel 1952), each feature scaled by its count; half of them come close."""


class EditModel:
    """Ridge regression from what a query changes in a need to how much more it earns than the need itself."""

    def __init__(self, weights: NDArray[np.floating]) -> None:
        self._weights = weights

    def gains(self, texts: Sequence[str], queries: Sequence[str]) -> Floats:
        """(Q,) what queries are expected to earn more than their needs; 0 for one that changes nothing."""
        return np.asarray(_Design(texts, queries) @ self._weights, np.float32)

    def best(self, search: EditSearch, texts: Sequence[str], at_least: float, keep: int = 1) -> list[list[Edited]]:
        """For each text at most `keep` edits, those that are expected to gain most.

        Each edit must add this much to what is expected; the values are what is expected above that.
        """

        def expected(places: Sequence[int], queries: Sequence[str]) -> Floats:
            return self.gains([texts[place] for place in places], queries)

        found = replace(search, cost=at_least).best(texts, expected, keep=keep)
        return [[one for one in edits[1 : keep + 1] if one.value >= 0] for edits in found]


def learn(tried: Sequence[Attempt], ridge: float = RIDGE) -> EditModel:
    """A model of what edits gain, from queries that were searched."""
    return learn_without_each(tried, [0] * len(tried), 1, ridge)[0]


def learn_without_each(
    tried: Sequence[Attempt], parts: Sequence[int], count: int, ridge: float = RIDGE
) -> list[EditModel]:
    """For each of `count` parts of the queries a model of all others, which knows nothing of that part.

    `parts` is the part of each query. Where there is one part alone, its model knows all.
    """
    design = _Design([one.text for one in tried], [one.query for one in tried])
    gains_Q, parts_Q = np.array([one.gain for one in tried], float), np.array(parts, int)
    return [EditModel(_solved(design, gains_Q, (parts_Q != part) | (count == 1), ridge)) for part in range(count)]


def _solved(
    design: _Design, gains_Q: NDArray[np.floating], used_Q: NDArray[np.bool_], ridge: float
) -> NDArray[np.floating]:
    """The weights of the ridge regression over the queries that are used, by preconditioned conjugate gradients."""
    weights, residual = np.zeros(SIZE), design.transposed(gains_Q * used_Q)
    scale = design.transposed(used_Q.astype(float)) + ridge
    direction, square = np.zeros(SIZE), 0.0
    for _ in range(STEPS):
        scaled = residual / scale
        before, square = square, float(residual @ scaled)
        if square < 1e-12:
            break
        direction = scaled + (square / before if before else 0.0) * direction
        image = design.transposed((design @ direction) * used_Q) + ridge * direction
        size = square / float(direction @ image)
        weights += size * direction
        residual -= size * image
    return weights


class _Design:
    """The features of Q queries, one after another; each has the value 1."""

    def __init__(self, texts: Sequence[str], queries: Sequence[str]) -> None:
        ids, counts = array("i"), array("i")  # lists of numbers would take ten times the memory
        for text, query in zip(texts, queries, strict=True):
            before = len(ids)
            ids.extend(features(text, query))
            counts.append(len(ids) - before)
        self._size = len(counts)
        self._ids = np.array(ids, np.int32)
        self._rows = np.repeat(np.arange(self._size, dtype=np.int32), np.array(counts, np.int32))

    def __matmul__(self, weights: NDArray[np.floating]) -> NDArray[np.floating]:
        return np.bincount(self._rows, weights[self._ids], self._size).astype(float)

    def transposed(self, values: NDArray[np.floating]) -> NDArray[np.floating]:
        return np.bincount(self._ids, values[self._rows], SIZE).astype(float)


def features(text: str, query: str) -> list[int]:
    """What a query changes in the text of a need, as numbers below `SIZE`; none where it changes nothing.

    Of each word that is dropped, added or replaced: the word, its neighbours, the other words of the need, its place,
    and how many words there are. A plural counts as its singular, so that the two share what is known of them.
    """
    words, written = folded(text).split(), folded(query).split()
    changes = list(_changes(words, written))
    return [_hashed(name) for name in dict.fromkeys(_named(list(map(_base, words)), changes))]


def _base(word: str) -> str:
    return word[:-1] if len(word) > 3 and word.endswith("s") else word


def _named(words: Sequence[str], changes: Sequence[Changed]) -> Iterator[str]:
    count = len(words)
    if changes:
        yield f"{len(changes)} changes of {min(count, 8)} words"
    for start, end, written in changes:
        if not written:
            for place in range(start, end):
                yield from _word(f"-{words[place]}", "-", words, place, place + 1)
        else:
            before, after = words[start:end], list(map(_base, written))
            joined = "joined or split" if "".join(before) == "".join(after) else ""
            again = "again" if not before and after[0] in words[max(start - 1, 0) : start + 1] else ""
            kind = f"{'~' if before else '+'}{joined}{again}"
            yield from _word(f"{kind}{' '.join(before)}>{' '.join(after)}", kind, words, start, end)


def _word(name: str, kind: str, words: Sequence[str], start: int, end: int) -> Iterator[str]:
    """One changed word: `name` says which and how, `kind` only how."""
    place = f"{start == 0} {end == len(words)}"
    changed = "".join(words[start:end])
    shape = "number" if changed.isdigit() else "letters" if changed.isalpha() else "mixed"
    yield from (kind, f"{kind} at {place}", f"{kind} {shape} at {place}", f"{kind} of {min(len(words), 8)}")
    yield from (name, f"{name} at {place}", f"{name} of {min(len(words), 4)}")
    yield f"{name} after {words[start - 1] if start else '^'}"
    yield f"{name} before {words[end] if end < len(words) else '$'}"
    for other, word in enumerate(words):
        if not start <= other < end:
            yield f"{name} beside {word}"


Changed: TypeAlias = tuple[int, int, Sequence[str]]
"""From which word up to which, and what stands there instead."""


def _changes(words: Sequence[str], written: Sequence[str]) -> Iterator[Changed]:
    most, start, end = min(len(words), len(written)), 0, 0
    while start < most and words[start] == written[start]:
        start += 1
    while end < most - start and words[-1 - end] == written[-1 - end]:
        end += 1
    old, new = words[start : len(words) - end], written[start : len(written) - end]
    if old and new:
        blocks = SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
        yield from ((start + a, start + b, new[c:d]) for tag, a, b, c, d in blocks if tag != "equal")
    elif old or new:
        yield start, start + len(old), new


class Attempt(NamedTuple):
    """A query that was searched for a need, and how much more it earned than the need itself."""

    text: str
    query: str
    gain: float


def attempts(
    search: EditSearch, texts: Sequence[str], value_of: Callable[[Sequence[int], Sequence[str]], Floats]
) -> list[list[Attempt]]:
    """For each of N texts what edits of it gain; nothing for one that has no value itself.

    Chance leads the search, not what it finds: where only good edits are edited further, any second edit seems good.
    `value_of` is that of `EditSearch.best`.
    """
    raw: dict[int, float] = {}
    tried: list[list[Attempt]] = [[] for _ in texts]

    def drawn(places: Sequence[int], queries: Sequence[str]) -> Floats:
        values = value_of(places, queries)
        for place, query, value in zip(places, queries, values.tolist(), strict=True):
            if place not in raw:  # the text itself is asked first
                raw[place] = value
            elif math.isfinite(value - raw[place]):
                tried[place].append(Attempt(texts[place], query, value - raw[place]))
        return np.array([_hashed(query) for query in queries], np.float32)

    search.best(texts, drawn)
    return tried


def _hashed(text: str) -> int:
    return zlib.crc32(text.encode()) % SIZE
