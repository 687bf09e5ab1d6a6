"""A log of clicks: which item was shown for which query, at which position, and whether it was clicked."""

from __future__ import annotations

import csv
import gzip
import re
import zlib
from codecs import BOM_UTF8
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice, repeat
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from recr1.errors import DataError, shown
from recr1.judgements.base import Roles, columns_of, item_of, query_of, values_of
from recr1.tasks.cells import whole_number
from recr1.tasks.disk import GZIP, PARQUET, ending_of, head_of, lines
from recr1.tasks.readers import separator_of

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
_LONE = re.compile(b"\r(?!\n)")
_BLOCK, _ROWS = 1 << 24, 1 << 10
"""Bytes and rows that are read at a time."""
Ints: TypeAlias = NDArray[np.integer[Any]]
Values: TypeAlias = tuple[Sequence[Any], NDArray[np.integer[Any]] | None]
"""The values of a column in a block of rows: each value once with their places, or one a row and None."""


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


class _Column:
    """The numbers of one column's values."""

    def __init__(self, path: Path, role: str, name: str, first: int) -> None:
        self.path, self.role, self.name, self.first = path, role, name, first
        self.numbers: dict[Any, int] = {}
        self.names: dict[str, int] = {}

    def number(self, line: int | None, value: Any) -> int:
        """Raises `DataError` for a value that this column cannot have."""
        key = value if type(value) is str else (type(value), str(value))
        known = self.numbers.get(key)
        if known is None:
            known = self.numbers[key] = self._read(line, value)
        return known

    def _read(self, line: int | None, value: Any) -> int:
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

    CSV, TSV and Parquet are read in blocks by pyarrow where it is installed. Whatever it cannot read, or may
    read in another way, is read again row by row, so that errors are the same and have their line.

    `named` is role -> column, where it has none of the usual names; `first` is the number of the first position. Raises
    `UserError` for a role that does not exist and for anything wrong in the file.
    """
    needed = [role for role in CLICK_ROLES if sessions or role != "session"]
    why = " (sdbn needs to know which rows were on one page of results)" if sessions else ""
    found = columns_of(path, "impressions", CLICK_ROLES, named, needed, why)
    columns = {role: found[role] for role in needed}
    try:
        return _collected(path, columns, _blocks(path, list(columns.values())), first)
    except (_UnsureError, DataError):
        return read_rows(path, columns, values_of(path, "impressions", columns.values()), first)


def read_rows(
    path: Path, columns: Mapping[str, str], rows: Iterator[tuple[int, Sequence[Any]]], first: int
) -> Impressions:
    """Impressions of (line, values) a row, in the order of `columns`: role -> its name in messages."""
    chunks = iter(lambda: list(islice(rows, _ROWS)), [])
    split = (zip(*chunk, strict=True) for chunk in chunks)
    blocks = ((found, [(column, None) for column in zip(*values, strict=True)]) for found, values in split)
    return _collected(path, columns, blocks, first)


def _collected(
    path: Path, columns: Mapping[str, str], blocks: Iterable[tuple[Iterable[int | None], Sequence[Values]]], first: int
) -> Impressions:
    readers = [_Column(path, role, name, first) for role, name in columns.items()]
    parts: list[list[NDArray[np.int32]]] = [[] for _ in readers]
    for rows, block in blocks:
        for reader, part, (values, places) in zip(readers, parts, block, strict=True):
            numbers = np.fromiter(map(reader.number, rows, values), np.int32, len(values))
            part.append(numbers if places is None else numbers[places])
    found = {reader.role: np.concatenate(part) for reader, part in zip(readers, parts, strict=True)}
    names = {reader.role: list(reader.names) for reader in readers}
    if not found["clicked"].any():
        raise DataError(path, None, f"no row of {len(found['clicked']):,} is clicked: there is nothing to learn from")
    query_N, item_N, position_N, clicked_N = (found[role] for role in ("query", "item", "position", "clicked"))
    session_N = found.get("session")
    return Impressions(names["query"], names["item"], query_N, item_N, position_N, clicked_N, session_N, first)


class _UnsureError(Exception):
    """What pyarrow cannot read, or may read otherwise."""


def _blocks(path: Path, names: Sequence[str]) -> Iterator[tuple[Iterable[None], Sequence[Values]]]:
    """The columns of each block of rows; raises `_UnsureError`."""
    try:
        import pyarrow
        import pyarrow.csv
        import pyarrow.parquet
    except ImportError as error:
        raise _UnsureError from error
    try:
        for batch in _batches(path, names, pyarrow):
            encoded = [batch.column(name).dictionary_encode() for name in names]
            if any(column.null_count for column in encoded):
                raise _UnsureError
            yield (
                repeat(None),
                [(one.dictionary.to_pylist(), one.indices.to_numpy(zero_copy_only=False)) for one in encoded],
            )
    except (pyarrow.ArrowException, OSError, EOFError, zlib.error, ValueError, OverflowError) as error:
        raise _UnsureError from error


def _batches(path: Path, names: Sequence[str], pyarrow: Any) -> Iterator[Any]:
    ending = ending_of(path.name)
    if head_of(path).startswith(PARQUET):
        with pyarrow.parquet.ParquetFile(path, page_checksum_verification=True) as file:
            yield from file.iter_batches(columns=list(names))
        return
    quotes = ending.startswith(".csv")
    if not quotes and not ending.startswith(".tsv"):
        raise _UnsureError
    separator = separator_of(next((text for _, text in lines(path)), "")) if quotes else "\t"
    if not _read_alike(path, separator, quotes=quotes):
        raise _UnsureError
    parse = pyarrow.csv.ParseOptions(delimiter=separator, quote_char='"' if quotes else False)
    convert = pyarrow.csv.ConvertOptions(
        include_columns=list(names), column_types=dict.fromkeys(names, pyarrow.string())
    )
    options = pyarrow.csv.ReadOptions(block_size=_BLOCK, use_threads=False)
    yield from pyarrow.csv.open_csv(path, options, parse, convert)


def _read_alike(path: Path, separator: str, *, quotes: bool) -> bool:
    """Whether pyarrow reads a table as `records` does.

    It ends lines at any carriage return, keeps a byte order mark inside of the file, and takes text after a closing
    quote without a word.
    """
    with gzip.open(path) if head_of(path).startswith(GZIP) else path.open("rb") as file:
        file.read(len(BOM_UTF8) * head_of(path).startswith(BOM_UTF8))
        for block in iter(lambda: file.read(_BLOCK) + file.readline(), b""):
            quoted = [line.decode() for line in block.splitlines() if b'"' in line] if b'"' in block else []
            if b"\0" in block or BOM_UTF8 in block or _LONE.search(block) or (quoted and not quotes):
                return False
            try:  # each row is on one line, with cells that are quoted as a whole
                for line in quoted:
                    list(csv.reader([line], delimiter=separator, strict=True))
            except csv.Error:
                return False
    return True
