"""Columns of large catalogs, whose values are made when they are asked for: texts kept as UTF-8, and joined ones."""

from __future__ import annotations

import mmap
from abc import abstractmethod
from array import array
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

BLOCK = 2**12
"""Rows that are decoded together."""
_NONE = b"\xff"
"""What stands for None; UTF-8 has no such byte."""


class Column(Sequence[Any]):
    """A column that a catalog keeps as it is; others it copies to a tuple."""

    def __getitem__(self, row: Any) -> Any:
        if isinstance(row, slice):
            return [self._value(each) for each in range(*row.indices(len(self)))]
        return self._value(range(len(self))[row])  # raises IndexError for a row that does not exist

    @abstractmethod
    def _value(self, row: int) -> Any: ...


class Texts(Column):
    """Texts, and None, as UTF-8: value n is from `ends[n]` to `ends[n + 1]` of `letters`.

    That is a byte for most letters, and 8 for each text; a `str` takes 57, and up to four for each letter.
    """

    def __init__(self, letters: NDArray[np.uint8], ends: NDArray[np.int64]) -> None:
        self.letters, self.ends = letters, ends

    def __len__(self) -> int:
        return len(self.ends) - 1

    def __iter__(self) -> Iterator[str | None]:
        mapped: Any = self.letters
        while isinstance(mapped, np.ndarray):
            mapped = mapped.base
        for first in range(0, len(self), BLOCK):
            if isinstance(mapped, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
                mapped.madvise(mmap.MADV_DONTNEED)  # gives memory back: the file has what was read
            ends = self.ends[first : first + BLOCK + 1]
            letters = self.letters[ends[0] : ends[-1]].tobytes()
            places = (ends - ends[0]).tolist()
            if letters.isascii():  # a letter is a byte
                text = letters.decode("ascii")
                yield from [text[start:end] for start, end in pairwise(places)]
            else:
                yield from [_decoded(letters[start:end]) for start, end in pairwise(places)]

    def _value(self, row: int) -> str | None:
        return _decoded(self.letters[self.ends[row] : self.ends[row + 1]].tobytes())


def _decoded(value: bytes) -> str | None:
    if value == _NONE:
        return None
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("utf-8", "surrogatepass")


class Joined(Column):
    """For each row the values of some columns as one text, with blanks between them, but for those that are missing."""

    def __init__(self, columns: Sequence[Sequence[Any]], is_missing: Callable[[Any], bool]) -> None:
        self._columns, self._is_missing = columns, is_missing

    def __len__(self) -> int:
        return len(self._columns[0])

    def __iter__(self) -> Iterator[str]:
        return map(self._joined, zip(*self._columns, strict=True))

    def _value(self, row: int) -> str:
        return self._joined([column[row] for column in self._columns])

    def _joined(self, values: Sequence[Any]) -> str:
        # A text that begins with a letter or a digit is there: most do, and are not asked about.
        there = [v for v in values if (type(v) is str and v[:1].isalnum()) or not self._is_missing(v)]
        return " ".join(map(str, there))


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
