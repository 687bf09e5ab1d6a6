"""Weights & Biases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from time import time
from typing import Any, Literal

from recr1.errors import MissingLibrary, UserError
from recr1.loggers.base import Table
from recr1.loggers.held import Held
from recr1.loggers.wandb_files import last_step

ID_FILE = "run_id"
"""Where, beside W&B's own files in the run folder, the run's id is kept: a run that goes on is the same run there."""
BINS = 32


class WandbLogger:
    """Weights & Biases. Its files go into the run folder; `offline` needs neither an account nor a network.

    Args:
        project: the project that the run belongs to.
        entity: user or team; W&B's default when null.
        name: the run's name; that of the run folder when null.
        group: runs shown together, such as the seeds of one recipe.
        tags: labels.
        mode: W&B's own choice, and so the variable WANDB_MODE, when null.
    """

    def __init__(
        self,
        *,
        project: str = "recr1",
        entity: str | None = None,
        name: str | None = None,
        group: str | None = None,
        tags: list[str] | None = None,
        mode: Literal["online", "offline", "disabled"] | None = None,
    ) -> None:
        """Keep the options; they are W&B's own. Raises `MissingLibrary` when wandb is not installed."""
        if find_spec("wandb") is None:
            raise MissingLibrary("wandb", "wandb", "logging to W&B")
        self.project, self.entity, self.name, self.group, self.mode = project, entity, name, group, mode
        self.tags = list(tags or [])
        self._run: Any = None
        self._path = Path()
        self._next = 0
        """The first step that W&B does not hold yet: it takes each once, in their order."""
        self._held = Held()

    def start(self, run_path: Path, config: Mapping[str, Any]) -> None:
        """Open the W&B run, with its files under `run_path`; raises `UserError` when W&B refuses (no login)."""
        import wandb

        id_file = run_path / "wandb" / ID_FILE
        known = id_file.read_text(encoding="utf-8").strip() if id_file.exists() else None
        try:
            self._run = wandb.init(
                project=self.project,
                entity=self.entity,
                name=self.name or run_path.resolve().name,
                group=self.group,
                tags=self.tags,
                mode=self.mode,
                dir=str(run_path),
                config=dict(config),
                id=known,
                resume="allow" if known else None,
            )
        except (wandb.errors.UsageError, wandb.errors.CommError) as error:
            raise UserError(f"W&B did not start: {error} (log in, or set `mode: offline`)") from error
        self._path, self._next = run_path, int(self._run.starting_step)
        if known:
            self._next = max(self._next, last_step(run_path, known) + 1)
        elif self._run.id:
            id_file.parent.mkdir(exist_ok=True)
            id_file.write_text(f"{self._run.id}\n", encoding="utf-8")

    def go_on(self, step: int, lines: Sequence[Mapping[str, Any]]) -> None:
        """Hand over the numbers that were lost with a killed process; steps that W&B holds it would not take again."""
        for line in lines:
            numbers = {name: value for name, value in line.items() if name not in ("step", "time")}
            self._send(int(line["step"]), {name: float("nan") if v is None else v for name, v in numbers.items()})

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Send the numbers of a step within seconds, under the time of now."""
        assert self._run is not None, "log() before start()"
        self._held.add(partial(self._send, step, {**metrics, "_timestamp": time()}))

    def show(self, step: int, tables: Mapping[str, Table], histograms: Mapping[str, Sequence[float]]) -> None:
        """Send tables at once, and histograms within seconds: each step has some."""
        self._held.add(partial(self._send_shown, step, tables, histograms))
        if tables:
            self._held.release()

    def _send_shown(self, step: int, tables: Mapping[str, Table], histograms: Mapping[str, Sequence[float]]) -> None:
        if step < self._next:
            return
        import numpy as np
        import wandb

        shown: dict[str, Any] = {
            name: wandb.Table(columns=list(table.columns), data=[list(row) for row in table.rows])
            for name, table in tables.items()
        }
        for name, values in histograms.items():
            shown[name] = wandb.Histogram(np_histogram=np.histogram(values, bins=BINS))
        self._send(step, shown)

    def _send(self, step: int, values: dict[str, Any]) -> None:
        assert self._run is not None, "log() before start()"
        if step >= self._next:
            self._run.log(values, step=step)

    def alert(self, title: str, text: str) -> None:
        """Send a W&B alert, by mail or Slack, as the user's settings there say."""
        assert self._run is not None, "alert() before start()"
        self._held.release()
        self._run.alert(title=title[-63:], text=text, level="WARN")

    def finish(self, status: str) -> None:
        """Close the W&B run: anything but "finished" is shown there as a failure. The run card goes along."""
        if self._run is not None:
            self._held.release()
            self._run.summary["status"] = status
            self._attach_card()
            self._run.finish(exit_code=0 if status == "finished" else 1)
            self._run = None

    def _attach_card(self) -> None:
        """The files that say what was run with what, as an artifact of the run."""
        import wandb

        card = wandb.Artifact(f"run-card-{self._run.id}", type="run-card")
        for name in ("run.json", "recipe.yaml"):
            if (self._path / name).exists():
                card.add_file(str(self._path / name))
        self._run.log_artifact(card)
