"""Rows of data files, one at a time, each with its line number for error messages."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any, TypeAlias

from recr1.errors import DataError, MissingLibrary, shown
from recr1.tasks.disk import ENDINGS, PARQUET, ending_of, head_of, lines, refuse_unread

Record: TypeAlias = dict[str, Any]
"""One row: column name -> value. In text tables every value is a `str`."""

_QUOTED = re.compile('"[^"]*"')
_CSV_CELL = re.compile('"(?:[^"]*"")*[^"]*"')
"""A quoted cell; where it has two quotes in a row, some tool has quoted it."""
ATOMIC = (".inter", ".item", ".user")
"""The endings of RecBole's atomic files: TSV whose header has types, "rating:float"."""
_BATCH = 2**12
"""Rows of Parquet that are made together: many more leave the processor's cache."""
_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")


def records(
    path: Path, what: str, encoding: str | None = None, wanted: Collection[str] | None = None
) -> Iterator[tuple[int, Record]]:
    """(line, record) of each row; for Parquet, the row's number, from 1.

    Tables need a header. TSV has no quotes (as in BEIR). CSV has double quotes, and its columns are separated by the
    first of comma, semicolon, tab and bar that the header has. Empty lines are skipped. Parquet is read under any name,
    of its columns only those that are `wanted`. In an atomic file of RecBole a sequence ("token_seq") is a list.
    Raises `DataError` for what cannot be read, and for a file without rows; `what` is their name in messages.
    """
    atomic = path.name.lower().removesuffix(".gz").endswith(ATOMIC)
    ending = ".tsv" if atomic else ending_of(path.name).removesuffix(".gz")
    head = head_of(path)
    if head.startswith(PARQUET):
        rows = _parquet(path, wanted)
    elif not ending:
        raise DataError(path, None, f"unknown kind of file: the name must end in {', '.join(ENDINGS)}")
    elif ending == ".parquet" and head:
        refuse_unread(path, head)
        raise DataError(path, None, "not a Parquet file, though its name ends in .parquet: rename it, or copy it again")
    elif ending == ".jsonl":
        rows = _jsonl(path, encoding)
    else:
        rows = _table(path, ending, (csv_rows if ending == ".csv" else _tsv)(path, encoding))
        rows = _untyped(path, rows) if atomic else rows
    line = 0
    for line, record in rows:
        yield line, record
    if not line:
        raise DataError(path, None, f"no {what}: the file has no rows")


def _once(pairs: list[tuple[str, Any]]) -> Record:
    """A JSON object; raises `ValueError` for a key that appears twice, of which Python would keep the last."""
    record = dict(pairs)
    if len(record) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {shown(twice)} appears twice: remove one")
    return record


_JSON: Any = json.JSONDecoder(object_pairs_hook=_once)


def _jsonl(path: Path, encoding: str | None) -> Iterator[tuple[int, Record]]:
    for line, text in lines(path, encoding):
        if text.isspace():
            continue
        record = _decoded(path, line, text, " (write one JSON object per line)")
        if not isinstance(record, dict):
            raise DataError(path, line, "not a JSON object (write one JSON object per line)")
        yield line, record


def document(path: Path, encoding: str | None = None) -> Any:
    """A file that is one JSON value; raises `DataError`, also for a key that appears twice in an object."""
    return _decoded(path, None, "".join(text for _, text in lines(path, encoding)), " (is the file cut off?)")


