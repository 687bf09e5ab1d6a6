"""What every service can do, and what some can do besides.

`Logger` is all that a service of your own needs. What it cannot show it does not declare, and is not handed: a table
never becomes a number on the way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

Cell: TypeAlias = str | float | int | None


class Table(NamedTuple):
    """Rows for somebody to read."""

    columns: tuple[str, ...]
    rows: Sequence[Sequence[Cell]]


@runtime_checkable
class Logger(Protocol):
    """A service that shows a run's numbers. Built as `cls(*, options)`; `Run` calls it, in the writing process only."""

    def start(self, run_path: Path, config: Mapping[str, Any]) -> None:
        """Open the run; `config` is the resolved recipe. A run that goes on is started again, with the same path."""
        ...

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Take the numbers of a step, under the names that `metrics.jsonl` has."""
        ...

    def finish(self, status: str) -> None:
        """Close the run as "finished", "interrupted" or "failed"."""
        ...


@runtime_checkable
class Showing(Protocol):
    """What a logger can do besides: show more than numbers."""

    def show(self, step: int, tables: Mapping[str, Table], histograms: Mapping[str, Sequence[float]]) -> None:
        """Take tables, and values for histograms, by their names."""
        ...


@runtime_checkable
class Alerting(Protocol):
    """What a logger can do besides: tell somebody."""

    def alert(self, title: str, text: str) -> None:
        """Send a message: a run that collapses, or was stopped."""
        ...


@runtime_checkable
class Resuming(Protocol):
    """What a logger can do besides: go on with the run that it began in an earlier process."""

    def go_on(self, step: int, lines: Sequence[Mapping[str, Any]]) -> None:
        """Go on after a step (-1: from the beginning), before anything else is logged.

        `lines` are those of `metrics.jsonl` up to that step: what a killed process had not handed over yet can be taken
        from there. What comes next may have been logged before, with the same numbers where a run goes on exactly.
        """
        ...
