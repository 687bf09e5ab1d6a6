"""The entries of a store, and which of them can be removed; never one that a process has open or is building."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from retrievers.store import MANIFEST, Store, unused, used_file

PARTIAL, REMOVED = ".partial", ".removed"
"""The ends of names of folders that are not completely built, or not completely removed."""
ENTRY = re.compile(rf"\w+-[0-9a-f]{{20}}({PARTIAL})?({REMOVED})?")
"""The names of entries: the folder of a store may hold other things."""


@dataclass(frozen=True)
class StoredEntry:
    """One folder of a store."""

    folder: Path
    bytes: int
    made: float
    """Seconds since 1970, as the next."""
    used: float
    """When it was last opened, or else made."""
    catalog: str | None
    """The fingerprint of the catalog that it was made from, if it is known."""
    state: str
    """"whole", "unfinished" (building may resume), "in use", or "unknown" in a read-only store."""

    @property
    def kind(self) -> str:
        """What it holds: "bm25", "embeddings" ..."""
        return self.folder.name.rpartition("-")[0]


def kept(store: Store) -> list[StoredEntry]:
    """All entries of a store, the least recently used first."""
    if not store.folder.is_dir():
        return []
    folders = [path for path in store.folder.iterdir() if path.is_dir() and ENTRY.fullmatch(path.name)]
    return sorted(filter(None, map(_kept, folders)), key=lambda entry: (entry.used, entry.folder.name))


def removable(
    entries: Sequence[StoredEntry], *, older_than: float | None = None, most_bytes: int | None = None, now: float
) -> list[StoredEntry]:
    """Entries not used for `older_than` seconds, then the least recently used, until the rest fits into `most_bytes`.

    `entries` are those of `kept`; entries in use count, and stay. `now` is in seconds since 1970.
    """
    free = [entry for entry in entries if entry.state != "in use"]
    chosen = [entry for entry in free if older_than is not None and now - entry.used > older_than]
    left = sum(entry.bytes for entry in entries) - sum(entry.bytes for entry in chosen)
    for entry in free:
        if most_bytes is None or left <= most_bytes:
            break
        if entry not in chosen:
            chosen.append(entry)
            left -= entry.bytes
    return chosen


def remove(entry: StoredEntry) -> bool:
    """Removes an entry; False if a process now uses or builds it. Raises `OSError` where that is not allowed."""
    from filelock import FileLock, Timeout

    name = entry.folder.with_name(_name(entry.folder))
    with suppress(Timeout, FileNotFoundError):  # another process builds it, or has removed it
        with FileLock(f"{name}.lock", timeout=0), unused(name) as free:
            if not free:
                return False
            # Renamed first: an entry is complete or missing, also if this process is killed.
            gone = entry.folder if entry.folder.name.endswith(REMOVED) else Path(f"{entry.folder}{REMOVED}")
            if gone != entry.folder:
                entry.folder.rename(gone)
            shutil.rmtree(gone)
            return True
    return False


def _name(folder: Path) -> str:
    """The name of a complete entry, which is that of its locks too."""
    return folder.name.removesuffix(REMOVED).removesuffix(PARTIAL)


def _kept(folder: Path) -> StoredEntry | None:
    """What is known of a folder; None if it was removed in the meantime."""
    with suppress(FileNotFoundError):
        made = folder.stat().st_mtime
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        used = used_file(folder)
        last = used.stat().st_mtime if used.exists() else made
        return StoredEntry(folder, size, made, max(made, last), _catalog(folder), _state(folder))
    return None


def _state(folder: Path) -> str:
    from filelock import FileLock, Timeout

    if not os.access(folder.parent, os.W_OK):
        return "unknown"
    if folder.name.endswith((PARTIAL, REMOVED)):
        try:
            with FileLock(f"{folder.with_name(_name(folder))}.lock", timeout=0):
                return "unfinished"
        except Timeout:
            return "in use"
    if not used_file(folder).exists():  # `unused` would make it
        return "whole"
    with unused(folder) as free:
        return "whole" if free else "in use"


def _catalog(folder: Path) -> str | None:
    with suppress(OSError, ValueError, KeyError, TypeError):
        return str(json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["key"]["catalog"])
    return None
