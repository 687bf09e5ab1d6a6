"""A bar with the time left, for what takes longer than a moment."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TypeVar

Item = TypeVar("Item")

MOMENT = 1.0
"""Seconds that pass without a bar."""

STRIDE = 1000
"""Items between two looks at the clock, which would take longer than the work on an item."""


def shown(items: Sequence[Item], doing: str) -> Iterator[Item]:
    """The items, with a bar on a terminal if they are not through after a moment. `doing`: "indexing items"."""
    head = iter(items)
    began = time.monotonic()
    done = 0
    for item in head:
        yield item
        done += 1
        if done % STRIDE == 0 and time.monotonic() - began > MOMENT:
            yield from _with_bar(head, doing, done, len(items))


def _with_bar(rest: Iterator[Item], doing: str, done: int, total: int) -> Iterator[Item]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn(doing), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task("", total=total, completed=done)
        for item in rest:
            yield item
            done += 1
            if done % STRIDE == 0:
                progress.update(task, completed=done)
