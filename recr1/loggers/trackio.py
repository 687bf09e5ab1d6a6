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
from recr1.loggers.base import BufferedLogger, Cell

MARK = "trackio"
"""A file in the run folder with the run's name in trackio, for resuming."""


class TrackioLogger(BufferedLogger):
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
        super().__init__()
        self.project, self.name, self.group = project, name, group

    def start(self, run_path: Path, config: Mapping[str, Any]) -> None:
        """Open the run; raises `UserError` for a project name that trackio refuses."""
        mark = run_path / MARK
        known = mark.read_text(encoding="utf-8").strip() if mark.exists() else None
        name = known or self.name or run_path.resolve().name
        with redirect_stdout(io.StringIO()):  # trackio prints how to open it
            import trackio
            from trackio.sqlite_storage import SQLiteStorage

            try:
                self._run = trackio.init(
                    project=self.project,
                    name=name,
                    group=self.group,
                    config=dict(config),
                    resume="allow" if known else "never",
                    embed=False,
                    auto_log_cpu=False,
                    auto_log_gpu=False,
                )
            except ValueError as error:
                raise UserError(f"trackio did not start: {error}") from error
            last = SQLiteStorage.get_max_step_for_run(self.project, name, run_id=self._run.id) if known else None
        self._next = 0 if last is None else int(last) + 1
        mark.write_text(f"{name}\n", encoding="utf-8")

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Store the numbers of a step within seconds: trackio reads its whole database for each write."""
        assert self._run is not None, "log() before start()"
        self._buffer.add(partial(self._send, step, self._numbers(metrics)))

    def _numbers(self, logged: Mapping[str, float | None]) -> dict[str, float]:
        return {name: value for name, value in logged.items() if value is not None and math.isfinite(value)}

    def _table(self, columns: list[str], rows: list[list[Cell]]) -> Any:
        import trackio

        return trackio.Table(columns=columns, data=rows)

    def _histogram(self, values: Sequence[float]) -> Any:
        import trackio

        return trackio.Histogram(list(values), num_bins=32)

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
