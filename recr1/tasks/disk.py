"""Data files on disk: which is there, what it holds whatever its name says, and its lines as text."""

from __future__ import annotations

import codecs
import gzip
import io
import os
import stat
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal, cast

from recr1.errors import DataError

TEXT_ENDINGS = (".jsonl", ".tsv", ".csv")
ENDINGS = (*TEXT_ENDINGS, *(f"{ending}.gz" for ending in TEXT_ENDINGS), ".parquet")
"""The kinds of files that are read, by the end of the name."""

PARQUET, GZIP = b"PAR1", b"\x1f\x8b"
_UNREAD = {
    b"PK\x03\x04": "a ZIP archive or an Excel file: unpack it, or save its table as CSV (UTF-8)",
    b"\xd0\xcf\x11\xe0": "an old Excel file: save its table as CSV (UTF-8)",
    b"BZh": "bzip2: unpack it with bunzip2",
    b"\xfd7zXZ": "xz: unpack it with unxz",
    b"\x28\xb5\x2f\xfd": "zstd: unpack it with unzstd",
    b"ARROW1": "an Arrow or Feather file: save it as Parquet",
    b"%PDF": "a PDF file: save its table as CSV (UTF-8)",
    b"version https://git-lfs": "a pointer of Git LFS to the data: fetch them with git lfs pull",
    b"<!doctype html": "a web page: download the file itself",
    b"<html": "a web page: download the file itself",
    GZIP: "packed with gzip twice: unpack it once with gunzip",
    PARQUET: "Parquet packed with gzip: unpack it with gunzip",
}
"""What a file begins with (letters in lower case) -> what it is, and what to do."""

_MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""Byte order mark -> encoding; the mark of UTF-32 begins with one of UTF-16, and so comes before it."""


def ending_of(name: str) -> str:
    """The ending that says how a file is read (".tsv.gz"), in lower case, or "" for an unknown one."""
    return next((ending for ending in ENDINGS if name.lower().endswith(ending)), "")


def kind_of(path: Path) -> Literal["file", "folder"] | None:
    """What is there, None for nothing.

    Raises `DataError` for what is there and cannot be read: a link that leads nowhere, a FIFO, a forbidden folder.
    """
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError) as error:
        if path.is_symlink():
            what = f"a link to {os.readlink(path)}, which does not exist: correct the link, or remove it"
            raise DataError(path, None, what) from error
        return None
    except (OSError, ValueError) as error:
        raise DataError(path, None, f"cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
        return "file" if stat.S_ISREG(mode) else "folder"
    raise DataError(path, None, "neither a file nor a folder (a FIFO, a socket or a device): save it as a file")


def is_file(path: Path) -> bool:
    """Whether there is a file; raises `DataError` for anything else that is there."""
    if kind_of(path) == "folder":
        raise DataError(path, None, "a folder, not a file: name a file, or rename the folder")
    return kind_of(path) == "file"


def find(folder: Path, name: str, what: str) -> Path:
    """The file with this name in the folder, or if there is none, the one that differs only in its ending.

    Raises `DataError` where there is no such file, or two; `what` is its name in messages.
    """
    if is_file(folder / name):
        return folder / name
    stem = name[: -len(ending_of(name))] if ending_of(name) else name
    candidates = [folder / f"{stem}{ending}" for ending in ENDINGS]
    found = [candidate.name for candidate in candidates if is_file(candidate)]
    if len(found) > 1:
        raise DataError(folder, None, f"{' and '.join(found)} could both be the {what}: name one in the task's options")
    if not found:
        looked = ", ".join(dict.fromkeys([name, *(candidate.name for candidate in candidates)]))
        raise DataError(folder, None, f"no file with the {what}: looked for {looked}")
    return (folder / stem).parent / found[0]


def split_files(folder: Path, stems: Mapping[str, Sequence[str]]) -> dict[str, Path]:
    """Split -> its file in the folder, of each split that has one; raises `DataError` for none, and for two of one.

    Upper and lower case are equal. A split is absent only if nothing in the folder has its name: `dev.txt`, `dev/` or a
    broken link is refused.
    """
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise DataError(folder, None, f"cannot be read: {error.strerror or error}") from error
    found = {}
    for split, names in stems.items():
        named = [path for path in entries if path.name.lower().split(".")[0] in names]
        files = [
            path for path in named if path.name.lower().removesuffix(ending_of(path.name)) in names and "." in path.name
        ]
        if len(files) > 1:
            both = " and ".join(path.name for path in files)
            raise DataError(folder, None, f"{both} could both be the {split} split: choose one with qrels")
        if named and not files:
            what = f"could be the {split} split, but a file with this name is not read"
            raise DataError(named[0], None, f"{what}: rename it to end in .tsv, or remove it")
        if files and is_file(files[0]):
            found[split] = files[0]
    if not found:
        looked = ", ".join(f"{stem}.tsv" for names in stems.values() for stem in names)
        raise DataError(folder, None, f"no split file: looked for {looked}, and with other endings")
    return found


def head_of(path: Path) -> bytes:
    """The first bytes of a file, as they are on disk; raises `DataError`, also for anything but a file."""
    if not is_file(path):
        raise DataError(path, None, f"no such file (relative to {Path.cwd()})")
    try:
        with path.open("rb") as stream:
            return stream.read(64)
    except OSError as error:
        raise DataError(path, None, f"cannot be read: {error.strerror or error}") from error


def ends_with_a_line(path: Path) -> bool:
    """Whether the last byte of a file ends a line, or there is none; what cannot be read is refused when it is read."""
    with suppress(OSError), path.open("rb") as stream:
        if stream.seek(0, os.SEEK_END):
            stream.seek(-1, os.SEEK_END)
            return stream.read() in b"\r\n\0"  # 0 in UTF-16
    return True


def refuse_unread(path: Path, head: bytes) -> None:
    """Refuse a file that begins like one of another kind, with what to do."""
    what = next((what for start, what in _UNREAD.items() if head.lower().startswith(start.lower())), None)
    if what:
        raise DataError(path, None, f"this is {what}")


def encoding_problem(encoding: str) -> str | None:
    """What is wrong with the name of an encoding, or None."""
    try:
        "".encode(encoding)
    except (LookupError, ValueError):
        return f"Python knows no encoding {encoding!r} (usual ones: cp1252, latin-1, utf-16, gbk, shift_jis)"
    return None


def lines(path: Path, encoding: str | None = None) -> Iterator[tuple[int, str]]:
    """The numbered lines of a text file, or of one packed with gzip, with their ends.

    A byte order mark says the encoding; a file without one is in `encoding`, by default UTF-8. Only a line feed ends a
    line, or only a carriage return in a file without line feeds: other line breaks may be inside a JSON string.
    """
    number = 0
    packed = head_of(path).startswith(GZIP)
    if path.suffix.lower() == ".gz" and not packed and path.stat().st_size:
        raise DataError(path, None, "not a gzip file, though its name ends in .gz: rename it, or copy it again")
    try:
        # No larger buffer around gzip: it would lose the lines before the place where a file is cut off.
        with cast(io.BufferedReader, gzip.open(path)) if packed else path.open("rb") as stream:
            for number, text in _decoded(path, stream, encoding):
                yield number, text
    except UnicodeDecodeError as error:
        place = f"byte 0x{error.object[error.start]:02x} at place {error.start + 1}"
        unnamed = "save it as UTF-8, or set the option encoding, such as cp1252"
        remedy = "correct the option encoding" if encoding else unnamed
        raise DataError(path, number + 1, f"not {encoding or error.encoding.upper()}: {place} ({remedy})") from error
    except UnicodeError as error:  # of UTF-16 without a mark
        what = f"not {encoding}: {error} (correct the option encoding, such as utf-16-le)"
        raise DataError(path, number + 1, what) from error
    except EOFError as error:
        raise DataError(path, number + 1, "the gzip file ends here unexpectedly: copy or download it again") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(path, number + 1, f"not a valid gzip file: {error} (copy or download it again)") from error
    except OSError as error:
        raise DataError(path, None, f"cannot be read: {error.strerror or error}") from error


def _decoded(path: Path, stream: io.BufferedReader, encoding: str | None) -> Iterator[tuple[int, str]]:
    head = stream.peek(io.DEFAULT_BUFFER_SIZE)
    refuse_unread(path, head)
    encoding = next((name for mark, name in _MARKS.items() if head.startswith(mark)), None) or encoding or "utf-8"
    if codecs.lookup(encoding).name == "iso8859-1":
        encoding = "cp1252"  # the same but for 32 signs, such as quotes, where Latin-1 has control characters
    if "\n".encode(encoding).removeprefix(codecs.BOM_UTF8) == b"\n":
        texts = _decoded_lines(path, stream, encoding, mac=b"\r" in head and b"\n" not in head)
    else:  # UTF-16 and its like, in which a line feed is more than one byte
        texts = iter(io.TextIOWrapper(stream, encoding))
    for number, text in enumerate(texts, 1):
        if "\0" in text:
            remedy = "remove it, or set the option encoding if the file is UTF-16"
            raise DataError(path, number, f"a NUL character at place {text.index(chr(0)) + 1}: {remedy}")
        yield number, text.lstrip("\ufeff")  # the mark, which files that were joined have in the middle too


def _decoded_lines(path: Path, stream: io.BufferedReader, encoding: str, *, mac: bool) -> Iterator[str]:
    rows: Iterable[bytes] = stream
    if mac:
        rows = (row.encode("latin-1") for row in io.TextIOWrapper(stream, "latin-1", newline="\r"))
    # The first line that is not ASCII, as long as each such line is UTF-8: then the encoding that was named is wrong.
    mistaken: int | None = None if codecs.lookup(encoding).name.startswith("utf-8") else 0
    for number, row in enumerate(rows, 1):
        yield row.decode(encoding)
        if mistaken is not None and not row.isascii():
            mistaken = (mistaken or number) if row.decode(errors="ignore").encode() == row else None
    if mistaken:
        what = f"this file is UTF-8, not {encoding}: leave out the option encoding, or save all files in one encoding"
        raise DataError(path, mistaken, what)
