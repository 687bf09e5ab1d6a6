"""Manifests: size and hash of each file of a checkpoint, and of what was logged before it, so that damage is found."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from recr1.runs.files import write_text
from recr1.runs.recording import FILES

FILE = "manifest.json"
CHUNK = 1 << 20
"""Bytes that are read at once."""


def write_manifest(folder: Path, logs: Path) -> None:
    """Write the manifest of a folder: its files as they are, and the logs of a run so far, in the folder `logs`.

    The files were just written and are read from memory: SHA-256 takes half a second for a GB, several files at once.
    """
    paths = [path for path in folder.rglob("*") if path.is_file() and path.name != FILE]
    listed = {path.relative_to(folder).as_posix(): path for path in sorted(paths)}
    logged = {name: logs / name for name in FILES if (logs / name).exists()}
    with ThreadPoolExecutor() as pool:
        files, lines = (dict(zip(part, pool.map(_measure, part.values()), strict=True)) for part in (listed, logged))
    write_text(folder / FILE, json.dumps({"files": files, "logs": lines}, indent=1) + "\n")


def damage(folder: Path, logs: Path) -> str | None:
    """The first thing that is not as the manifest says, in words; None where all is.

    A log may be longer than it was. One that is not there at all counts only if the run cannot be resumed without it.
    """
    try:
        manifest = json.loads((folder / FILE).read_text(encoding="utf-8"))
        files, lines = manifest["files"], manifest["logs"]
        with ThreadPoolExecutor() as pool:
            checked = pool.map(lambda name: _difference(folder / name, name, files[name], whole=True), files)
            found = next(filter(None, checked), None)
        return found or next(filter(None, _log_damage(logs, lines)), None)
    except FileNotFoundError:
        return f"{FILE} is missing"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"{FILE} cannot be read: {error}"


def logged(folder: Path) -> dict[str, int]:
    """The logs of a run at a checkpoint, with their sizes in bytes."""
    manifest = json.loads((folder / FILE).read_text(encoding="utf-8"))
    return {name: known["bytes"] for name, known in manifest["logs"].items()}


def _log_damage(logs: Path, lines: Mapping[str, Any]) -> Iterator[str | None]:
    for name, known in lines.items():
        if (logs / name).exists() or name == "metrics.jsonl":
            yield _difference(logs / name, name, known, whole=False)


def _difference(path: Path, name: str, known: Mapping[str, Any], *, whole: bool) -> str | None:
    """How a file differs from what is known of it, or its beginning does."""
    had = known["bytes"]
    try:
        if not path.is_file():
            return f"{name} is missing"
        size = path.stat().st_size
        if size < had or (whole and size != had):
            return f"{name} has {size:,} bytes and had {had:,}"
        return None if _measure(path, had) == known else f"{name} has other bytes than it had"
    except OSError as error:
        return f"{name} cannot be read: {error.strerror}"


def _measure(path: Path, size: int | None = None) -> dict[str, Any]:
    """The size and SHA-256 of a file, or of its first `size` bytes."""
    left = size = path.stat().st_size if size is None else size
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while left and (block := file.read(min(left, CHUNK))):
            digest.update(block)
            left -= len(block)
    return {"bytes": size, "sha256": digest.hexdigest()}
