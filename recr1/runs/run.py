"""The run folder: what was run, what it was run with, and everything it measured.

- `recipe.yaml`: the resolved recipe; loading it gives an equal recipe
- `run.json`: status, times, seed, versions, platform, fingerprints
- `metrics.jsonl`: a line per log, with its step, seconds since the start, and metrics
- `alerts.jsonl`: a line per sign of a collapse
- `rollouts.jsonl`: a line per rollout that was logged
- `queries.jsonl`: a line per need that is followed, for each validation
- `policy/`: the policy in Hugging Face format
- `eval/`: evaluations
- `plots/`: pictures
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from recr1.config import yaml12
from recr1.errors import RunError, UserError
from recr1.loggers import Logger, Resuming
from recr1.runs import plots
from recr1.runs.files import keep_lines, read_text, write_text, writing
from recr1.runs.provenance import surroundings
from recr1.runs.recording import FILES, Recording

if TYPE_CHECKING:
    from filelock import BaseFileLock

Status: TypeAlias = Literal["running", "finished", "interrupted", "failed"]

_MARKS = ("run.json", "recipe.yaml", "metrics.jsonl")
"""Files that a folder with a run holds from the start."""


class Run(Recording):
    """A run folder, open for writing in one process and for reading in any.

    Under several processes each makes its `Run`, and the one with `writer=True` (rank 0) writes; on the others every
    writing method does nothing, so that the code that trains need not ask.
    """

    def __init__(self, path: Path, *, writer: bool, loggers: Sequence[Logger] = ()) -> None:
        """Bind a folder; use `Run.create` or `Run.open`."""
        super().__init__(path, writer=writer, loggers=loggers)
        self.resumed = False
        self._lock: BaseFileLock | None = None

    @classmethod
    def create(
        cls,
        path: str | Path,
        recipe: Mapping[str, Any],
        facts: Mapping[str, Any],
        *,
        writer: bool = True,
        loggers: Sequence[Logger] = (),
    ) -> Run:
        """Start a run in a new folder (or one without a run in it) and start its loggers.

        Args:
            path: The folder; made with its parents.
            recipe: The resolved recipe, of plain YAML values.
            facts: What else `run.json` shall hold: seed, catalog and retriever fingerprint, world size.
            writer: Whether this process writes.
            loggers: Services that get every log as well.

        Raises:
            RunError: When the folder holds a run or cannot be written.
        """
        run = cls(Path(path).expanduser(), writer=writer, loggers=loggers)
        if writer:
            run._claim()
            with writing(run.path):
                write_text(run.path / "recipe.yaml", yaml12.write(dict(recipe)))
            run.update(status="running", started=_now(), ended=None, **{**surroundings(), **facts})
            try:
                run._start_loggers(recipe)
            except UserError:
                run._give_back()
                raise
        return run

    @classmethod
    def resume(
        cls, path: str | Path, facts: Mapping[str, Any], *, writer: bool = True, loggers: Sequence[Logger] = ()
    ) -> Run:
        """Go on with a run that is not finished, with the recipe that it began with, and start its loggers.

        Args:
            path: The folder.
            facts: What must be as it was when the run began: seed, fingerprints, number of processes.
            writer: Whether this process writes.
            loggers: Services that get every log as well.

        Raises:
            RunError: When there is no run, it is finished, another process trains it, or a fact is not as it was.
        """
        run = cls.open(path)
        run.writer, run.loggers, run.resumed = writer, tuple(loggers) if writer else (), True
        held = run.facts()
        run.check_unfinished(held)
        changed = [name for name in facts if name in held and held[name] != facts[name]]
        if changed:
            was, now = (", ".join(f"{name} {source[name]}" for name in changed) for source in (held, facts))
            raise RunError(f"{run.path} cannot go on: it began with {was}, and here it is {now}")
        if writer:
            run._hold()
            lines = run.read_metrics()
            run._before = float(lines[-1]["time"]) if lines else 0.0
            again = {"at": _now(), "status": held["status"], **surroundings()}
            run.update(status="running", ended=None, error=None, resumed=[*held.get("resumed", []), again])
            run._start_loggers(run.recipe())
        return run

    def check_unfinished(self, facts: Mapping[str, Any] | None = None) -> None:
        """Raises `RunError` for a run that is finished: there is nothing to go on with."""
        if (facts or self.facts())["status"] == "finished":
            raise RunError(
                f"{self.path} already holds a run, which is finished: choose another folder, or see what it learned: "
                f"recr1 eval {self.path}"
            )

    def rewind(self, step: int) -> None:
        """Forget what was logged after a step, where the run goes on from; -1 for all of it."""
        if self.writer:
            with writing(self.path):
                for name in FILES:
                    keep_lines(self.path / name, lambda record: record["step"] <= step)
            self.update(resumed_after=max(step, 0))
            lines = self.read_metrics()
            for logger in self.loggers:
                if isinstance(logger, Resuming):
                    logger.go_on(step, lines)

    def _hold(self) -> None:
        """Let no other process train this run while this one lives; the system lets go when it dies."""
        from filelock import FileLock, Timeout

        self._lock = FileLock(self.path / ".lock")
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise RunError(f"{self.path} is being trained by another process") from None

    def _release(self) -> None:
        if self._lock:
            self._lock.release()
            (self.path / ".lock").unlink(missing_ok=True)

    @classmethod
    def open(cls, path: str | Path) -> Run:
        """An existing run, for reading; raises `RunError` when the folder holds none."""
        run = cls(Path(path).expanduser(), writer=False)
        if not run.path.is_dir():
            raise RunError(f"{run.path}: no such run folder")
        run.facts()
        run.recipe()
        return run

    @staticmethod
    def prepare(path: str | Path) -> Path:
        """Make a folder for a run before anything heavy loads; `RunError` when it holds one or cannot be written."""
        folder = Path(path).expanduser()
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            held = next((name for name in _MARKS if (folder / name).exists()), None)
        if held is not None:
            raise _taken(folder, held)
        return folder

    def _claim(self) -> None:
        """Take the folder: creating metrics.jsonl exclusively lets one of two runs started at the same time win."""
        self.prepare(self.path)
        with writing(self.path):
            try:
                (self.path / "metrics.jsonl").open("x").close()
            except FileExistsError:
                raise _taken(self.path, "metrics.jsonl") from None
            self._hold()

    def _start_loggers(self, recipe: Mapping[str, Any]) -> None:
        for logger in self.loggers:
            logger.start(self.path, recipe)

    def _give_back(self) -> None:
        """Nothing has run yet: let the corrected launch use the folder."""
        self._release()
        for name in _MARKS:
            (self.path / name).unlink(missing_ok=True)

    def facts(self) -> dict[str, Any]:
        """The content of `run.json`; raises `RunError` when it is missing or unreadable."""
        try:
            facts = json.loads(read_text(self.path / "run.json"))
        except json.JSONDecodeError as error:
            raise RunError(f"{self.path / 'run.json'} is not JSON: {error}") from error
        if not isinstance(facts, dict) or "status" not in facts:
            raise RunError(f"{self.path / 'run.json'} is not the record of a run: it has no 'status'")
        return facts

    def recipe(self) -> dict[str, Any]:
        """The resolved recipe; raises `RunError` when it is missing or unreadable."""
        document = yaml12.read(read_text(self.path / "recipe.yaml"))
        if document.problems or not isinstance(document.value, dict):
            line, what = document.problems[0] if document.problems else (1, "it holds no mapping")
            raise RunError(f"{self.path / 'recipe.yaml'}:{line}: {what}")
        return document.value

    @property
    def policy_path(self) -> Path:
        """Where the trained policy is, in Hugging Face format."""
        return self.path / "policy"

    def update(self, **facts: Any) -> None:
        """Add to `run.json`, or change what is in it."""
        if not self.writer:
            return
        held = self.facts() if (self.path / "run.json").exists() else {}
        with writing(self.path):
            write_text(self.path / "run.json", json.dumps(held | facts, indent=2, default=str) + "\n")

    def in_whole(self, step: int) -> int:
        """The number of a step in the whole run, of which this may be a stage."""
        return step

    def finish(self, status: Status, **facts: Any) -> None:
        """Close the run as "finished", "interrupted" or "failed", with more facts, and close its loggers."""
        if self.writer:
            self.update(status=status, ended=_now(), seconds=self.seconds, **facts)
            for logger in self.loggers:
                logger.finish(status)
            self._release()

    def plot(self) -> Path:
        """Draw the reward curve from `metrics.jsonl`; returns the picture's path. Raises `MissingLibrary`."""
        out = self.path / "plots" / "reward.png"
        with writing(self.path):
            out.parent.mkdir(parents=True, exist_ok=True)
            plots.reward_curve(self.read_metrics(), out, title=f"Run {self.path.resolve().name}")
        return out


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _taken(folder: Path, held: str) -> RunError:
    return RunError(f"{folder} already holds a run ({held}): choose another folder, or remove this one")
