"""What a run measures, line by line into its folder, and from here to every service: the one place that hands it on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from recr1.loggers import Alerting, Logger, Showing, Table
from recr1.runs.files import append_lines, read_lines, writing
from recr1.runs.records import number_or_none, rollout_record

if TYPE_CHECKING:
    from recr1.env import Step

FILES = ("metrics.jsonl", "alerts.jsonl", "rollouts.jsonl", "queries.jsonl")
"""Files with a step in each line: what comes after the step that a run goes on from is forgotten."""
_RESERVED = ("step", "time")


class Recording:
    """The numbers, rollouts, queries and alerts of a run; only the process with `writer=True` writes."""

    def __init__(self, path: Path, *, writer: bool, loggers: Sequence[Logger] = ()) -> None:
        self.path, self.writer, self.loggers = path, writer, tuple(loggers) if writer else ()
        self._start, self._before = monotonic(), 0.0

    @property
    def seconds(self) -> float:
        """How long the run has been under way, without the time between a stop and going on."""
        return round(self._before + monotonic() - self._start, 3)

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Append a line to `metrics.jsonl` and hand the numbers to every logger.

        Names are free but for "step" and "time". The house uses `train/...` for a training step (`train/reward` is
        shaped by the recipe's weights) and `eval/<split>/<measure>` for the true measures. A number that is not finite
        is written as null.
        """
        if not self.writer:
            return
        if reserved := [name for name in _RESERVED if name in metrics]:
            raise ValueError(f"metric name {reserved[0]!r} is taken: metrics.jsonl uses it for itself")
        numbers = {name: float(value) for name, value in metrics.items()}
        plain = {name: number_or_none(value) for name, value in numbers.items()}
        with writing(self.path):
            append_lines(self.path / "metrics.jsonl", [{"step": step, "time": self.seconds, **plain}])
        for logger in self.loggers:
            logger.log(step, numbers)

    def log_rollouts(self, step: int, result: Step) -> None:
        """Append every rollout of a step to `rollouts.jsonl`: what was written, what it meant, found and earned."""
        if self.writer:
            with writing(self.path):
                append_lines(
                    self.path / "rollouts.jsonl",
                    [rollout_record(step, result, row) for row in range(len(result.batch))],
                )

    def log_queries(self, step: int, split: str, records: Sequence[Mapping[str, Any]]) -> None:
        """Append what a validation's policy wrote for the needs that are followed, and show it as a table.

        Each record is a line of `queries.jsonl`, under the step and the split; those of one call have the same keys. A
        value that is a list is shown as lines, a mapping as a column for each key. The table is called
        `eval/<split>/queries`.
        """
        if not (self.writer and records):
            return
        with writing(self.path):
            lines = [{"step": step, "split": split, **record} for record in records]
            append_lines(self.path / "queries.jsonl", lines)
        flat = [_flat(record) for record in records]
        self._show(step, {f"eval/{split}/queries": Table(tuple(flat[0]), [list(row.values()) for row in flat])}, {})

    def log_histograms(self, step: int, values: Mapping[str, Sequence[float]]) -> None:
        """Show how values are spread, in the services that can; names without values are left out."""
        if self.writer:
            self._show(step, {}, {name: list(of_name) for name, of_name in values.items() if len(of_name)})

    def _show(self, step: int, tables: Mapping[str, Table], histograms: Mapping[str, Sequence[float]]) -> None:
        for logger in self.loggers:
            if (tables or histograms) and isinstance(logger, Showing):
                logger.show(step, tables, histograms)

    def alert(self, step: int, title: str, record: Mapping[str, Any]) -> None:
        """Append a line to `alerts.jsonl`, and tell every logger that can: the title, and the record's `text`."""
        if not self.writer:
            return
        with writing(self.path):
            append_lines(self.path / "alerts.jsonl", [{"step": step, **record}])
        for logger in self.loggers:
            if isinstance(logger, Alerting):
                logger.alert(f"{self.path.resolve().name}: {title}", f"step {step}: {record['text']}")

    def read_metrics(self) -> list[dict[str, Any]]:
        """The lines of `metrics.jsonl`, in order; raises `RunError` when it is missing or broken but for a torn end."""
        return read_lines(self.path / "metrics.jsonl")

    def read_rollouts(self) -> list[dict[str, Any]]:
        """The lines of `rollouts.jsonl`, under the rules of `read_metrics`."""
        return read_lines(self.path / "rollouts.jsonl")

    def read_queries(self) -> list[dict[str, Any]]:
        """The lines of `queries.jsonl`, under the rules of `read_metrics`."""
        return read_lines(self.path / "queries.jsonl")


def _flat(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record as cells of a table."""
    cells: dict[str, Any] = {}
    for name, value in record.items():
        if isinstance(value, Mapping):
            cells |= value
        else:
            cells[name] = "\n".join(map(str, value)) if isinstance(value, list | tuple) else value
    return cells
