"""The one progress bar of the project: on standard error, in a terminal only, with the time left."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

Item = TypeVar("Item")
PATIENCE = 1.0
"""Seconds before the bar of `tracked` appears."""
STRIDE = 1000
"""Items between two readings of the clock, which take longer than the work on an item."""


def tracked(items: Sequence[Item], doing: str) -> Iterator[Item]:
    """The items, with a bar if they take longer than a second. `doing`: "indexing items"."""
    rest = iter(items)
    began = time.monotonic()
    done = 0
    for item in rest:
        yield item
        done += 1
        if done % STRIDE == 0 and time.monotonic() - began > PATIENCE:
            break
    with ProgressBar(quiet=done == len(items)) as bar:
        bar.begin(doing, len(items))
        bar.advance(done, len(items))
        for item in rest:
            yield item
            done += 1
            if done % STRIDE == 0:
                bar.advance(done, len(items))


class ProgressBar:
    """Bars, one after the other; nothing is drawn when `quiet`, or outside of a terminal."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._progress: Progress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> ProgressBar:
        if not self._quiet:
            self._progress = _progress()
        if self._progress:
            self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._progress:
            self._progress.stop()

    @contextmanager
    def replaced_by(self, line: str) -> Iterator[None]:
        """A line instead of the bars, while something else draws bars of its own."""
        if self._progress:
            self._progress.stop()
            self._progress.console.print(f"{line} ...", markup=False, style="dim")
        try:
            yield
        finally:
            if self._progress:
                self._progress.start()

    def begin(self, name: str, total: int | None) -> None:
        """A new bar below the last one. With a total of None, it has no end until `advance` sets one."""
        if self._progress:
            if self._task is not None:
                # The last note stays; the function that returned it is dropped, because it may hold a model.
                last = next(task.fields["note"]() for task in self._progress.tasks if task.id == self._task)
                self.note(lambda: last)
            self._task = self._progress.add_task(name, total=total, note=str)

    def note(self, text: Callable[[], str]) -> None:
        """A text next to the bar, read again each time that the bar is drawn."""
        if self._progress and self._task is not None:
            self._progress.update(self._task, note=text)

    def advance(self, done: int, total: int) -> None:
        """How many of all are done."""
        if self._progress and self._task is not None:
            self._progress.update(self._task, completed=done, total=total)


def _progress() -> Progress | None:
    """What draws the bars; None outside of a terminal."""
    from rich import progress
    from rich.console import Console
    from rich.text import Text

    class Note(progress.ProgressColumn):
        def render(self, task: progress.Task) -> Text:
            return Text(task.fields["note"](), style="dim")

    console = Console(stderr=True)
    if not console.is_terminal:
        return None
    description, bar, done = (
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
    )
    columns = description, bar, done, progress.TimeRemainingColumn(), Note()
    return progress.Progress(*columns, console=console, transient=True)
