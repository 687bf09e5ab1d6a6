"""Every number of a run as a line of a table: a logger in a file of your own."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from recr1.testing import LoggerContract


class CsvLogger:
    """A file with the columns step, name and value, in the run folder.

    Args:
        file: Its name.
    """

    def __init__(self, *, file: str = "numbers.csv") -> None:
        self.file = file

    def start(self, run_path: Path, config: Mapping[str, Any]) -> None:
        """Remember where; called again, with a new object, when the run is resumed."""
        self._path = run_path / self.file
        self._path.touch()

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Append the numbers of a step."""
        self._append((step, name, value) for name, value in metrics.items())

    def finish(self, status: str) -> None:
        """Nothing is open."""

    def resume(self, step: int, lines: Sequence[Mapping[str, Any]]) -> None:
        """Begin again with the lines of `metrics.jsonl` up to the step from which the run is resumed."""
        self._path.write_text("")
        for line in lines:
            self._append((line["step"], name, line[name]) for name in line.keys() - {"step", "time"})

    def _append(self, rows: Iterable[tuple[int, str, float | None]]) -> None:
        with self._path.open("a", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows(rows)


class TestCsvLogger(LoggerContract):
    def build(self, run: Path) -> CsvLogger:
        return CsvLogger()

    def numbers(self, run: Path) -> list[tuple[int, dict[str, float]]]:
        found: dict[int, dict[str, float]] = {}
        for step, name, value in csv.reader((run / "numbers.csv").open(encoding="utf-8")):
            found.setdefault(int(step), {})[name] = float(value)
        return sorted(found.items())
