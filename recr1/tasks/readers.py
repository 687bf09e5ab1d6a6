"""Rows of data files, one at a time, each with its line number for error messages."""

from __future__ import annotations

import codecs
import csv
import gzip
import json
import re
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any, TypeAlias, cast

from recr1.errors import DataError, MissingLibrary

Record: TypeAlias = dict[str, Any]
"""One row: column name -> value. In text tables every value is a `str`."""

TEXT_ENDINGS = (".jsonl", ".tsv", ".csv")
ENDINGS = (*TEXT_ENDINGS, *(f"{ending}.gz" for ending in TEXT_ENDINGS), ".parquet")
"""The kinds of files that `records` reads, by the end of the name."""

_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")


def find(folder: Path, name: str, what: str) -> Path:
    """The file with this name in the folder, or if there is none, the one that differs only in its ending.

    Raises `DataError` where there is no such file, or two; `what` is its name in messages.
    """
    if (folder / name).is_file():
        return folder / name
    stem = name[: -len(ending_of(name))] if ending_of(name) else name
    candidates = [folder / f"{stem}{ending}" for ending in ENDINGS]
    found = [candidate.name for candidate in candidates if candidate.is_file()]
    if len(found) > 1:
        raise DataError(folder, None, f"{' and '.join(found)} could both be the {what}: name one in the task's options")
    if not found:
        looked = ", ".join(dict.fromkeys([name, *(candidate.name for candidate in candidates)]))
        raise DataError(folder, None, f"no file with the {what}: looked for {looked}")
    return (folder / stem).parent / found[0]


def ending_of(name: str) -> str:
    """The ending that says how a file is read (".tsv.gz"), or "" for an unknown one."""
    return next((ending for ending in ENDINGS if name.endswith(ending)), "")


def records(path: Path, what: str) -> Iterator[tuple[int, Record]]:
    """(line, record) of each row; for Parquet, the row's number, from 1.

    Tables need a header. TSV has no quotes (as in BEIR), CSV has double quotes. Empty lines are skipped.
    Raises `DataError` for what cannot be read, and for a file without rows; `what` is their name in messages.
    """
    ending = ending_of(path.name).removesuffix(".gz")
    if not ending:
        raise DataError(path, None, f"unknown kind of file: the name must end in {', '.join(ENDINGS)}")
    line = 0
    if ending == ".parquet":
        rows = _parquet(path)
    elif ending == ".jsonl":
        rows = _jsonl(path)
    else:
        rows = _table(path, _csv(path) if ending == ".csv" else _tsv(path))
    for line, record in rows:
        yield line, record
    if not line:
        raise DataError(path, None, f"no {what}: the file has no rows")


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Numbered lines with their ends. Only a line feed ends one: other line breaks may be inside a JSON string."""
    number = 0
    try:
        # No larger buffer around gzip: it would lose the lines before the place where a file is cut off.
        with cast(IO[bytes], gzip.open(path)) if path.suffix == ".gz" else path.open("rb") as stream:
            for number, line in enumerate(stream, 1):
                yield number, (line.removeprefix(codecs.BOM_UTF8) if number == 1 else line).decode()
    except UnicodeDecodeError as error:
        byte, place = error.object[error.start], error.start + 1
        raise DataError(path, number, f"not UTF-8: byte 0x{byte:02x} at place {place} (save it as UTF-8)") from error
    except EOFError as error:
        raise DataError(path, number + 1, "the gzip file ends here unexpectedly: copy or download it again") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(path, number + 1, f"not a valid gzip file: {error} (copy or download it again)") from error
    except OSError as error:
        raise DataError(path, None, f"cannot be read: {error.strerror or error}") from error


def _jsonl(path: Path) -> Iterator[tuple[int, Record]]:
    for line, text in _lines(path):
        if text.isspace():
            continue
        try:
            record = json.loads(text)
            if _SURROGATE_ESCAPE.search(text):
                json.dumps(record, ensure_ascii=False).encode()
        except json.JSONDecodeError as error:
            what = f"not JSON: {error.msg} at place {error.colno} (write one JSON object per line)"
            raise DataError(path, line, what) from error
        except UnicodeEncodeError as error:
            raise DataError(path, line, "half of a surrogate pair (\\ud8..) is not a character: remove it") from error
        except (ValueError, RecursionError) as error:
            raise DataError(path, line, f"JSON that cannot be read: {error}") from error
        if not isinstance(record, dict):
            raise DataError(path, line, "not a JSON object (write one JSON object per line)")
        yield line, record


def _tsv(path: Path) -> Iterator[tuple[int, list[str]]]:
    for line, text in _lines(path):
        stripped = text.rstrip("\r\n")
        if stripped:
            yield line, stripped.split("\t")


def _csv(path: Path) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader((text for _, text in _lines(path)), strict=True)
    line = 1
    try:
        for values in reader:
            if values:
                yield line, values
            line = reader.line_num + 1
    except csv.Error as error:
        raise DataError(path, line, f"not CSV: {error} (the row begins on this line)") from error


def _table(path: Path, rows: Iterable[tuple[int, list[str]]]) -> Iterator[tuple[int, Record]]:
    numbered = iter(rows)
    first, header = next(numbered, (0, []))
    if len(set(header)) < len(header):
        twice = next(name for name in header if header.count(name) > 1)
        raise DataError(path, first, f"two columns have the name {twice!r}: rename one")
    width = len(header)
    for line, values in numbered:
        if len(values) != width:
            raise DataError(path, line, f"{len(values)} columns, but the header (line {first}) has {width}")
        yield line, dict(zip(header, values, strict=True))


def _parquet(path: Path) -> Iterator[tuple[int, Record]]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingLibrary("pyarrow", "parquet", f"reading {path}") from error
    row = 0
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches():
                for record in batch.to_pylist():
                    row += 1
                    yield row, record
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(path, row + 1, f"not a valid Parquet file: {error}") from error
