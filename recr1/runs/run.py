"""The run folder, whose files docs/runs.md describes, and runs as the command line names them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from recr1.config import yaml12
from recr1.config.build import Part
from recr1.errors import RunError, UserError
from recr1.loggers import Logger, SupportsResume
from recr1.policies.adapters import with_weights
from recr1.recipe import Recipe, find_recipe, load_recipe, shipped_recipes
from recr1.runs import plots
from recr1.runs.files import keep_lines, read_text, runs_here, write_text, writing
from recr1.runs.provenance import surroundings
from recr1.runs.recording import FILES, Recording
from retrievers.errors import redacted
from retrievers.options import did_you_mean

if TYPE_CHECKING:
    from filelock import BaseFileLock

Status: TypeAlias = Literal["running", "finished", "interrupted", "failed"]

_MARKS = ("run.json", "recipe.yaml", "metrics.jsonl")
"""Files of a run from its start."""


class Run(Recording):
    """A run folder, open for writing in one process and for reading in any.

    Each of several processes makes its `Run`. Only the one with `writer=True` (rank 0) writes; in the others every
    writing method does nothing.
    """

    def __init__(self, path: Path, *, writer: bool, loggers: Sequence[Logger] = ()) -> None:
        """Use `Run.create`, `Run.resume` or `Run.open`."""
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
        """Start a run in a new folder, or in one without a run, and start its loggers.

        `recipe` is resolved, of plain YAML values. `facts` are more for `run.json`: seed, fingerprints, world size.
        Raises `RunError` when the folder has a run already, or cannot be written.
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
                run._abandon()
                raise
        return run

    @classmethod
    def resume(
        cls, path: str | Path, facts: Mapping[str, Any], *, writer: bool = True, loggers: Sequence[Logger] = ()
    ) -> Run:
        """Resume a run that is not finished, with its own recipe, and start its loggers.

        `facts` must not have changed since it started: seed, fingerprints, number of processes. Raises `RunError` when
        one has, and when there is no run, it is finished, or another process trains it.
        """
        run = cls.open(path)
        run.writer, run.loggers, run.resumed = writer, tuple(loggers) if writer else (), True
        before = run.facts()
        run.check_unfinished(before)
        changed = [name for name in facts if name in before and before[name] != facts[name]]
        if changed:
            was, now = (", ".join(f"{name} {source[name]}" for name in changed) for source in (before, facts))
            raise RunError(f"{run.path} cannot be resumed: it started with {was}, and now it is {now}")
        if writer:
            run._lock_folder()
            lines = run.read_metrics()
            run._before = float(lines[-1]["time"]) if lines else 0.0
            again = {"at": _now(), "status": before["status"], **surroundings()}
            run.update(status="running", ended=None, error=None, resumed=[*before.get("resumed", []), again])
            run._start_loggers(run.recipe())
        return run

    def check_unfinished(self, facts: Mapping[str, Any] | None = None) -> None:
        """Raises `RunError` for a finished run, which cannot be resumed."""
        if (facts or self.facts())["status"] == "finished":
            raise RunError(
                f"{self.path} has a finished run already: choose another folder, or evaluate it: recr1 eval {self.path}"
            )

    def rewind(self, step: int) -> None:
        """Delete what was logged after the step that the run resumes from; -1 for everything."""
        if self.writer:
            with writing(self.path):
                for name in FILES:
                    keep_lines(self.path / name, lambda record: record["step"] <= step)
            self.update(resumed_after=max(step, 0))
            lines = self.read_metrics()
            for logger in self.loggers:
                if isinstance(logger, SupportsResume):
                    logger.resume(step, lines)

    def _lock_folder(self) -> None:
        """Keep other processes from training this run; the system unlocks it when this one dies."""
        from filelock import FileLock, Timeout

        self._lock = FileLock(self.path / ".lock")
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise RunError(f"{self.path} is being trained by another process") from None

    def _unlock_folder(self) -> None:
        if self._lock:
            self._lock.release()
            (self.path / ".lock").unlink(missing_ok=True)

    @classmethod
    def open(cls, path: str | Path) -> Run:
        """An existing run, for reading; raises `RunError` when the folder has none."""
        run = cls(Path(path).expanduser(), writer=False)
        if not run.path.is_dir():
            raise RunError(f"there is no run folder '{path}' ({_listed(runs_here(run.path.parent))})")
        run.facts()
        run.recipe()
        return run

    @staticmethod
    def prepare(path: str | Path) -> Path:
        """Make a folder for a run before anything heavy loads; `RunError` when it has one or cannot be written."""
        folder = Path(path).expanduser()
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            mark = next((name for name in _MARKS if (folder / name).exists()), None)
        if mark is not None:
            raise _taken(folder, mark)
        return folder

    def _claim(self) -> None:
        """Take the folder: of two runs started at the same time, only one can create metrics.jsonl."""
        self.prepare(self.path)
        with writing(self.path):
            try:
                (self.path / "metrics.jsonl").open("x").close()
            except FileExistsError:
                raise _taken(self.path, "metrics.jsonl") from None
            self._lock_folder()

    def _start_loggers(self, recipe: Mapping[str, Any]) -> None:
        for logger in self.loggers:
            logger.start(self.path, recipe)

    def _abandon(self) -> None:
        """Remove the files of a run that did not start, so that the next launch can use the folder."""
        self._unlock_folder()
        for name in _MARKS:
            (self.path / name).unlink(missing_ok=True)

    def facts(self) -> dict[str, Any]:
        """The content of `run.json`; raises `RunError` when it is missing or unreadable."""
        try:
            facts = json.loads(read_text(self.path / "run.json"))
        except json.JSONDecodeError as error:
            raise RunError(f"{self.path / 'run.json'} is not JSON: {error}") from error
        if not isinstance(facts, dict) or "status" not in facts:
            raise RunError(f"{self.path / 'run.json'} is not of a run: it has no 'status'")
        return facts

    def recipe(self) -> dict[str, Any]:
        """The resolved recipe; raises `RunError` when it is missing or unreadable."""
        document = yaml12.read(read_text(self.path / "recipe.yaml"))
        if document.problems or not isinstance(document.value, dict):
            line, what = document.problems[0] if document.problems else (1, "must be a mapping")
            raise RunError(f"{self.path / 'recipe.yaml'}:{line}: {what}")
        return document.value

    @property
    def policy_path(self) -> Path:
        """Where the trained policy is, in Hugging Face format."""
        return self.path / "policy"

    def update(self, **facts: Any) -> None:
        """Add or change facts in `run.json`."""
        if not self.writer:
            return
        known = self.facts() if (self.path / "run.json").exists() else {}
        with writing(self.path):
            write_text(self.path / "run.json", json.dumps(known | facts, indent=2, default=str) + "\n")

    def global_step(self, step: int) -> int:
        """The number of a step in the whole run, of which this may be one stage."""
        return step

    def finish(self, status: Status, **facts: Any) -> None:
        """Close the run as "finished", "interrupted" or "failed", with more facts, and close its loggers."""
        if self.writer:
            facts = {name: redacted(value) if isinstance(value, str) else value for name, value in facts.items()}
            self.update(status=status, ended=_now(), seconds=self.seconds, **facts)
            for logger in self.loggers:
                logger.finish(status)
            self._unlock_folder()

    def plot(self) -> Path:
        """Draw the reward curve from `metrics.jsonl`; returns the path of the PNG. Raises `MissingLibrary`."""
        out = self.path / "plots" / "reward.png"
        with writing(self.path):
            out.parent.mkdir(parents=True, exist_ok=True)
            plots.reward_curve(self.read_metrics(), out, title=f"Run {self.path.resolve().name}")
        return out


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _taken(folder: Path, mark: str) -> RunError:
    return RunError(f"{folder} has a run already ({mark}): choose another folder, or remove this one")


