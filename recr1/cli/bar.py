"""A bar while needs are worked through: on standard error, and in a terminal alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID


class Bar:
    """Progress of one thing after the other; silent when `quiet`."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._progress: Progress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> Bar:
        from rich.console import Console

        console = Console(stderr=True)
        if console.is_terminal and not self._quiet:
            self._progress = _drawn(console)
            self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._progress:
            self._progress.stop()

    @contextmanager
    def aside(self, doing: str) -> Iterator[None]:
        """A line in place of bars, while something draws bars of its own."""
        if self._progress:
            self._progress.stop()
            self._progress.console.print(f"{doing} ...", markup=False, style="dim")
        try:
            yield
        finally:
            if self._progress:
                self._progress.start()

    def begin(self, name: str, total: int | None) -> None:
        """A new bar, under the last one; one that only moves until the first `advance` where the total is None."""
        if self._progress:
            if self._task is not None:
                # What was last said stays, and what said it is let go: it may hold a model.
                said = next(task.fields["told"]() for task in self._progress.tasks if task.id == self._task)
                self.tell(lambda: said)
            self._task = self._progress.add_task(name, total=total, told=str)

    def tell(self, told: Callable[[], str]) -> None:
        """What the bar says beside it, asked again each time that it is drawn."""
        if self._progress and self._task is not None:
            self._progress.update(self._task, told=told)

    def advance(self, done: int, total: int) -> None:
        """So many of all are done."""
        if self._progress and self._task is not None:
            self._progress.update(self._task, completed=done, total=total)


def _drawn(console: Console) -> Progress:
    from rich.progress import Progress, ProgressColumn, Task
    from rich.text import Text

    class Told(ProgressColumn):
        """What a task says of itself."""

        def render(self, task: Task) -> Text:
            return Text(task.fields["told"](), style="dim")

    return Progress(*Progress.get_default_columns(), Told(), console=console, transient=True)
