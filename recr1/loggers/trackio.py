"""Trackio: a local dashboard without an account."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from recr1.errors import MissingLibrary, UserError
from recr1.loggers.base import Buffer, LogTable, numbers_of

MARK = "trackio"
"""A file in the run folder with the run's name in trackio, for resuming."""


class TrackioLogger:
    """Trackio, on this machine (the folder TRACKIO_DIR, or trackio's own). Open it with `trackio show --project recr1`.

    Args:
        project: the project that the run belongs to.
        name: the run's name; that of the run folder when null.
        group: runs shown together, such as the seeds of one recipe.
    """

    def __init__(self, *, project: str = "recr1", name: str | None = None, group: str | None = None) -> None:
        """Keep the options; they are trackio's own. Raises `MissingLibrary` when trackio is not installed."""
        if find_spec("trackio") is None:
            raise MissingLibrary("trackio", "trackio", "logging to trackio")
        self.project, self.name, self.group = project, name, group
        self._run: Any = None
        self._next = 0
        """The first step that trackio does not have; it would store a second line of a step beside the first."""
        self._buffer = Buffer()

    def start(self, run_path: Path, config: Mapping[str, Any]) -> None:
        """Open the run; raises `UserError` for a project name that trackio refuses."""
        mark = run_path / MARK
        known = mark.read_text(encoding="utf-8").strip() if mark.exists() else None
        name = known or self.name or run_path.resolve().name
        self._run, last = self._init(name, dict(config), again=known is not None)
        self._next = last + 1
        mark.write_text(f"{name}\n", encoding="utf-8")

    def _init(self, name: str, config: dict[str, Any], *, again: bool) -> tuple[Any, int]:
        """The run, and the last step of it that trackio has."""
        with redirect_stdout(io.StringIO()):  # trackio prints how to open it
            import trackio
            from trackio.sqlite_storage import SQLiteStorage

            try:
                run = trackio.init(
                    project=self.project,
                    name=name,
                    group=self.group,
                    config=config,
                    resume="allow" if again else "never",
                    embed=False,
                    auto_log_cpu=False,
                    auto_log_gpu=False,
                )
            except ValueError as error:
                raise UserError(f"trackio did not start: {error}") from error
            last = SQLiteStorage.get_max_step_for_run(self.project, name, run_id=run.id) if again else None
            return run, -1 if last is None else int(last)

    def resume(self, step: int, lines: Sequence[Mapping[str, Any]]) -> None:
        """Send the numbers that a killed process had not sent."""
        for line in lines:
            numbers = {name: value for name, value in numbers_of(line).items() if value is not None}
            self._send(int(line["step"]), numbers)

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Store the numbers of a step within seconds: trackio reads its whole database for each write."""
        assert self._run is not None, "log() before start()"
        finite = {name: value for name, value in metrics.items() if math.isfinite(value)}
        self._buffer.add(partial(self._send, step, finite))

    def show(self, step: int, tables: Mapping[str, LogTable], histograms: Mapping[str, Sequence[float]]) -> None:
        """Store tables at once, and histograms within seconds."""
        self._buffer.add(partial(self._send_shown, step, tables, histograms))
        if tables:
            self._buffer.flush()

    def _send_shown(self, step: int, tables: Mapping[str, LogTable], histograms: Mapping[str, Sequence[float]]) -> None:
        import trackio

        shown: dict[str, Any] = {
            name: trackio.Table(columns=list(table.columns), data=[list(row) for row in table.rows])
            for name, table in tables.items()
        }
        shown |= {name: trackio.Histogram(list(values), num_bins=32) for name, values in histograms.items()}
        self._send(step, shown)

    def _send(self, step: int, values: dict[str, Any]) -> None:
        assert self._run is not None, "log() before start()"
        if step >= self._next:
            self._run.log(values, step=step)

    def alert(self, title: str, text: str) -> None:
        """Store the message, and send it to TRACKIO_WEBHOOK_URL if that is set."""
        from trackio.alerts import AlertLevel

        assert self._run is not None, "alert() before start()"
        self._buffer.flush()
        with redirect_stdout(io.StringIO()):  # the terminal view shows it
            self._run.alert(title=title, text=text, level=AlertLevel.WARN)

    def finish(self, status: str) -> None:
        """Close the run; trackio writes the rest."""
        if self._run is not None:
            import trackio

            self._buffer.flush()
            with redirect_stdout(io.StringIO()):
                trackio.finish()
            self._run = None
