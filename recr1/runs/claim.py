"""Claiming a folder for a run: one that has a run is refused, and only one process at a time trains it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recr1.config import yaml12
from recr1.errors import RunError
from recr1.runs.files import writing
from retrievers.store import expanded

if TYPE_CHECKING:
    from filelock import BaseFileLock

MARKS = ("recipe.yaml", "metrics.jsonl", "run.json")
"""Files of a run from its start, in the order in which they are written: with the last one it has begun."""
LEFT = ("checkpoints", "stages", "policy")
"""Folders that only a run has that began."""
LOCK = ".lock"


def prepare(path: str | Path, recipe: Mapping[str, Any]) -> Path:
    """Make a folder for a run before anything heavy loads; `RunError` when it has one or cannot be written.

    A process that was killed before its run began leaves an empty log and its recipe: they do not count as a run, if
    this is the same recipe.
    """
    folder = expanded(path)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        there = {name: folder / name for name in MARKS if (folder / name).exists()}
        for name, file in there.items() if "run.json" not in there else ():
            if file.read_text("utf-8", errors="replace") not in ("", yaml12.write(dict(recipe))):
                raise _taken(folder, name)
    for name in ("run.json", *LEFT):
        if (folder / name).exists():
            raise _taken(folder, name)
    return folder


def lock(folder: Path) -> BaseFileLock:
    """Keep other processes from training the run of a folder; the system unlocks it when this process dies."""
    from filelock import FileLock, Timeout

    held = FileLock(folder / LOCK)
    try:
        held.acquire(timeout=0)
    except Timeout:
        raise RunError(f"{folder} is being trained by another process") from None
    return held


def _taken(folder: Path, mark: str) -> RunError:
    return RunError(f"{folder} has a run already ({mark}): choose another folder, or remove this one")
