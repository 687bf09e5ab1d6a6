"""Columns of large catalogs, whose values are made when they are asked for: texts kept as UTF-8, and joined ones."""

from __future__ import annotations

import mmap
from abc import abstractmethod
from array import array
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

BLOCK = 2**10
"""Rows that are decoded together, and hashed together: larger blocks leave the processor's cache. Part of every
fingerprint of a catalog."""
_NONE = b"\xff"
"""What stands for None; UTF-8 has no such byte."""
_PLAIN = np.array([byte < 128 and chr(byte).isalnum() for byte in range(256)])
"""The ASCII letters and digits."""
IsMissing: TypeAlias = Callable[[Any], bool]


class Column(Sequence[Any]):
    """A column that a catalog keeps as it is; others it copies to a tuple."""

    def __getitem__(self, row: Any) -> Any:
        if not isinstance(row, slice):
            return self._value(range(len(self))[row])  # raises IndexError for a row that does not exist
        first, end, step = row.indices(len(self))
        return self._values(first, max(first, end)) if step == 1 else [self._value(n) for n in range(first, end, step)]

    def __iter__(self) -> Iterator[Any]:
        for first in range(0, len(self), BLOCK):
            yield from self[first : first + BLOCK]

    @abstractmethod
    def utf8(self, first: int, end: int) -> list[bytes]:
        """Some texts as UTF-8, None as no bytes."""

    @abstractmethod
    def none(self, first: int, end: int) -> NDArray[np.bool_]:
        """Which of these rows are None."""

    @abstractmethod
    def _value(self, row: int) -> Any: ...

    def _values(self, first: int, end: int) -> list[Any]:
        utf8 = self.utf8(first, end)
        values: list[str | None]
        try:
            values = list(map(bytes.decode, utf8))
        except UnicodeDecodeError:
            values = list(map(_decoded, utf8))
        for row in np.flatnonzero(self.none(first, end)).tolist():
            values[row] = None
        return values


class Texts(Column):
    """Texts, and None, as UTF-8: value n is from `ends[n]` to `ends[n + 1]` of `letters`.

    That is a byte for most letters, and 8 for each text; a `str` takes 57, and up to four for each letter.
    """

    def __init__(self, letters: NDArray[np.uint8], ends: NDArray[np.int64]) -> None:
        self.letters, self.ends = letters, ends

    def __len__(self) -> int:
        return len(self.ends) - 1

    def none(self, first: int, end: int) -> NDArray[np.bool_]:
        """Which of these rows are None."""
        starts = self.ends[first:end]
        none: NDArray[np.bool_] = self.ends[first + 1 : end + 1] - starts == len(_NONE)
        none[none] = self.letters[starts[none]] == _NONE[0]
        return none

    def odd(self, first: int, end: int) -> list[int]:
        """The places, from `first` on, of texts that begin with neither a letter nor a digit of ASCII."""
        starts = self.ends[first:end]
        odd = (self.ends[first + 1 : end + 1] > starts) & ~self.none(first, end)
        odd[odd] = ~_PLAIN[self.letters[starts[odd]]]
        return np.flatnonzero(odd).tolist()

    def utf8(self, first: int, end: int) -> list[bytes]:
        """Some texts, None as no bytes."""
        mapped: Any = self.letters
        while isinstance(mapped, np.ndarray):
            mapped = mapped.base
        if isinstance(mapped, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
            mapped.madvise(mmap.MADV_DONTNEED)  # gives memory back: the file has what was read
        ends = self.ends[first : end + 1]
        letters = self.letters[ends[0] : ends[-1]].tobytes()
        starts, stops = ends[:-1] - ends[0], ends[1:] - ends[0]
        none = self.none(first, end)
        stops[none] = starts[none]
        return [letters[start:stop] for start, stop in zip(starts.tolist(), stops.tolist(), strict=True)]

    def _value(self, row: int) -> str | None:
        value = self.letters[self.ends[row] : self.ends[row + 1]].tobytes()
        return None if value == _NONE else _decoded(value)


def _decoded(value: bytes) -> str:
    return value.decode("utf-8", "surrogatepass")


class Joined(Column):
    """For each row the values of some columns as one text, with blanks between them, but for those that are missing.

    None is missing; a text that begins with a letter or a digit is there, and not asked about.
    """

    def __init__(self, columns: Sequence[Sequence[Any]], is_missing: IsMissing) -> None:
        self._columns, self._is_missing = columns, is_missing

    def __len__(self) -> int:
        return len(self._columns[0])

    def none(self, first: int, end: int) -> NDArray[np.bool_]:
        """None of them."""
        return np.zeros(end - first, np.bool_)

    def utf8(self, first: int, end: int) -> list[bytes]:
        """Some of the joined texts."""
        rows = zip(*[self._present(column, first, end) for column in self._columns], strict=True)
        return [b" ".join(filter(None, row)) for row in rows]

    def _present(self, column: Sequence[Any], first: int, end: int) -> list[bytes]:
        if not isinstance(column, Texts):
            values = [None if value is None or self._is_missing(value) else value for value in column[first:end]]
            return [b"" if value is None else str(value).encode("utf-8", "surrogatepass") for value in values]
        present = column.utf8(first, end)
        for place in column.odd(first, end):
            if self._is_missing(_decoded(present[place])):
                present[place] = b""
        return present

    def _value(self, row: int) -> str:
        values = [column[row] for column in self._columns]
        return " ".join(str(value) for value in values if value is not None and not self._is_missing(value))


def count_missing(column: Sequence[Any], is_missing: IsMissing) -> int:
    """How many values of a column `Joined` leaves out."""
    if not isinstance(column, Texts):
        return sum(value is None or is_missing(value) for value in column)
    count, rows = 0, len(column)
    for first in range(0, rows, BLOCK):
        end = min(first + BLOCK, rows)
        blank = column.ends[first:end] == column.ends[first + 1 : end + 1]
        count += int(np.count_nonzero(blank | column.none(first, end)))
        count += sum(is_missing(column[first + place]) for place in column.odd(first, end))
    return count


class Growing:
    """A column in the making: `Texts` until a value is neither text nor None, then a list."""

    def __init__(self) -> None:
        self._letters, self._ends = bytearray(), array("q", [0])
        self._values: list[Any] | None = None

    def extend(self, values: Sequence[Any]) -> None:
        """Adds values of further rows."""
        if self._values is None and not {*map(type, values)} <= {str, type(None)}:
            self._values = list(self.values())
        if self._values is not None:
            self._values.extend(values)
            return
        try:
            encoded = [_NONE if value is None else value.encode() for value in values]
        except UnicodeEncodeError:
            encoded = [_NONE if value is None else value.encode("utf-8", "surrogatepass") for value in values]
        _, *ends = accumulate(map(len, encoded), initial=self._ends[-1])
        self._letters += b"".join(encoded)
        self._ends.extend(ends)

    def values(self) -> Sequence[Any]:
        """All values so far; none may be added while they are used."""
        if self._values is not None:
            return self._values
        return Texts(np.frombuffer(self._letters, np.uint8), np.frombuffer(self._ends, np.int64))
