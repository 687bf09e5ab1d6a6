"""Files of a run folder: atomic replacement, lines of JSON, and what a crash leaves."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from recr1.errors import RunError, UserError
from retrievers.store import expanded, sync


def write_text(path: Path, text: str) -> None:
    """Write or replace a file atomically: no reader, and no crash, sees half of it."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Names the folder in the error when it cannot be written or the disk is full."""
    try:
        yield
    except Exception as error:  # tokenizers has no class of its own for this
        reason = _why_not_written(error)
        if reason is None:
            raise
        raise RunError(f"{path} cannot be written: {reason}") from error


def _why_not_written(error: Exception) -> str | None:
    """What the system said and what helps, also through libraries in Rust and C++; None for any other error.

    Network errors are `OSError` too, most of them without a number, and are not about the folder.
    """
    if isinstance(error, ConnectionError):
        return None
    pattern = r"\[Errno (\d+)\]" if isinstance(error, shutil.Error) else r"\(os error (\d+)\)"
    found = re.search(pattern, str(error))
    number = int(found[1]) if found else error.errno if isinstance(error, OSError) else None
    if number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return f"{os.strerror(number)} (free some space)"
    if number:
        return f"{os.strerror(number)} (choose another folder)"
    # torch says no more than that.
    return (
        "a file is incomplete (is the disk full?)"
        if re.search("inline_container.*unexpected pos", str(error))
        else None
    )


def remove_all(folders: Iterable[Path]) -> None:
    """Remove folders that nothing reads."""
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def remove_folder(folder: Path) -> None:
    """Remove a folder, renamed first: one that is removed half way is not taken for whole."""
    gone = _old(folder)
    if folder.exists():
        shutil.rmtree(gone, ignore_errors=True)
        folder.replace(gone)
    shutil.rmtree(gone, ignore_errors=True)


@contextmanager
def replacing(*folders: Path, writer: bool = True) -> Iterator[list[Path]]:
    """Gives a part folder for each, which takes its place once all are whole; what fails leaves them as they are.

    A process that is not the `writer` writes into the parts, and moves none.
    """
    parts = [folder.with_name(f".{folder.name}.part") for folder in folders]
    if not writer:
        yield parts
        return
    remove_all(parts)  # of a process that was killed
    try:
        yield parts
        for part, folder in zip(parts, folders, strict=True):
            if part.is_dir():
                replace_folder(part, folder)
    finally:
        remove_all(parts)


def new_folder(out: str | Path) -> Path:
    """The folder of `--out`; raises `UserError` for one that is not empty."""
    folder = expanded(out)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"--out {out}: is there already, and not empty: name a new folder")
    return folder


def replace_folder(part: Path, folder: Path) -> None:
    """Put a complete folder in the place of another, which is removed only then; see `recover_folder`."""
    for path in [*sorted(file for file in part.rglob("*") if file.is_file()), part]:
        sync(path)  # it is on the disk before it has its name
    old = _old(folder)
    if folder.exists():
        shutil.rmtree(old, ignore_errors=True)
        folder.replace(old)
    part.replace(folder)
    sync(folder.parent)
    shutil.rmtree(old, ignore_errors=True)


def recover_folder(folder: Path) -> None:
    """Bring a folder back of which a crash left only the old one, between the two moves of `replace_folder`."""
    if not folder.exists() and _old(folder).exists():
        _old(folder).replace(folder)


def _old(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.old")


def read_text(path: Path) -> str:
    """The text of a run's file; raises `RunError` when it is missing or unreadable."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise RunError(f"{path.parent} is not a run folder: it has no {path.name}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f"{path} cannot be read: {error}") from error


def runs_here(folder: Path) -> list[str]:
    """The run folders in a folder and in `runs`, the newest first; at most five."""
    homes = {path.parent for place in {folder, Path("runs")} for path in place.glob("*/run.json")}
    return [str(home) for home in sorted(homes, key=lambda home: home.stat().st_mtime, reverse=True)[:5]]


def listed(runs: Sequence[str]) -> str:
    """Run folders, in words."""
    return f"runs here: {', '.join(runs)}" if runs else "no runs here"


def write_lines(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Write or replace a file of records, a line of JSON for each, as `write_text`."""
    write_text(path, _json_lines(records))


def append_lines(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Add a line of JSON for each record."""
    text = _json_lines(records)
    with path.open("a", encoding="utf-8") as file:
        file.write(text)


def _json_lines(records: Iterable[Mapping[str, Any]]) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The records of a file, in order. An incomplete last line, left by a killed run, is dropped.

    Raises `RunError` when the file is missing, or any other line is broken.
    """
    *lines, _incomplete = read_text(path).split("\n")
    records = []
    for number, line in enumerate(lines, start=1):
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError as error:
            raise RunError(f"{path}:{number}: not a line of JSON: {error}") from error
    return records


def keep_lines(path: Path, wanted: Callable[[Mapping[str, Any]], bool]) -> None:
    """Remove the records that are not wanted, and an incomplete last line; the others stay as they were written."""
    if path.exists():
        lines = read_text(path).split("\n")[:-1]
        records = zip(lines, read_lines(path), strict=True)
        write_text(path, "".join(f"{line}\n" for line, record in records if wanted(record)))
