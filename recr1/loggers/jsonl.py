"""Lines of JSON, with everything that services get, for other tools."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from recr1.errors import UserError
from recr1.loggers.base import LogTable
from retrievers.store import expanded

FILE = "log.jsonl"


class JsonlLogger:
    """A file with a line for each record: numbers, tables, values of histograms and alerts.

    Args:
        path: the file, which several runs may share; `log.jsonl` in the run folder when null.
    """

    def __init__(self, *, path: str | None = None) -> None:
        self.path = path
        self._file, self._run, self._step = Path(), "", 0

    def start(self, run_path: Path, config: Mapping[str, Any]) -> None:
        """Write the recipe; raises `UserError` when the file cannot be written."""
        self._file = expanded(self.path) if self.path else run_path / FILE
        self._run = run_path.resolve().name
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            self._write({"kind": "start", "step": -1, "recipe": config})
        except OSError as error:
            raise UserError(f"log: {self._file} cannot be written: {error.strerror}") from error

    def resume(self, step: int, lines: Sequence[Mapping[str, Any]]) -> None:
        """Delete what this run logged after the step."""
        kept = []
        for line in self._file.read_text(encoding="utf-8").splitlines(keepends=True):
            with suppress(json.JSONDecodeError):  # cut off when the process was killed
                record = json.loads(line)
                if record["run"] != self._run or record["step"] <= step:
                    kept.append(line)
        part = self._file.with_name(f".{self._file.name}.part")
        part.write_text("".join(kept), encoding="utf-8")
        part.replace(self._file)

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Write the numbers of a step; null where one is not finite."""
        self._step = step
        numbers = {name: value if math.isfinite(value) else None for name, value in metrics.items()}
        self._write({"kind": "numbers", "step": step, "numbers": numbers})

    def show(self, step: int, tables: Mapping[str, LogTable], histograms: Mapping[str, Sequence[float]]) -> None:
        """Write tables, and the values of histograms."""
        for name, table in tables.items():
            rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
            self._write({"kind": "table", "step": step, "name": name, "rows": rows})
        for name, values in histograms.items():
            self._write({"kind": "values", "step": step, "name": name, "values": [float(value) for value in values]})

    def alert(self, title: str, text: str) -> None:
        """Write the message, with the last step that was logged."""
        self._write({"kind": "alert", "step": self._step, "title": title, "text": text})

    def finish(self, status: str) -> None:
        """Write how the run ended."""
        self._write({"kind": "finish", "step": self._step, "status": status})

    def _write(self, record: Mapping[str, Any]) -> None:
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"run": self._run, **record}, default=str) + "\n")
