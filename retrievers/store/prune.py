"""The entries of a store, and which of them can be removed: those not used for long, or the least used.

An entry that a process has open, or that one is building, stays whatever is asked for.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from retrievers.store.store import MANIFEST, Store, unused, used_file

PARTIAL, REMOVED = ".partial", ".removed"
"""How the names of folders end that were not built to the end, and that were not removed to the end."""


@dataclass(frozen=True)
class StoredEntry:
    """One folder of a store."""

    folder: Path
    bytes: int
    made: float
    """Seconds since 1970, as the next."""
    used: float
    """When it was opened last, or else made."""
    catalog: str | None
    """The fingerprint of the catalog that it was made from; None where it does not say so."""
    state: str
    """"whole", "unfinished" (building may resume), "in use", or "unknown" in a store without the right to write."""

    @property
    def kind(self) -> str:
        """What it holds: "bm25", "embeddings" ..."""
        return self.folder.name.rpartition("-")[0]


def kept(store: Store) -> list[StoredEntry]:
    """All entries of a store, the one that was not used for longest first."""
    if not store.folder.is_dir():
        return []
    folders = [path for path in store.folder.iterdir() if path.is_dir() and _is_ours(path)]
    return sorted(filter(None, map(_kept, folders)), key=lambda entry: (entry.used, entry.folder.name))


def removable(
    entries: Sequence[StoredEntry], *, older_than: float | None = None, most_bytes: int | None = None, now: float
) -> list[StoredEntry]:
    """Entries not used for `older_than` seconds; of the others the least used, until the rest fits into `most_bytes`.

    Args:
        entries: What `kept` gave, least used first.
        older_than: Seconds since the last use; None for no limit.
        most_bytes: Of the whole store; None for no limit. Entries in use count, and stay.
        now: Seconds since 1970.
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
    """Removes an entry; False where a process uses it or builds it by now. Raises `OSError` where it may not be."""
    from filelock import FileLock, Timeout

    name = entry.folder.with_name(_name(entry.folder))
    try:
        with FileLock(f"{name}.lock", timeout=0), unused(name) as free:
            if not free:
                return False
            # In one step out of the way: an entry is there whole or not at all, also where this process is killed.
            gone = entry.folder if entry.folder.name.endswith(REMOVED) else Path(f"{entry.folder}{REMOVED}")
            if gone != entry.folder:
                entry.folder.rename(gone)
            shutil.rmtree(gone)
    except Timeout:
        return False
    except FileNotFoundError:  # somebody else was faster
        return False
    return True


def _is_ours(folder: Path) -> bool:
    """Whether a folder is an entry: a store may be in a folder where other things are."""
    return re.fullmatch(rf"\w+-[0-9a-f]{{20}}({PARTIAL})?({REMOVED})?", folder.name) is not None


def _name(folder: Path) -> str:
    """The name that an entry has when it is whole: its locks are called after it."""
    return folder.name.removesuffix(REMOVED).removesuffix(PARTIAL)


def _kept(folder: Path) -> StoredEntry | None:
    """What is known of a folder; None where it has just gone."""
    with suppress(FileNotFoundError):
        made = folder.stat().st_mtime
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        used = used_file(folder)
        last = used.stat().st_mtime if used.exists() else made
        return StoredEntry(folder, size, made, max(made, last), _catalog(folder), _state(folder))
    return None


def _state(folder: Path) -> str:
    from filelock import FileLock, Timeout

    if not os.access(folder.parent, os.W_OK):  # who may not lock may not remove either
        return "unknown"
    if folder.name.endswith((PARTIAL, REMOVED)):
        try:
            with FileLock(f"{folder.with_name(_name(folder))}.lock", timeout=0):
                return "unfinished"
        except Timeout:
            return "in use"
    if not used_file(folder).exists():  # to look must not count as use
        return "whole"
    with unused(folder) as free:
        return "whole" if free else "in use"


def _catalog(folder: Path) -> str | None:
    with suppress(OSError, ValueError, KeyError, TypeError):
        return str(json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["key"]["catalog"])
    return None
