"""The live view of a training run: one moving line in a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

PLAIN_EVERY = 10
"""Steps between two lines where there is no terminal."""


class View:
    """Shows step, reward, true measure, query length and time left. Silent when `quiet` (all ranks but the first)."""

    def __init__(self, steps: int, *, quiet: bool) -> None:
        self.steps, self.quiet = steps, quiet
        self._progress: Any = None
        self._bar: Any = None
        self._began = 0.0
        self._measure = ""
        self._first = 0

    def start(self) -> None:
        """Open the view."""
        from rich.console import Console

        self._began = time.perf_counter()
        if self.quiet:
            return
        self.console = Console(highlight=False)
        if self.console.is_terminal:
            self._progress = _progress(self.console)
            self._bar = self._progress.add_task("training", total=self.steps, numbers="", left="")
            self._progress.start()

    def stop(self) -> None:
        """Close it; what was shown stays."""
        if self._progress is not None:
            self._progress.stop()

    def begin(self, step: int) -> None:
        """Say how many steps are done already: the time left is reckoned from those that follow."""
        self._first, self._began = step, time.perf_counter()
        if step:
            self.say(f"going on after step {step}")

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
        text = _numbers(numbers)
        left = _clock((time.perf_counter() - self._began) / (step - self._first) * (self.steps - step))
        if self._progress is not None:
            self._progress.update(self._bar, completed=step, numbers=f"{text}  {self._measure}", left=f"{left} left")
        elif step == 1 or step % PLAIN_EVERY == 0 or step == self.steps:
            self.console.print(f"step {step}/{self.steps}  {text}  {left} left", soft_wrap=True)

    def validated(self, step: int, numbers: Mapping[str, float]) -> None:
        """The numbers of a validation."""
        main = next((name for name in numbers if name.startswith("eval/")), None)
        if self.quiet or main is None:
            return
        split, measure = main.split("/", 2)[1:]
        self._measure = f"{split} {measure} {numbers[main]:.3f}"
        marks = [mark for mark in ("floor", "ceiling") if f"{main}/{mark}" in numbers]
        around = "".join(f"  {mark} {numbers[f'{main}/{mark}']:.3f}" for mark in marks)
        self.console.print(f"[bold]{self._measure}[/bold] after {step} steps{around}", soft_wrap=True)


def _progress(console: Any) -> Any:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    return Progress(
        TextColumn("step"),
        MofNCompleteColumn(),
        BarColumn(bar_width=20),
        TextColumn("{task.fields[numbers]}"),
        TextColumn("[dim]{task.fields[left]}"),
        console=console,
    )


def _numbers(numbers: Mapping[str, float]) -> str:
    """The few numbers that fit on a line: the reward that is trained, its true measure, the length of queries."""
    parts = [f"reward {numbers['train/reward']:.3f}"] if "train/reward" in numbers else []
    measures = [name for name in numbers if name.startswith("train/reward/") and "@" in name]
    parts += [f"{name.removeprefix('train/reward/')} {numbers[name]:.3f}" for name in measures[:1]]
    if "train/query/words" in numbers:
        parts.append(f"{numbers['train/query/words']:.1f} words")
    return "  ".join(parts)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(max(seconds, 0)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
