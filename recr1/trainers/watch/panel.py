"""What the live view draws in a terminal: curves, shares, and queries before and after."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions
    from rich.table import Table
    from rich.text import Text

Overflow: TypeAlias = Literal["crop", "ellipsis"]
"""How a line that is too long ends."""

BARS = "".join(chr(0x2581 + height) for height in range(8))
"""Blocks of eight heights."""
PLAIN_BARS = "_.-=*#"
"""In place of the blocks where a terminal has no Unicode."""
CURVE = 40
"""The most marks of a curve."""
LABEL = 9
"""Columns of what a line is called."""
EXAMPLES = 3
"""Needs that are shown at a time; the next validation shows others."""
OUTCOMES = {"ok": "found", "no_hits": "found nothing", "invalid": "no query", "retriever_error": "no answer"}
TIMES = ("generation", "search", "rewards", "update")


class Panel:
    """Draws itself, as wide as the terminal; rich asks it to."""

    def __init__(self, steps: int) -> None:
        self.steps, self.done, self.left = steps, 0, ""
        self.queries: Sequence[Mapping[str, Any]] = ()
        self._last: dict[str, float] = {}
        self._curves: dict[str, list[float]] = {"train/reward": []}
        self._main: str | None = None
        self._validations = 0

    def take(self, step: int, numbers: Mapping[str, float]) -> None:
        """Take the numbers of a training step, or of a validation."""
        self.done = max(self.done, step)
        self._last |= numbers
        main = next((name for name in numbers if name.startswith("eval/")), None)
        if main is not None:
            self._main, self._validations = main, self._validations + 1
            self._curves.setdefault(main, [])
        for name, curve in self._curves.items():
            if math.isfinite(numbers.get(name, math.nan)):
                curve.append(numbers[name])

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Any]:
        bars = PLAIN_BARS if options.ascii_only else BARS
        yield self._progress(options.max_width, bars)
        cut: Overflow = "crop" if options.ascii_only else "ellipsis"
        grid = _grid(cut)
        for label, line in self._lines(bars):
            grid.add_row(label, line)
        yield grid
        if self.queries:
            yield self._examples(cut)

    def _progress(self, width: int, bars: str) -> Text:
        from rich.text import Text

        counted = f"step {self.done}/{self.steps} "
        ending = f" {self.left} left" if self.left else ""
        room = max(min(width - len(counted) - len(ending), CURVE), 0)
        full = round(room * self.done / max(self.steps, 1))
        text = Text(counted, "bold", no_wrap=True, overflow="crop")
        text.append(bars[-1] * full, "green")
        text.append(bars[0] * (room - full), "dim")
        return text.append(ending)

    def _lines(self, bars: str) -> Iterator[tuple[str, str]]:
        last = self._last
        if self._curves["train/reward"]:
            yield "reward", self._curve("train/reward", bars)
        if self._main is not None:
            yield self._main.split("/", 2)[2], self._curve(self._main, bars) + self._bounds()
        if "train/outcome/ok" in last:
            shares = [(text, last.get(f"train/outcome/{name}", 0.0)) for name, text in OUTCOMES.items()]
            yield "outcomes", "  ".join(f"{text} {share:.0%}" for text, share in shares if share or text == "found")
        if "train/query/words" in last:
            yield "queries", self._of_queries()
        if "train/time/search" in last:
            yield "retriever", self._of_retriever()
        if "train/time/share/update" in last:
            shares = [(name, last[f"train/time/share/{name}"]) for name in TIMES]
            each = "  ".join(f"{name} {share:.0%}" for name, share in shares)
            yield "time", f"{last['train/time/step']:.2f} s a step: {each}"

    def _curve(self, name: str, bars: str) -> str:
        values = self._curves[name]
        return f"{spark(values, bars)} {values[-1]:.3f}" if values else ""

    def _bounds(self) -> str:
        marks = [mark for mark in ("floor", "ceiling") if f"{self._main}/{mark}" in self._last]
        return "".join(f"  {mark} {self._last[f'{self._main}/{mark}']:.3f}" for mark in marks)

    def _of_queries(self) -> str:
        last = self._last
        unlike = f", {last['train/query/unique']:.0%} different" if "train/query/unique" in last else ""
        repeated = (
            f", {last['train/query/repeated']:.0%} of the words repeated" if last.get("train/query/repeated") else ""
        )
        return f"{last['train/query/words']:.1f} words{unlike}{repeated}"

    def _of_retriever(self) -> str:
        last = self._last
        health = f"{1000 * last['train/time/search']:.0f} ms a search"
        if "train/time/query" in last:
            health += f", {1000 * last['train/time/query']:.2f} ms a query"
        if "train/retriever/hit_rate" in last:
            health += f", {last['train/retriever/hit_rate']:.0%} from the cache"
        return health

    def _examples(self, cut: Overflow) -> Table:
        grid = _grid(cut, ranks=True)
        first = (self._validations - 1) * EXAMPLES % len(self.queries)
        for place in range(min(EXAMPLES, len(self.queries))):
            shown = self.queries[(first + place) % len(self.queries)]
            grid.add_row("before", plain(shown["text"]), rank(shown["rank_before"]))
            written = f"({shown['outcome'].replace('_', ' ')})" if shown["query"] is None else plain(shown["query"])
            grid.add_row("after", written, rank(shown["rank_after"]))
        return grid


def _grid(cut: Overflow, *, ranks: bool = False) -> Table:
    from rich.table import Table

    grid = Table.grid(padding=(0, 1), expand=False)
    grid.add_column(style="dim", no_wrap=True, min_width=LABEL, max_width=2 * LABEL, overflow=cut)
    grid.add_column(no_wrap=True, overflow=cut, ratio=1 if ranks else None)
    if ranks:
        grid.expand = True
        grid.add_column(no_wrap=True, justify="right", style="bold", overflow=cut)
    return grid


def spark(values: Sequence[float], bars: str = BARS, room: int = CURVE) -> str:
    """A line of marks as high as the values, from the lowest to the highest; many values are averaged into `room`."""
    if len(values) > room:
        edges = [round(place * len(values) / room) for place in range(room + 1)]
        values = [sum(values[a:b]) / (b - a) for a, b in itertools.pairwise(edges)]
    low, high = min(values, default=0.0), max(values, default=0.0)
    span = (high - low) or 1.0
    return "".join(bars[round((value - low) / span * (len(bars) - 1))] for value in values)


def rank(place: int | None) -> str:
    """Where the first relevant item stands."""
    return f"rank {place}" if place else "not found"


def plain(text: object) -> Text:
    """Text as it is: what a model writes is no markup, and no control of the terminal."""
    from rich.text import Text

    return Text("".join(mark if mark.isprintable() else " " for mark in str(text)))


def clock(seconds: float) -> str:
    """Seconds as somebody reads a clock: 2:05, or 1:02:05."""
    minutes, rest = divmod(round(max(seconds, 0)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
