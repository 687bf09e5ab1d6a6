"""The compiled part of building an index: texts are cut into pieces, each different one of which is analyzed once.

A piece is a run of ASCII letters, digits and underscores, and of all characters beyond ASCII. Nothing that `Analyzer`
does reaches over the ASCII signs between two pieces, so that the terms of a text are those of its pieces in order.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from retrievers.bm25.compiled import compiled, inner
from retrievers.bm25.index import Cut

END = 0xFF
"""The byte after each text; UTF-8 has none like it."""
INSIDE = np.array([byte != END and (byte > 127 or chr(byte).isalnum() or byte == ord("_")) for byte in range(256)])
SHORT, LONG = 7, np.int64(1 << 62)
"""Up to 7 bytes, the code of a piece is its bytes; of a longer one a hash with this bit, and they are compared."""
SEED, PRIME, MIX = np.int64(-3750763034362895579), np.int64(1099511628211), np.int64(-7046029254386353131)


class _Known(NamedTuple):
    """The pieces so far; piece p is from `ends[p]` to `ends[p + 1]` of `letters`, which are UTF-8."""

    slots: NDArray[np.int32]
    """A hash table: 0, or the number of a piece + 1."""
    codes: NDArray[np.int64]
    ends: NDArray[np.int64]
    letters: NDArray[np.uint8]


class Pieces:
    """Cuts texts; `columns_of` says which columns a new piece is, one for each of its terms.

    `cut_each` does the same one text after the other, for scripts without spaces: their pieces are sentences, all new.
    """

    def __init__(self, columns_of: Callable[[str], list[int]], cut_each: Cut) -> None:
        self._columns_of, self._cut_each = columns_of, cut_each
        self._known = _Known(np.empty(0, np.int32), np.empty(0, np.int64), np.zeros(1, np.int64), np.empty(0, np.uint8))
        self._count = 0
        self._columns, self._ends = array("i"), array("q", [0])

    def columns(self, texts: Sequence[str]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """The columns of all terms, one text after the other, and how many terms each text has."""
        joined = b"\xff".join([*[text.encode("utf-8", "surrogatepass") for text in texts], b""])
        if len(joined) > len(texts) + 2 * sum(map(len, texts)):
            return self._cut_each(texts)
        text = np.frombuffer(joined, np.uint8)
        most = len(text) // 2 + 1
        self._make_room(self._count + most, len(text))
        pieces, lengths = np.empty(most, np.int32), np.zeros(len(texts), np.int32)
        first = self._count
        self._count = _number(text, INSIDE, self._known, first, pieces, lengths)
        for piece in range(first, self._count):
            letters = self._known.letters[self._known.ends[piece] : self._known.ends[piece + 1]].tobytes()
            self._columns.extend(self._columns_of(letters.decode("utf-8", "surrogatepass")))
            self._ends.append(len(self._columns))
        columns, ends = np.frombuffer(self._columns, np.int32), np.frombuffer(self._ends, np.int64)
        columns_T: NDArray[np.int32] = _columns(pieces, lengths, columns, ends)
        return columns_T, lengths

    def _make_room(self, pieces: int, letters: int) -> None:
        slots, codes, ends, text = self._known
        if len(codes) < pieces:
            codes, ends = (np.resize(each, 2 * pieces + 1) for each in (codes, ends))
            slots = np.zeros(1 << (4 * pieces).bit_length(), np.int32)
            _enter(slots, codes[: self._count])
        if len(text) < ends[self._count] + letters:
            text = np.resize(text, 2 * (ends[self._count] + letters))
        self._known = _Known(slots, codes, ends, text)


@inner
def _first_slot(code: np.int64, slots: int) -> Any:
    return ((code * MIX) >> 32) & (slots - 1)


@compiled
def _enter(slots: Any, codes_P: Any) -> None:
    """Fills an empty hash table."""
    for piece in range(len(codes_P)):
        slot = _first_slot(codes_P[piece], len(slots))
        while slots[slot]:
            slot = (slot + 1) & (len(slots) - 1)
        slots[slot] = piece + 1


@compiled
def _number(text: Any, inside: Any, known: Any, count: int, pieces: Any, lengths: Any) -> int:
    """Writes the number of each piece, and how many a text has; returns how many different ones are known."""
    done, item, begin, code = 0, 0, 0, np.int64(0)
    for place in range(len(text)):
        if inside[text[place]]:
            code = (code << 8) | np.int64(text[place])
            continue
        if place > begin:
            piece = _piece(text, begin, place, code, known, count)
            count = max(count, piece + 1)
            pieces[done] = piece
            done += 1
            lengths[item] += 1
        begin, code = place + 1, np.int64(0)
        item += text[place] == END
    return count


@inner
def _piece(text: Any, begin: int, end: int, code: Any, known: Any, count: int) -> Any:
    """The number of a piece, which is `count` for a new one; that is entered."""
    size = end - begin
    if size > SHORT:  # FNV-1a
        code = SEED
        for place in range(begin, end):
            code = (code ^ np.int64(text[place])) * PRIME
        code |= LONG
    slot = _first_slot(code, len(known.slots))
    while known.slots[slot]:
        piece = known.slots[slot] - 1
        if known.codes[piece] == code and (size <= SHORT or _is(text, begin, end, known, piece)):
            return piece
        slot = (slot + 1) & (len(known.slots) - 1)
    known.slots[slot], known.codes[count] = count + 1, code
    start = known.ends[count]
    known.ends[count + 1] = start + size
    for place in range(size):
        known.letters[start + place] = text[begin + place]
    return count


@inner
def _is(text: Any, begin: int, end: int, known: Any, piece: Any) -> bool:
    start = known.ends[piece]
    if known.ends[piece + 1] - start != end - begin:
        return False
    for place in range(end - begin):
        if known.letters[start + place] != text[begin + place]:
            return False
    return True


@compiled
def _columns(pieces: Any, lengths: Any, columns: Any, ends_P: Any) -> Any:
    """The columns of the pieces; `lengths` becomes how many of them each text has."""
    total, done = 0, 0
    for item in range(len(lengths)):
        before = total
        for _ in range(lengths[item]):
            total += ends_P[pieces[done] + 1] - ends_P[pieces[done]]
            done += 1
        lengths[item] = total - before
    columns_T = np.empty(total, np.int32)
    total = 0
    for piece in pieces[:done]:
        for place in range(ends_P[piece], ends_P[piece + 1]):
            columns_T[total] = columns[place]
            total += 1
    return columns_T


@compiled
def counted(columns_T: Any, lengths: Any, columns: int) -> Any:
    """How many items have each column; the items of one column after the other, and how often they have it."""
    last_C, entry_C, counts_C = np.full(columns, -1, np.int32), np.empty(columns, np.int32), np.zeros(columns, np.int32)
    count = len(columns_T)
    columns_E, items_E, times_E = np.empty(count, np.int32), np.empty(count, np.uint16), np.empty(count, np.int32)
    entry, place = 0, 0
    for item in range(len(lengths)):
        for _ in range(lengths[item]):
            column = columns_T[place]
            place += 1
            if last_C[column] == item:
                times_E[entry_C[column]] += 1
                continue
            last_C[column], entry_C[column] = item, entry
            columns_E[entry], items_E[entry], times_E[entry] = column, item, 1
            counts_C[column] += 1
            entry += 1
    start = 0
    for column in range(columns):
        entry_C[column] = start
        start += counts_C[column]
    rows, times = np.empty(entry, np.uint16), np.empty(entry, np.int32)
    for done in range(entry):
        place = entry_C[columns_E[done]]
        entry_C[columns_E[done]] = place + 1
        rows[place], times[place] = items_E[done], times_E[done]
    return counts_C, rows, times
