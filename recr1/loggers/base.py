"""The interface of a logger, what some loggers can do besides, and a buffer for slow services.

`Logger` is all that your own logger needs. It gets tables, alerts and the call to resume only if it has the method.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

Cell: TypeAlias = str | float | int | None

INTERVAL = 5.0
"""Seconds between two deliveries of a `Buffer`: each takes a service milliseconds, and a step may be short."""


class LogTable(NamedTuple):
    """Rows to show."""

    columns: tuple[str, ...]
    rows: Sequence[Sequence[Cell]]


@runtime_checkable
class Logger(Protocol):
    """A service that shows a run's numbers. Built as `cls(*, options)`; `Run` calls it, in the writing process only."""

    def start(self, run_path: Path, config: Mapping[str, Any]) -> None:
        """Open the run; `config` is the resolved recipe. A resumed run is started again, with the same path."""
        ...

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Take the numbers of a step, under the names of `metrics.jsonl`."""
        ...

    def finish(self, status: str) -> None:
        """Close the run as "finished", "interrupted" or "failed"."""
        ...


@runtime_checkable
class SupportsShow(Protocol):
    """A logger that shows more than numbers."""

    def show(self, step: int, tables: Mapping[str, LogTable], histograms: Mapping[str, Sequence[float]]) -> None:
        """Take tables, and values for histograms, by their names."""
        ...


@runtime_checkable
class SupportsAlert(Protocol):
    """A logger that can notify somebody."""

    def alert(self, title: str, text: str) -> None:
        """Send a message: a run collapses, or was stopped."""
        ...


@runtime_checkable
class SupportsResume(Protocol):
    """A logger that can continue a run of an earlier process."""

    def resume(self, step: int, lines: Sequence[Mapping[str, Any]]) -> None:
        """Continue after a step (-1: from the beginning), before anything else is logged.

        `lines` are those of `metrics.jsonl` up to that step, for numbers that a killed process had not delivered. The
        next steps may have been logged before, with the same numbers if the run repeats exactly.
        """
        ...


class Buffer:
    """Delivers records in order: the first at once, later ones together, every `INTERVAL` seconds.

    There is no timer: records are delivered with a later one, or by `flush`. A resumed run takes from `metrics.jsonl`
    what a killed process had in its buffer.
    """

    def __init__(self) -> None:
        self._waiting: list[Callable[[], None]] = []
        self._next = monotonic()

    def add(self, send: Callable[[], None]) -> None:
        """Add a record, as the call that sends it."""
        self._waiting.append(send)
        if monotonic() >= self._next:
            self.flush()

    def flush(self) -> None:
        """Deliver all records: before anything urgent, and at the end."""
        waiting, self._waiting = self._waiting, []
        for send in waiting:
            send()
        self._next = monotonic() + INTERVAL


class BufferedLogger:
    """A logger of a service that takes each step once, in order, within seconds.

    Subclasses open `_run`, and have `log` and the service's own tables and histograms.
    """

    def __init__(self) -> None:
        self._run: Any = None
        self._next = 0
        """The first step that the service does not have."""
        self._buffer = Buffer()

    def resume(self, step: int, lines: Sequence[Mapping[str, Any]]) -> None:
        """Send the numbers that a killed process had not sent."""
        for line in lines:
            self._send(int(line["step"]), self._numbers({n: v for n, v in line.items() if n not in ("step", "time")}))

    def show(self, step: int, tables: Mapping[str, LogTable], histograms: Mapping[str, Sequence[float]]) -> None:
        """Send tables at once, and histograms within seconds: every step has some."""
        self._buffer.add(partial(self._send_shown, step, tables, histograms))
        if tables:
            self._buffer.flush()

    def _send_shown(self, step: int, tables: Mapping[str, LogTable], histograms: Mapping[str, Sequence[float]]) -> None:
        if step >= self._next:
            shown = {
                name: self._table(list(table.columns), list(map(list, table.rows))) for name, table in tables.items()
            }
            self._send(step, shown | {name: self._histogram(values) for name, values in histograms.items()})

    def _send(self, step: int, values: Mapping[str, Any]) -> None:
        assert self._run is not None, "the run is not open: call start() first"
        if step >= self._next:
            self._run.log(values, step=step)

    def _numbers(self, logged: Mapping[str, float | None]) -> dict[str, float]:
        """Numbers of a step as the service takes them; None is one that is not finite."""
        raise NotImplementedError

    def _table(self, columns: list[str], rows: list[list[Cell]]) -> Any:
        raise NotImplementedError

    def _histogram(self, values: Sequence[float]) -> Any:
        raise NotImplementedError