def _decoded(path: Path, line: int | None, text: str, remedy: str) -> Any:
    """A JSON value; without a line, errors have that of the text."""
    try:
        try:
            value, end = _JSON.scan_once(text, 0)
        except StopIteration:
            value, end = None, 0
        if not end or text[end:].strip(" \t\r\n"):
            value = _JSON.decode(text)  # with blanks before it, or not JSON
        if _SURROGATE_ESCAPE.search(text):
            json.dumps(value, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        what = f"not JSON: {error.msg} at place {error.colno}{remedy}"
        raise DataError(path, line or error.lineno, what) from error
    except UnicodeEncodeError as error:
        raise DataError(path, line, "half of a surrogate pair (\\ud8..) is not a character: remove it") from error
    except (ValueError, RecursionError) as error:
        raise DataError(path, line, f"JSON that cannot be read: {error}") from error
    return value


def _tsv(path: Path, encoding: str | None) -> Iterator[tuple[int, list[str]]]:
    for line, text in lines(path, encoding):
        stripped = text.rstrip("\r\n")
        cells = stripped.split("\t")
        doubled = [cell for cell in cells if '""' in cell and _CSV_CELL.fullmatch(cell)] if '""' in stripped else []
        if doubled:
            what = f"{shown(doubled[0])} has the quotes of CSV, which TSV does not have"
            raise DataError(path, line, f"{what}: rename the file to end in .csv, or write each quote once")
        if stripped:
            yield line, cells


def separator_of(header: str) -> str:
    """The first of comma, semicolon, tab and bar that the header of a CSV has outside of quotes; else a comma."""
    plain = _QUOTED.sub("", header)
    return next((sign for sign in ",;\t|" if sign in plain), ",")


def csv_rows(path: Path, encoding: str | None = None) -> Iterator[tuple[int, list[str]]]:
    """(line, cells) of each row of a CSV, its header first; raises `DataError`."""
    numbered = lines(path, encoding)
    first, header = next(((line, text) for line, text in numbered if text.strip()), (1, ""))
    separator = separator_of(header)
    if named := re.fullmatch(r"sep=(.)\s*", header):  # what Excel writes above the header
        separator = named[1]
        first, header = next(numbered, (first, ""))
    csv.field_size_limit(2**31 - 1)  # the default, 131,072 characters, is less than some descriptions have
    reader = csv.reader(chain([header], (text for _, text in numbered)), delimiter=separator, strict=True)
    line = first
    try:
        for values in reader:
            if values:
                yield line, values
            line = first + reader.line_num
    except csv.Error as error:
        cause = "a carriage return alone, outside of quotes" if "new-line" in str(error) else error
        raise DataError(path, line, f"not CSV: {cause} (the row begins on this line)") from error


def _table(path: Path, ending: str, rows: Iterable[tuple[int, list[str]]]) -> Iterator[tuple[int, Record]]:
    numbered = iter(rows)
    first, written = next(numbered, (0, [""]))
    header = [name.strip() for name in written]
    width = len(header)
    if header[0].startswith("{"):
        raise DataError(path, first, "JSON, not a table: rename the file to end in .jsonl")
    if ending == ".tsv" and (_QUOTED.fullmatch(header[0]) or (width == 1 and re.search("[,;|]", header[0]))):
        what = "the header has quotes" if _QUOTED.match(header[0]) else "the header has no tab"
        raise DataError(path, first, f"not TSV, {what}: rename the file to end in .csv, where both are read")
    _refuse_twice(path, first, header)
    for line, values in numbered:
        if len(values) != width:
            hint = ""
            if ending == ".tsv" and any(value.startswith('"') != value.endswith('"') for value in values):
                hint = " (TSV has no quotes: for line breaks or tabs inside quotes, rename the file to end in .csv)"
            elif "\r" in "".join([*written, *values]):
                hint = " (some lines end with CR alone: end all with LF)"
            what = f"{len(values)} columns, but the header (line {first}) has {width}{hint}"
            raise DataError(path, line, what)
        if values == written:
            raise DataError(path, line, "the header again: several files were joined; leave it out here")
        yield line, dict(zip(header, values, strict=True))


def _untyped(path: Path, rows: Iterable[tuple[int, Record]]) -> Iterator[tuple[int, Record]]:
    """The rows of an atomic file, their columns without types; the parts of a sequence are separated by blanks."""
    for line, record in rows:
        plain = [name for name in record if ":" not in name]
        if plain:
            what = f"the header has {shown(plain[0])} without a type"
            raise DataError(path, 1, f"{what}: write {plain[0]}:token, or rename the file to end in .tsv")
        yield (
            line,
            {
                name.partition(":")[0]: value.split() if name.endswith("_seq") else value
                for name, value in record.items()
            },
        )


def _refuse_twice(path: Path, line: int | None, names: Sequence[str]) -> None:
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        what = f"the name {shown(twice)}: rename one" if twice else "no name: name them, or remove them"
        raise DataError(path, line, f"two columns have {what}")


def _parquet(path: Path, wanted: Collection[str] | None) -> Iterator[tuple[int, Record]]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingLibrary("pyarrow", "parquet", f"reading {path}") from error
    row = 0
    try:
        with pyarrow.parquet.ParquetFile(path, page_checksum_verification=True) as file:
            _refuse_twice(path, None, file.schema_arrow.names)
            columns = [name for name in file.schema_arrow.names if wanted is None or name in wanted]
            binary = any("binary" in str(field.type) for field in file.schema_arrow)
            for batch in file.iter_batches(_BATCH, columns=columns or None):  # all, for messages, where none is there
                for values in _rows(batch):
                    row += 1
                    yield row, {name: _without_bytes(value) for name, value in values.items()} if binary else values
    except DataError:
        raise
    except UnicodeDecodeError as error:
        raise DataError(path, row + 1, f"a text that is not UTF-8: {error}") from error
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError) as error:
        raise DataError(path, row + 1, f"cannot be read as Parquet: {error} (copy or download it again)") from error


def _rows(batch: Any) -> Iterable[Record]:
    """The rows of a batch of Parquet; a row with a value that cannot be read raises after those before it."""
    try:
        columns = [column.to_pylist() for column in batch.columns]
    except (ValueError, OverflowError):
        return (batch.slice(place, 1).to_pylist()[0] for place in range(batch.num_rows))
    names = batch.schema.names
    return (dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True))


def _without_bytes(value: Any) -> Any:
    """A value of Parquet with its texts as `str`: many writers store them as bytes, in UTF-8. Pictures stay bytes."""
    if isinstance(value, bytes):
        with suppress(UnicodeDecodeError):
            return value.decode()
    return [_without_bytes(part) for part in value] if isinstance(value, list) else value
