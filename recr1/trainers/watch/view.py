"""The live view of a training run: a panel that moves in a terminal, plain lines elsewhere."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal

from recr1.terminal import folded

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions
    from rich.live import Live
    from rich.table import Table
    from rich.text import Text

BARS, PLAIN_BARS = "".join(chr(0x2581 + height) for height in range(8)), "_.-=*#"
"""Blocks of eight heights, and marks for a terminal without Unicode."""
CURVE, LABEL = 40, 9
"""The most marks of a curve, and the columns of a line's name."""
EXAMPLES = 3
"""Needs that are shown at a time; the next validation shows others."""
PLAIN_EVERY = 10
"""Steps between two lines where there is no terminal."""
REDRAW = 2.0
"""Seconds between two drawings of the panel: a drawing takes milliseconds, and a step may not take many."""
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
        main = _main(numbers)
        if main is not None:
            self._main, self._validations = main, self._validations + 1
            self._curves.setdefault(main, [])
        for name, curve in self._curves.items():
            if math.isfinite(numbers.get(name, math.nan)):
                curve.append(numbers[name])

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Any]:
        bars = PLAIN_BARS if options.ascii_only else BARS
        yield self._progress(options.max_width, bars)
        grid = _grid(options)
        for label, line in self._lines(bars):
            grid.add_row(label, line)
        yield grid
        if self.queries:
            yield self._examples(_grid(options, ranks=True))

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
            yield self._main.split("/", 2)[2], self._curve(self._main, bars) + _bounds(self._main, last)
        if "train/outcome/ok" in last:
            shares = [(text, last.get(f"train/outcome/{name}", 0.0)) for name, text in OUTCOMES.items()]
            yield "outcomes", "  ".join(f"{text} {share:.0%}" for text, share in shares if share or text == "found")
        if "train/query/words" in last:
            different = f", {last['train/query/unique']:.0%} different" if "train/query/unique" in last else ""
            repeated = last.get("train/query/repeated")
            repeats = f", {repeated:.0%} of the words repeated" if repeated else ""
            copied = last.get("train/query/copies_need")
            copies = f", {copied:.0%} copy the need" if copied else ""
            yield "queries", f"{last['train/query/words']:.1f} words{different}{repeats}{copies}"
        if "train/time/search" in last:
            query = f", {1000 * last['train/time/query']:.2f} ms a query" if "train/time/query" in last else ""
            hits = last.get("train/retriever/hit_rate")
            cached = f", {hits:.0%} from the cache" if hits is not None else ""
            yield "retriever", f"{1000 * last['train/time/search']:.0f} ms a search{query}{cached}"
        if "train/time/share/update" in last:
            each = "  ".join(f"{name} {last[f'train/time/share/{name}']:.0%}" for name in TIMES)
            yield "time", f"{last['train/time/step']:.2f} s a step: {each}"

    def _curve(self, name: str, bars: str) -> str:
        values = self._curves[name]
        return f"{spark(values, bars)} {values[-1]:.3f}" if values else ""

    def _examples(self, grid: Table) -> Table:
        first = (self._validations - 1) * EXAMPLES
        for place in range(first, first + min(EXAMPLES, len(self.queries))):
            shown = self.queries[place % len(self.queries)]
            grid.add_row("before", plain(shown["text"]), rank(shown["rank_before"]))
            written = f"({shown['outcome'].replace('_', ' ')})" if shown["query"] is None else plain(shown["query"])
            grid.add_row("after", written, rank(shown["rank_after"]))
        return grid


def _main(numbers: Mapping[str, float]) -> str | None:
    """The name of the measure that decides, `eval/<split>/<measure>`; None without a validation."""
    return next((name for name in numbers if name.startswith("eval/")), None)


def _bounds(main: str, numbers: Mapping[str, float]) -> str:
    there = [bound for bound in ("floor", "ceiling") if f"{main}/{bound}" in numbers]
    return "".join(f"  {bound} {numbers[f'{main}/{bound}']:.3f}" for bound in there)


def _grid(options: ConsoleOptions, *, ranks: bool = False) -> Table:
    from rich.table import Table

    cut: Literal["crop", "ellipsis"] = "crop" if options.ascii_only else "ellipsis"
    grid = Table.grid(padding=(0, 1), expand=ranks)
    grid.add_column(style="dim", no_wrap=True, min_width=LABEL, max_width=2 * LABEL, overflow=cut)
    grid.add_column(no_wrap=True, overflow=cut, ratio=1 if ranks else None)
    if ranks:
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
    """The rank of the first relevant item, in words."""
    return f"rank {place}" if place else "not found"


def plain(text: object) -> Text:
    """Text as it is: what a model writes is not read as markup, or as control characters."""
    from rich.text import Text

    return Text("".join(mark if mark.isprintable() else " " for mark in str(text)))


def clock(seconds: float) -> str:
    """Seconds as somebody reads a clock: 2:05, or 1:02:05."""
    minutes, rest = divmod(round(max(seconds, 0)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class View:
    """Shows how a run goes. Silent when `quiet` (all ranks but the first)."""

    def __init__(self, steps: int, *, quiet: bool, console: Console | None = None) -> None:
        """Bind the number of the last step; `console` is rich's, instead of one for standard output."""
        from rich.console import Console

        self.steps = steps
        self.console = console or Console(highlight=False, quiet=quiet)
        self._live: Live | None = None
        self._panel = Panel(steps)
        self._drawn = 0.0
        self._since: tuple[int, float] | None = None

    def start(self) -> None:
        """Open the view."""
        from rich.live import Live

        if self.console.is_terminal and not self.console.quiet:
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
            self.say(f"resuming after step {step}")

    def replay(self, step: int, numbers: Mapping[str, Any]) -> None:
        """Take a line of the log, for the curves of a resumed run."""
        self._panel.take(step, {name: value for name, value in numbers.items() if isinstance(value, int | float)})

    def say(self, text: str) -> None:
        """A line of its own."""
        self.console.print(folded(text), soft_wrap=True)

    def warn(self, text: str) -> None:
        """A line in colour."""
        self.console.print(folded(text), style="bold yellow", markup=False, soft_wrap=True)

    def step(self, step: int, numbers: Mapping[str, float]) -> None:
        """The numbers of a training step."""
        left = self._left(step)
        if self._live is not None:
            self._panel.take(step, numbers)
            self._panel.left = left
            if perf_counter() - self._drawn >= REDRAW:
                self._drawn = perf_counter()
                self._live.update(self._panel, refresh=True)
        elif step == 1 or step % PLAIN_EVERY == 0 or step == self.steps:
            ending = f"  {left} left" if left else ""
            self.say(f"step {step}/{self.steps}  {_numbers(numbers)}{ending}")

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
        main = _main(numbers)
        if main is not None:
            self._panel.take(step, numbers)
            self._panel.queries = queries
            split, measure = main.split("/", 2)[1:]
            self.say(f"[bold]{split} {measure} {numbers[main]:.3f}[/bold] after {step} steps{_bounds(main, numbers)}")


def _numbers(numbers: Mapping[str, float]) -> str:
    """The few numbers that fit on a line: the reward that is trained, its true measure, the length of queries."""
    parts = [f"reward {numbers['train/reward']:.3f}"] if "train/reward" in numbers else []
    measures = [name for name in numbers if name.startswith("train/reward/") and "@" in name]
    parts += [f"{name.removeprefix('train/reward/')} {numbers[name]:.3f}" for name in measures[:1]]
    if numbers.get("train/query/words"):  # 0 where no completion is a query
        parts.append(f"{numbers['train/query/words']:.1f} words")
    return "  ".join(parts)
