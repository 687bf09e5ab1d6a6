"""Files of a run folder: atomic replacement, lines of JSON, and what a crash leaves."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from recr1.errors import RunError


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
    except OSError as error:
        raise RunError(f"{path} cannot be written: {error.strerror or error} (choose another folder)") from error


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
    """Remove the records that are not wanted, and an incomplete last line."""
    if path.exists():
        write_lines(path, filter(wanted, read_lines(path)))
