"""The interface of a logger, what some loggers can do besides, and a buffer for slow services.

`Logger` is all that your own logger needs. It gets tables, alerts and the call to resume only if it has the method.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
        """An empty buffer."""
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


def numbers_of(line: Mapping[str, Any]) -> dict[str, float | None]:
    """The numbers of a line of `metrics.jsonl`, by name."""
    return {name: value for name, value in line.items() if name not in ("step", "time")}