def _listed(runs: Sequence[str]) -> str:
    return f"runs here: {', '.join(runs)}" if runs else "no runs here"


def find_target(name: str) -> Path:
    """The folder of a run, or the file of a recipe; raises `UserError` that lists the runs if it is neither."""
    path = Path(name).expanduser()
    if path.is_dir() or path.exists() or path.suffix in (".yaml", ".yml") or name in shipped_recipes():
        return path if path.is_dir() else find_recipe(name)
    here = runs_here(path.parent)
    hint = did_you_mean(name, [*shipped_recipes(), *here])
    raise UserError(f"there is no run folder or recipe '{name}'{hint} ({_listed(here)}; 'recr1 ls' lists recipes)")


def open_target(name: str, overrides: Sequence[str] = ()) -> tuple[Recipe, Run | None]:
    """The recipe of a file or of a run folder, with overrides, and the run; raises `UserError` as `find_target`."""
    path = find_target(name)
    if not path.is_dir():
        return load_recipe(path, overrides), None
    run = Run.open(path)
    return load_recipe(run.path / "recipe.yaml", overrides), run


def trained_part(run: Run, policy: Part) -> Part:
    """The policy of a run's recipe with the weights that the run trained; raises `RunError` if there are none yet."""
    if not (run.policy_path / "config.json").is_file():
        raise RunError(f"{run.path} has no trained policy yet ({run.policy_path} is missing): finish the run first")
    return with_weights(policy, run.policy_path)
