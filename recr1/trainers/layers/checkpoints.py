"""The folder of a run's checkpoints: each is complete, or not there."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path


class Checkpoints:
    """The folder of a run's checkpoints: `checkpoint-<step>`, the newest ones.

    Args:
        folder: Where they are.
        keep: How many; None for all.
        beside: A folder that each checkpoint holds as it was at that step, where it is there.
    """

    def __init__(self, folder: Path, keep: int | None = None, beside: Path | None = None) -> None:
        self.folder, self.keep, self.beside = folder, keep, beside
        self.part = folder / ".part"

    def steps(self) -> dict[int, Path]:
        """The checkpoints by their step, in order."""
        found = {path: re.fullmatch(r"checkpoint-(\d+)", path.name) for path in self.folder.glob("checkpoint-*")}
        return dict(sorted((int(match[1]), path) for path, match in found.items() if match))

    def newest(self) -> tuple[int, Path] | None:
        """The last step that was saved, and where."""
        steps = self.steps()
        return next(reversed(steps.items())) if steps else None

    def complete(self, step: int) -> None:
        """Move what was written under `part` to its place, in one move, and prune the oldest."""
        name = f"checkpoint-{step}"
        if self.beside and self.beside.is_dir():
            shutil.copytree(self.beside, self.part / name / self.beside.name, copy_function=_link)
        _sync(self.part / name)
        (self.part / name).replace(self.folder / name)
        _sync_folder(self.folder)
        for old in list(self.steps().values())[: -self.keep] if self.keep else ():
            # Renamed first, so that one that is deleted by halves is not taken for whole.
            gone = self.part / old.name
            old.replace(gone)
            shutil.rmtree(gone)

    def bring_back(self, checkpoint: Path | None) -> None:
        """Make the folder beside them what it was at a checkpoint, or before the first step: not there."""
        if self.beside is None:
            return
        shutil.rmtree(self.beside, ignore_errors=True)
        if checkpoint and (checkpoint / self.beside.name).is_dir():
            shutil.copytree(checkpoint / self.beside.name, self.beside, copy_function=_link)

    def clean(self) -> None:
        """Remove what a crash left half written."""
        shutil.rmtree(self.part, ignore_errors=True)

    def remove(self) -> None:
        """Remove them all, and the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _link(source: str, target: str) -> None:
    """The same file under another name, or a copy where the file system has no such links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _sync(folder: Path) -> None:
    """Make sure that what was written is on the disk, before its name says so."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
    _sync_folder(folder)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
