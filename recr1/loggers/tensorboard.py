"""TensorBoard: event files on disk."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from recr1.errors import MissingLibrary
from recr1.loggers.base import Cell, LogTable
from retrievers.store import expanded


class TensorBoardLogger:
    """TensorBoard. Look with `tensorboard --logdir runs`.

    Args:
        folder: where the event files go, in a folder with the run's name; `tensorboard` in the run folder when null.
    """

    def __init__(self, *, folder: str | None = None) -> None:
        """Keep the option. Raises `MissingLibrary` when tensorboard is not installed."""
        for library in ("torch", "tensorboard"):
            if find_spec(library) is None:
                raise MissingLibrary(library, "tensorboard", "logging to TensorBoard")
        self.folder = folder
        self._target = Path()
        self._config = ""
        self._opened: Any = None

    def start(self, run_path: Path, config: Mapping[str, Any]) -> None:
        """Set where the files go; they are opened with the first number."""
        here = run_path / "tensorboard"
        self._target = expanded(self.folder) / run_path.resolve().name if self.folder else here
        self._config = json.dumps(config, indent=2, default=str)

    def resume(self, step: int, lines: Sequence[Mapping[str, Any]]) -> None:
        """Make viewers drop what comes after the step; all before it is in the files already."""
        self._open(purge=step + 1)

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Write the numbers of a step to disk at once, so that a killed run has them.

        They are one record: a record for each number would make this thread wait for TensorBoard's each time.
        """
        from tensorboard.compat.proto.summary_pb2 import Summary

        writer = self._open()
        numbers = Summary(value=[Summary.Value(tag=name, simple_value=value) for name, value in metrics.items()])
        writer.file_writer.add_summary(numbers, step)
        writer.flush()

    def show(self, step: int, tables: Mapping[str, LogTable], histograms: Mapping[str, Sequence[float]]) -> None:
        """Write histograms, and tables as text in Markdown."""
        import numpy as np

        writer = self._open()
        for name, values in histograms.items():
            writer.add_histogram(name, np.asarray(values, np.float64), step)
        for name, table in tables.items():
            writer.add_text(name, _markdown(table), step)

    def alert(self, title: str, text: str) -> None:
        """Write the message as text."""
        self._open().add_text("alerts", f"**{title}**: {text}")

    def finish(self, status: str) -> None:
        """Close the files."""
        if self._opened is not None:
            self._opened.add_text("status", status)
            self._opened.close()
            self._opened = None

    def _open(self, purge: int | None = None) -> Any:
        if self._opened is None:
            from torch.utils.tensorboard import SummaryWriter

            self._opened = SummaryWriter(str(self._target), purge_step=purge)
            if purge is None:
                self._opened.add_text("recipe", f"```json\n{self._config}\n```")
        return self._opened


def _markdown(table: LogTable) -> str:
    lines = [table.columns, ["---"] * len(table.columns), *table.rows]
    return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)


def _cell(value: Cell) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    return "" if value is None else " ".join(str(value).split()).replace("|", "\\|")
