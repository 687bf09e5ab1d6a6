"""What a cell of a data file means: nothing, an id, a text, a grade, or the value of a field."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import shorten
from typing import Any

from recr1.errors import DataError, shown
from recr1.tasks.readers import Record
from retrievers.analyzer import is_blank

MISSING = (
    *("#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>"),
    *("N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null", "NaT", "\\N"),
)
"""Texts that tools write for a value that is not there: those of pandas.read_csv, its NaT, and \\N of SQL."""

_NESTED = (dict, list, tuple, bytes)
"""What is not a plain value: a map of Parquet is a list of tuples, a picture is bytes."""
_WHOLE = re.compile(r"([+-]?[0-9]{1,9})(\.0*)?")


def is_missing(value: Any, words: Collection[str] = ()) -> bool:
    """Whether a value is missing: null, blank, NaN or infinite, or exactly one of the words."""
    if isinstance(value, str):
        if not words and value[:1].isalnum():  # most values, quickly
            return False
        plain = value.strip()
        return plain in words or (not plain[:1].isalnum() and is_blank(plain))
    return value is None or (isinstance(value, float) and not math.isfinite(value))


def listed(record: Record) -> str:
    """The names of the fields of a row, cut where they are many."""
    return shorten(", ".join(record), 300)


def text_of(path: Path, line: int, record: Record, column: str, words: Collection[str]) -> str:
    """A required value: text, or an integer as text; raises `DataError`."""
    value = record.get(column)
    if type(value) is int or (type(value) is str and not is_missing(value, words)):
        return str(value)
    if column not in record:
        raise DataError(path, line, f"no field {column!r}; the fields are: {listed(record)} (every row needs it)")
    if isinstance(value, str) and not is_blank(value):
        remedy = "correct it, or take it as a word with the option missing: []"
        raise DataError(path, line, f"field {column!r} is {shown(value)}, which means that it is missing: {remedy}")
    what = "is empty" if is_missing(value, words) else f"is {shown(value)}"
    raise DataError(path, line, f"field {column!r} {what}: it must be text or an integer")


def id_of(path: Path, line: int, record: Record, column: str, words: Collection[str]) -> str:
    """A required id; raises `DataError` also for one that looks like another: with a blank at its end, or a tab."""
    value = record.get(column)
    if type(value) is str and value.isalnum() and value.isascii() and value not in words:  # most ids, quickly
        return value
    name = text_of(path, line, record, column, words)
    if name != name.strip() or not name.isprintable():
        what = "begins or ends with a blank" if name.isprintable() else "has a character that cannot be seen"
        raise DataError(path, line, f"id {shown(name)} {what}: remove it, in all files")
    return name


def whole_number(value: Any) -> int | None:
    """The value of 3, "3" or 3.0, which pandas makes of it; None for everything else, such as 0.5, True or 1e400."""
    match = None if isinstance(value, bool) else _WHOLE.fullmatch(str(value).strip())
    return int(match[1]) if match else None


@dataclass
class Fields:
    """Turns the cells of a catalog into values of its fields, and counts missing and nested values."""

    path: Path
    words: Collection[str]
    in_texts: Collection[str]
    """The fields that an item's text is made of: nested values in them are refused."""
    plain: set[str] = field(default_factory=set)
    """The fields with a plain value in any item."""
    nested: Counter[str] = field(default_factory=Counter)
    """Fields -> in how many items their value is nested."""
    missing: int = 0
    first_missing: str = ""
    first_nested: dict[str, int] = field(default_factory=dict)
    """Field -> the first line with a nested value."""
    longest: int = 0
    """The length of the longest of the words."""

    def __post_init__(self) -> None:
        self.longest = max(map(len, self.words), default=0)

    def value(self, line: int, name: str, cell: Any) -> Any:
        """A plain value, plain values joined with commas, or None for a missing or a nested one; `DataError`."""
        if cell is None:
            return None
        if type(cell) is str and len(cell) > self.longest and cell[0].isalnum() and not cell[-1].isspace():
            self.plain.add(name)  # most cells, quickly
            return cell
        if not isinstance(cell, _NESTED) and not (isinstance(cell, bool) and name in self.in_texts):
            if is_missing(cell, self.words):
                self._add_missing(line, name, (cell,))
                return cell if isinstance(cell, str) and is_blank(cell) else None
            self.plain.add(name)
            return cell if isinstance(cell, (str, int, float)) else str(cell)
        if not isinstance(cell, list) or any(isinstance(part, _NESTED) for part in cell):
            self._add_nested(line, name, cell)
            return None
        kept = [part for part in cell if not is_missing(part, self.words)]
        self._add_missing(line, name, cell)
        self.plain.update([name] if kept else [])
        return ", ".join(map(str, kept))

    def left_out(self) -> set[str]:
        """The fields that only have nested values."""
        return set(self.nested) - self.plain

    def counts(self) -> Counter[str]:
        """What was left out, with the place where it was first -> how often."""
        found = Counter({f"values read as missing, the first {self.first_missing}": self.missing})
        for name in self.plain & set(self.first_nested):
            what = f"nested values left out of {name!r}, the first on line {self.first_nested[name]}"
            found[what] = self.nested[name]
        return +found

    def _add_nested(self, line: int, name: str, cell: Any) -> None:
        if not cell and not isinstance(cell, bool):  # an empty {} says nothing
            self.nested[name] += 0
            return
        if name in self.in_texts:
            what = f"field {name!r} is {shown(cell)}, and an item's text is made of it"
            raise DataError(self.path, line, f"{what}: write it as plain text, or name other text_fields")
        self.nested[name] += 1
        self.first_nested.setdefault(name, line)

    def _add_missing(self, line: int, name: str, parts: Collection[Any]) -> None:
        for part in parts:
            if is_missing(part, self.words) and (isinstance(part, float) or not is_missing(part)):
                self.missing += 1
                self.first_missing = self.first_missing or f"{shown(part)} of {name!r} on line {line}"
