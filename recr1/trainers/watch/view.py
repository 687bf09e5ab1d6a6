"""The live view of a training run: a panel that moves in a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import perf_counter
from typing import Any

from recr1.trainers.watch.panel import Panel, clock

PLAIN_EVERY = 10
"""Steps between two lines where there is no terminal."""
REDRAW = 2.0
"""Seconds between two drawings of the panel: a drawing takes milliseconds, and a step may not take many."""


class View:
    """Shows how a run goes. Silent when `quiet` (all ranks but the first)."""

    def __init__(self, steps: int, *, quiet: bool, console: Any = None) -> None:
        """Bind the number of the last step; `console` is rich's, in place of one for standard output."""
        self.steps, self.quiet = steps, quiet
        self.console = console
        self._live: Any = None
        self._panel = Panel(steps)
        self._drawn = 0.0
        self._since: tuple[int, float] | None = None

    def start(self) -> None:
        """Open the view."""
        from rich.console import Console
        from rich.live import Live

        if self.quiet:
            return
        self.console = self.console or Console(highlight=False)
        if self.console.is_terminal:
            self._live = Live(self._panel, console=self.console, auto_refresh=False)
            self._live.start()

    def stop(self) -> None:
        """Close it; what was shown stays."""
        if self._live is not None:
            self._live.update(self._panel, refresh=True)
            self._live.stop()
            self._live = None

    def begin(self, step: int) -> None:
        """Say how many steps are done already."""
        self._since = None
        if step:
            self.say(f"going on after step {step}")

    def recall(self, step: int, numbers: Mapping[str, Any]) -> None:
        """Take a line of the log of before, for the curves of a run that goes on."""
        self._panel.take(step, {name: value for name, value in numbers.items() if isinstance(value, int | float)})

    def say(self, text: str) -> None:
        """A line of its own."""
        if not self.quiet:
            self.console.print(text, soft_wrap=True)

    def warn(self, text: str) -> None:
        """A line that is not to be missed."""
        if not self.quiet:
            self.console.print(text, style="bold yellow", markup=False, soft_wrap=True)

    def step(self, step: int, numbers: Mapping[str, float]) -> None:
        """The numbers of a training step."""
        if self.quiet:
            return
        left = self._left(step)
        if self._live is not None:
            self._panel.take(step, numbers)
            self._panel.left = left
            self._draw()
        elif step == 1 or step % PLAIN_EVERY == 0 or step == self.steps:
            ending = f"  {left} left" if left else ""
            self.console.print(f"step {step}/{self.steps}  {_numbers(numbers)}{ending}", soft_wrap=True)

    def _left(self, step: int) -> str:
        """The time left, by the steps since the first one, which compiles and fills caches; nothing at that one."""
        now = perf_counter()
        if self._since is None:
            self._since = step, now
            return ""
        first, began = self._since
        return clock((now - began) / (step - first) * (self.steps - step))

    def validated(self, step: int, numbers: Mapping[str, float], queries: Sequence[Mapping[str, Any]] = ()) -> None:
        """The numbers of a validation, and what was written for the needs that are followed."""
        main = next((name for name in numbers if name.startswith("eval/")), None)
        if self.quiet or main is None:
            return
        self._panel.take(step, numbers)
        self._panel.queries = queries
        split, measure = main.split("/", 2)[1:]
        marks = [mark for mark in ("floor", "ceiling") if f"{main}/{mark}" in numbers]
        around = "".join(f"  {mark} {numbers[f'{main}/{mark}']:.3f}" for mark in marks)
        said = f"[bold]{split} {measure} {numbers[main]:.3f}[/bold] after {step} steps{around}"
        self.console.print(said, soft_wrap=True)

    def _draw(self) -> None:
        if perf_counter() - self._drawn >= REDRAW:
            self._drawn = perf_counter()
            self._live.update(self._panel, refresh=True)


def _numbers(numbers: Mapping[str, float]) -> str:
    """The few numbers that fit on a line: the reward that is trained, its true measure, the length of queries."""
    parts = [f"reward {numbers['train/reward']:.3f}"] if "train/reward" in numbers else []
    measures = [name for name in numbers if name.startswith("train/reward/") and "@" in name]
    parts += [f"{name.removeprefix('train/reward/')} {numbers[name]:.3f}" for name in measures[:1]]
    if "train/query/words" in numbers:
        parts.append(f"{numbers['train/query/words']:.1f} words")
    return "  ".join(parts)
