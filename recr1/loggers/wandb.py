"""Where a run's numbers go besides its own folder: one class a service."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from recr1.errors import MissingLibrary, UserError

BUILTIN = {"wandb": "recr1.loggers:WandbLogger"}
"""Loggers by the name that a recipe uses; the classes are imported when they are asked for."""


@runtime_checkable
class Logger(Protocol):
    """A service that shows a run's numbers. Built as `cls(*, options)`; `Run` calls it, in the writing process only."""

    def start(self, run_path: Path, config: Mapping[str, Any]) -> None:
        """Open the run; `config` is the resolved recipe."""
        ...

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Take the numbers of a step, under the names that `metrics.jsonl` has."""
        ...

    def finish(self, status: str) -> None:
        """Close the run as "finished", "interrupted" or "failed"."""
        ...


@runtime_checkable
class Alerting(Protocol):
    """What a logger can do besides: tell somebody."""

    def alert(self, title: str, text: str) -> None:
        """Send a message: a run that collapses, or was stopped."""
        ...


class WandbLogger:
    """Weights & Biases. Its files go into the run folder; `offline` needs neither an account nor a network."""

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
        """Keep the options; they are W&B's own.

        Args:
            project: The project that the run belongs to.
            entity: User or team; W&B's default when None.
            name: The run's name; that of the run folder when None.
            group: Runs shown together, such as the seeds of one recipe.
            tags: Labels.
            mode: W&B's own choice, and so the variable WANDB_MODE, when None.

        Raises:
            MissingLibrary: When wandb is not installed.
        """
        if find_spec("wandb") is None:
            raise MissingLibrary("wandb", "wandb", "logging to W&B")
        self.project, self.entity, self.name, self.group, self.mode = project, entity, name, group, mode
        self.tags = list(tags or [])
        self._run: Any = None

    def start(self, run_path: Path, config: Mapping[str, Any]) -> None:
        """Open the W&B run, with its files under `run_path`; raises `UserError` when W&B refuses (no login)."""
        import wandb

        try:
            self._run = wandb.init(
                project=self.project,
                entity=self.entity,
                name=self.name or run_path.name,
                group=self.group,
                tags=self.tags,
                mode=self.mode,
                dir=str(run_path),
                config=dict(config),
            )
        except (wandb.errors.UsageError, wandb.errors.CommError) as error:
            raise UserError(f"W&B did not start: {error} (log in, or set `mode: offline`)") from error

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Send the numbers of a step."""
        assert self._run is not None, "log() before start()"
        self._run.log(dict(metrics), step=step)

    def alert(self, title: str, text: str) -> None:
        """Send a W&B alert, by mail or Slack, as the user's settings there say."""
        assert self._run is not None, "alert() before start()"
        self._run.alert(title=title[-63:], text=text, level="WARN")

    def finish(self, status: str) -> None:
        """Close the W&B run: anything but "finished" is shown there as a failure."""
        if self._run is not None:
            self._run.summary["status"] = status
            self._run.finish(exit_code=0 if status == "finished" else 1)
            self._run = None
