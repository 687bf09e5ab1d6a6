"""`recr1 store`: the indexes and embeddings on disk, and how to remove old ones."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Sequence
from time import time
from typing import TYPE_CHECKING

from recr1.cli.arguments import above_zero
from recr1.terminal import say

if TYPE_CHECKING:
    from retrievers.prune import StoredEntry

COLUMNS = ("size", "made", "used", "catalog", "state", "folder")
"""A folder is named after its kind."""


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--folder", metavar="DIR", default="auto", help="the store (default: RECR1_CACHE, or ~/.cache)")
    text = "show what would be removed; needs --older-than or --max-gb"
    parser.add_argument("--prune", action="store_true", help=text)
    text = "remove what was not used for this time, such as 30d, 12h or 15m"
    parser.add_argument("--older-than", metavar="TIME", type=_seconds, help=text)
    text = "remove what was not used for the longest time, until the rest fits"
    parser.add_argument("--max-gb", metavar="GB", type=above_zero, help=text)
    parser.add_argument("--yes", action="store_true", help="remove it")


def run(args: argparse.Namespace) -> int:
    """List a store; with `--prune` what would be removed, and with `--yes` remove it."""
    from recr1.errors import UserError
    from retrievers.prune import kept, removable, remove
    from retrievers.store import Store

    opened, now = Store(args.folder), time()
    if not args.prune and (args.older_than is not None or args.max_gb is not None or args.yes):
        raise UserError("--older-than, --max-gb and --yes need --prune")
    if args.prune and args.older_than is None and args.max_gb is None:
        raise UserError("--prune: say what to remove, with --older-than 30d or --max-gb 50")
    entries = kept(opened)
    most = None if args.max_gb is None else int(args.max_gb * 1e9)
    chosen = removable(entries, older_than=args.older_than, most_bytes=most, now=now) if args.prune else []
    if not args.prune:
        lines = [*_table(entries, now), f"{_counted(entries)} in {opened.folder}"]
    elif not args.yes:
        what = "nothing was removed: add --yes to remove" if chosen else "nothing to remove:"
        lines = [*_table(chosen, now), f"{what} {_counted(chosen or entries)} in {opened.folder}"]
    else:
        removed = [entry for entry in chosen if remove(entry)]
        busy = len(chosen) - len(removed)
        left = [f"{busy} not removed: used or built in the meantime"] * (busy > 0)
        lines = [*_table(removed, now), *left, f"removed {_counted(removed)} from {opened.folder}"]
    for line in lines:
        say(line)
    return 0


def _seconds(text: str) -> float:
    found = re.fullmatch(r"([0-9]{1,6})([dhm])", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"must be a time such as 30d, 12h or 15m, got {text!r}")
    return int(found[1]) * {"d": 86400.0, "h": 3600.0, "m": 60.0}[found[2]]


def _table(entries: Sequence[StoredEntry], now: float) -> Iterator[str]:
    if not entries:
        return
    rows = [COLUMNS]
    for one in entries:
        ages = (_age(now - one.made), _age(now - one.used))
        rows.append((_size(one.bytes), *ages, one.catalog or "-", one.state, one.folder.name))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _counted(entries: Sequence[StoredEntry]) -> str:
    count = "1 entry" if len(entries) == 1 else f"{len(entries)} entries"
    return f"{count}, {_size(sum(entry.bytes for entry in entries))}"


def _size(count: int) -> str:
    units = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"))
    return next((f"{count / unit:.1f} {name}" for unit, name in units if count >= unit), f"{count} B")


def _age(seconds: float) -> str:
    units = ((86400, "d"), (3600, "h"), (60, "m"))
    return next((f"{int(seconds // unit)}{name}" for unit, name in units if seconds >= unit), "now")
