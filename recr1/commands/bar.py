"""A bar while needs are worked through: on standard error, and in a terminal alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class Bar:
    """Progress of one thing after the other; silent when `quiet`."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._progress: Progress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> Bar:
        from rich.console import Console
        from rich.progress import Progress

        console = Console(stderr=True)
        if console.is_terminal and not self._quiet:
            self._progress = Progress(console=console, transient=True)
            self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._progress:
            self._progress.stop()

    def begin(self, name: str, total: int) -> None:
        """A new bar, under the last one."""
        if self._progress:
            self._task = self._progress.add_task(name, total=total)

    def advance(self, done: int, total: int) -> None:
        """So many of all are done."""
        if self._progress and self._task is not None:
            self._progress.update(self._task, completed=done, total=total)
