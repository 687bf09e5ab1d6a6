"""`recr1 store`: the indexes and embeddings that are kept on disk, and what of them can go."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from time import time

from recr1.errors import UserError
from retrievers.store.prune import Kept, kept, removable, remove
from retrievers.store.store import Store

COLUMNS = ("kind", "size", "made", "used", "catalog", "state", "folder")
GB = 1e9


def store(
    folder: str = "auto",
    *,
    prune: bool = False,
    older_than: float | None = None,
    max_gb: float | None = None,
    yes: bool = False,
) -> int:
    """List a store; with `prune`, what would be removed, and with `yes` remove it.

    Args:
        folder: The store; "auto" as retrievers read it.
        prune: Choose among the entries instead of listing all.
        older_than: Seconds without use.
        max_gb: So much may stay, in 10^9 bytes.
        yes: Remove, and not only show.
    """
    opened, now = Store(folder), time()
    if not prune and (older_than is not None or max_gb is not None or yes):
        raise UserError("--older-than, --max-gb and --yes say what to remove and belong to --prune")
    if prune and older_than is None and max_gb is None:
        raise UserError("--prune: say what may go, with --older-than 30d or --max-gb 50")
    entries = kept(opened)
    if not prune:
        _write([*_table(entries, now), f"{_counted(entries)} in {opened.folder}"])
        return 0
    most = None if max_gb is None else int(max_gb * GB)
    chosen = removable(entries, older_than=older_than, most_bytes=most, now=now)
    if not yes:
        what = "nothing was removed: add --yes to remove" if chosen else "nothing to remove:"
        _write([*_table(chosen, now), f"{what} {_counted(chosen or entries)} in {opened.folder}"])
        return 0
    removed = [entry for entry in chosen if remove(entry)]
    busy = len(chosen) - len(removed)
    left = [f"{busy} left alone: used or built since it was looked at"] * (busy > 0)
    _write([*_table(removed, now), *left, f"removed {_counted(removed)} from {opened.folder}"])
    return 0


def _table(entries: Sequence[Kept], now: float) -> Iterator[str]:
    if not entries:
        return
    rows = [COLUMNS, *(_row(entry, now) for entry in entries)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _row(entry: Kept, now: float) -> tuple[str, ...]:
    ages = (_age(now - entry.made), _age(now - entry.used))
    return (entry.kind, _size(entry.bytes), *ages, entry.catalog or "-", entry.state, entry.folder.name)


def _counted(entries: Sequence[Kept]) -> str:
    count = "1 entry" if len(entries) == 1 else f"{len(entries)} entries"
    return f"{count}, {_size(sum(entry.bytes for entry in entries))}"


def _size(count: int) -> str:
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= unit:
            return f"{count / unit:.1f} {name}"
    return f"{count} B"


def _age(seconds: float) -> str:
    for unit, name in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= unit:
            return f"{int(seconds // unit)}{name}"
    return "now"


def _write(lines: Sequence[str]) -> None:
    sys.stdout.writelines(f"{line}\n" for line in lines)
