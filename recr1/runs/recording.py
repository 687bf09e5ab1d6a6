"""What a run measures: lines in its folder, and records for every logger."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from recr1.env.step import recorded
from recr1.loggers import Logger, LogTable, SupportsAlert, SupportsShow
from recr1.runs.files import append_lines, read_lines, writing

if TYPE_CHECKING:
    from recr1.env import Step

FILES = ("metrics.jsonl", "alerts.jsonl", "rollouts.jsonl", "queries.jsonl")
"""Files with a step in each line; a resumed run deletes the lines after the step that it resumes from."""


def sizes(folder: Path) -> dict[str, int]:
    """The logs of a run, with their sizes in bytes."""
    return {name: (folder / name).stat().st_size for name in FILES if (folder / name).exists()}


def changed_logs(folder: Path, facts: Mapping[str, Any]) -> Iterator[str]:
    """Which logs of a finished run are not as long as they were then, in words."""
    now = sizes(folder)
    for name, size in facts.get("logged", {}).items() if facts["status"] == "finished" else ():
        if now.get(name) != size:
            there = f"has {now[name]:,} bytes" if name in now else "is missing"
            yield f"{name} {there}, and had {size:,} when the run was finished: lines are lost, or the file was edited"


class Recording:
    """The numbers, rollouts, queries and alerts of a run; only the process with `writer=True` writes."""

    def __init__(self, path: Path, *, writer: bool, loggers: Sequence[Logger] = ()) -> None:
        self.path, self.writer, self.loggers = path, writer, tuple(loggers) if writer else ()
        self._start, self._before = monotonic(), 0.0

    @property
    def logs(self) -> Path:
        """The folder that `FILES` are in."""
        return self.path

    @property
    def seconds(self) -> float:
        """How long the run has taken, without the time between a stop and resuming."""
        return round(self._before + monotonic() - self._start, 3)

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Append a line to `metrics.jsonl` and send the numbers to every logger.

        Any name but "step" and "time". recr1 uses `train/...` for a training step (`train/reward` is weighted as the
        recipe says) and `eval/<split>/<measure>` for the true measures. A number that is not finite is null.
        """
        if not self.writer:
            return
        for reserved in {"step", "time"} & metrics.keys():
            raise ValueError(f"metric name {reserved!r} is reserved in metrics.jsonl: use another one")
        numbers = {name: float(value) for name, value in metrics.items()}
        plain = {name: _number_or_none(value) for name, value in numbers.items()}
        with writing(self.path):
            append_lines(self.path / "metrics.jsonl", [{"step": step, "time": self.seconds, **plain}])
        for logger in self.loggers:
            logger.log(step, numbers)

    def log_rollouts(self, step: int, result: Step) -> None:
        """Append every rollout of a step to `rollouts.jsonl`: completion, query, outcome and rewards."""
        if self.writer:
            with writing(self.path):
                records = [_rollout_record(step, result, row) for row in range(len(result.batch))]
                append_lines(self.path / "rollouts.jsonl", records)

    def log_queries(self, step: int, split: str, records: Sequence[Mapping[str, Any]]) -> None:
        """Append a validation's queries for the needs that are followed to `queries.jsonl`, and show them as a table.

        All records of a call have the same keys. In the table `eval/<split>/queries` a list becomes lines, and a
        mapping a column for each key.
        """
        if not (self.writer and records):
            return
        with writing(self.path):
            lines = [{"step": step, "split": split, **record} for record in records]
            append_lines(self.path / "queries.jsonl", lines)
        flat = [_flat(record) for record in records]
        self._show(step, {f"eval/{split}/queries": LogTable(tuple(flat[0]), [list(row.values()) for row in flat])}, {})

    def log_histograms(self, step: int, values: Mapping[str, Sequence[float]]) -> None:
        """Show histograms of values, in loggers that can; names without values are left out."""
        if self.writer:
            self._show(step, {}, {name: list(of_name) for name, of_name in values.items() if len(of_name)})

    def _show(self, step: int, tables: Mapping[str, LogTable], histograms: Mapping[str, Sequence[float]]) -> None:
        for logger in self.loggers:
            if (tables or histograms) and isinstance(logger, SupportsShow):
                logger.show(step, tables, histograms)

    def alert(self, step: int, title: str, record: Mapping[str, Any]) -> None:
        """Append a line to `alerts.jsonl`, and send the title and the record's `text` to every logger that can."""
        if not self.writer:
            return
        with writing(self.path):
            append_lines(self.path / "alerts.jsonl", [{"step": step, **record}])
        for logger in self.loggers:
            if isinstance(logger, SupportsAlert):
                logger.alert(f"{self.path.resolve().name}: {title}", f"step {step}: {record['text']}")

    def read_metrics(self) -> list[dict[str, Any]]:
        """The lines of `metrics.jsonl`, in order; raises `RunError` when it is missing or a line is broken."""
        return read_lines(self.path / "metrics.jsonl")

    def read_rollouts(self) -> list[dict[str, Any]]:
        """The lines of `rollouts.jsonl`, under the rules of `read_metrics`."""
        return read_lines(self.path / "rollouts.jsonl")


def _flat(record: Mapping[str, Any]) -> dict[str, Any]:
    cells: dict[str, Any] = {}
    for name, value in record.items():
        if isinstance(value, Mapping):
            cells |= value
        else:
            cells[name] = "\n".join(map(str, value)) if isinstance(value, list | tuple) else value
    return cells


def _rollout_record(step: int, result: Step, row: int) -> dict[str, Any]:
    """A line of `rollouts.jsonl`: what was written, how it was parsed, what it found, and its rewards."""
    rollout = result.batch.rollouts[row]
    action = rollout.action
    return {
        "step": step,
        "need": rollout.need.id,
        "completion": rollout.completion,
        **recorded(action),
        "outcome": result.outcomes[row],
        "parts": {name: _number_or_none(values[row]) for name, values in result.parts.items()},
        "reward": _number_or_none(result.rewards[row]),
        "first_relevant": int(result.batch.graded.first_relevant[row]) or None,
    }


def _number_or_none(value: float) -> float | None:
    """None for a number that is not finite, which JSON does not have."""
    return float(value) if math.isfinite(value) else None
