"""A log of clicks: which item was shown for which query, at which position, and whether it was clicked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from recr1.errors import DataError, shown
from recr1.judgements.base import Roles, columns_of, item_of, query_of, values_of
from recr1.tasks.cells import whole_number

CLICK_ROLES: Roles = {
    "query": ("query", "query_text", "user_query"),
    "item": ("item", "item_id", "doc_id", "docid", "product_id", "object_id"),
    "position": ("position", "rank"),
    "clicked": ("clicked", "click"),
    "session": ("session", "session_id", "search_id"),
}
"""The columns of a log; `session` names one page of results, and only sdbn needs it."""
DEEPEST = 10_000
_CLICKED = {"0": 0, "1": 1, "false": 0, "true": 1, "0.0": 0, "1.0": 1}
CHUNK = 1024  # rows that are read at a time
Ints: TypeAlias = NDArray[np.integer[Any]]


@dataclass
class Impressions:
    """N rows of a log as numbers: the place of their query, item and session, the position from 0, and the click."""

    queries: Sequence[str]
    items: Sequence[str]
    query_N: Ints
    item_N: Ints
    position_N: Ints
    clicked_N: Ints
    session_N: Ints | None
    first: int = 1
    """The number that the log gives to the first position."""
    counts: Counter[str] = field(default_factory=Counter)


class _Column(dict[Any, int]):
    """The numbers of the values of one column, each of which is read once."""

    def __init__(self, path: Path, role: str, name: str, first: int) -> None:
        self.path, self.role, self.name, self.first = path, role, name, first
        self.names: dict[str, int] = {}

    def __missing__(self, value: str) -> int:
        self[value] = number = self.read(None, value)
        return number

    def numbers(self, lines: Sequence[int], values: Sequence[Any]) -> NDArray[np.int32]:
        """Raises `DataError` for a value that this column cannot have."""
        if set(map(type, values)) == {str}:
            with suppress(DataError):  # which is raised again below, with its line
                return np.fromiter(map(self.__getitem__, values), np.int32, len(values))
        return np.fromiter(map(self.read, lines, values), np.int32, len(values))

    def read(self, line: int | None, value: Any) -> int:
        """The number of a value; raises `DataError`."""
        if self.role == "position":
            number = whole_number(value)
            if number is None or not self.first <= number < self.first + DEEPEST:
                what = f"position {shown(value)} is not an integer from {self.first} to {self.first + DEEPEST - 1:,}"
                remedy = "; set --first-position 0 if yours begin with 0" if number == 0 else ""
                raise DataError(self.path, line, f"{what}: correct it{remedy}")
            return number - self.first
        if self.role == "clicked":
            clicked = _CLICKED.get(str(value).strip().lower())
            if clicked is None:
                what = f"{self.name} {shown(value)} is not 0, 1, true or false"
                raise DataError(self.path, line, f"{what}: write a row for each impression")
            return clicked
        name = (query_of if self.role == "query" else item_of)(self.path, line, value, self.name)
        return self.names.setdefault(name, len(self.names))


def read_log(path: Path, named: Mapping[str, str], *, sessions: bool, first: int = 1) -> Impressions:
    """A log with a row for each impression: CSV, TSV, JSONL or Parquet.

    `named` is role -> column, where it has none of the usual names; `first` is the number of the first position. Raises
    `UserError` for a role that does not exist and for anything wrong in the file.
    """
    needed = [role for role in CLICK_ROLES if sessions or role != "session"]
    why = " (sdbn needs to know which rows were on one page of results)" if sessions else ""
    found = columns_of(path, "impressions", CLICK_ROLES, named, needed, why)
    columns = {role: found[role] for role in needed}
    return read_rows(path, columns, values_of(path, "impressions", columns.values()), first)


def read_rows(
    path: Path, columns: Mapping[str, str], rows: Iterator[tuple[int, Sequence[Any]]], first: int
) -> Impressions:
    """Impressions of (line, values) a row, in the order of `columns`: role -> its name in messages."""
    readers = [_Column(path, role, name, first) for role, name in columns.items()]
    parts: list[list[NDArray[np.int32]]] = [[] for _ in readers]
    while chunk := list(islice(rows, CHUNK)):
        lines, values = zip(*chunk, strict=True)
        for reader, part, column in zip(readers, parts, zip(*values, strict=True), strict=True):
            part.append(reader.numbers(lines, column))
    found = {reader.role: np.concatenate(part) for reader, part in zip(readers, parts, strict=True)}
    names = {reader.role: list(reader.names) for reader in readers}
    if not found["clicked"].any():
        raise DataError(path, None, f"no row of {len(found['clicked']):,} is clicked: there is nothing to learn from")
    query_N, item_N, position_N, clicked_N = (found[role] for role in ("query", "item", "position", "clicked"))
    session_N = found.get("session")
    return Impressions(names["query"], names["item"], query_N, item_N, position_N, clicked_N, session_N, first)
