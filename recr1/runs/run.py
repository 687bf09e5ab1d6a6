"""The run folder, whose files docs/runs.md describes."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from recr1.config import yaml12
from recr1.errors import RunError, UserError
from recr1.loggers import Logger, SupportsResume
from recr1.runs import plots
from recr1.runs.claim import LOCK, MARKS, lock, prepare
from recr1.runs.files import (
    keep_lines,
    listed,
    read_text,
    recover_folder,
    remove_folder,
    runs_here,
    write_text,
    writing,
)
from recr1.runs.provenance import Changed, changes, surroundings
from recr1.runs.recording import FILES, Recording, sizes
from retrievers.errors import redacted
from retrievers.store import expanded

if TYPE_CHECKING:
    from filelock import BaseFileLock

Status: TypeAlias = Literal["running", "finished", "interrupted", "failed"]

POLICY_CARD = "recr1.json"
"""The file in the folder of a policy that says of which step it is and how it was chosen."""


class Run(Recording):
    """A run folder, open for writing in one process and for reading in any.

    Each of several processes makes its `Run`. Only the one with `writer=True` (rank 0) writes; in the others every
    writing method does nothing.
    """

    def __init__(self, path: Path, *, writer: bool, loggers: Sequence[Logger] = ()) -> None:
        """Use `Run.create`, `Run.resume` or `Run.open`."""
        super().__init__(path, writer=writer, loggers=loggers)
        self.resumed = False
        self._unneeded: list[Path] = []
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
        run = cls(expanded(path), writer=writer, loggers=loggers)
        if writer:
            text = yaml12.write(dict(recipe))
            prepare(run.path, recipe)
            with writing(run.path):
                run._lock = lock(run.path)
                prepare(run.path, recipe)  # another process may have begun one meanwhile
                write_text(run.path / "recipe.yaml", text)
                write_text(run.path / "metrics.jsonl", "")
            begun = {"status": "running", "started": _now(), "ended": None, "recipe": dict(recipe)}
            run.update(**{**begun, **surroundings(), **facts})
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
        """Resume a run with its own recipe, and start its loggers; of a finished one, only what it left is cleaned up.

        `facts` must not have changed since it started: seed, fingerprints, number of processes. Raises `RunError` when
        one has, and when there is no run, or another process trains it.
        """
        run = cls.open(path)
        run.writer, run.loggers, run.resumed = writer, tuple(loggers) if writer else (), True
        before = run.facts()
        known = {name: before[name] for name in facts if name in before}
        changed = list(changes(known, {name: facts[name] for name in known}))
        if changed:
            was = ", ".join(f"{one.key} {one.before}" for one in changed)
            now = ", ".join(f"{one.key} {one.now}" for one in changed)
            raise RunError(f"{run.path} cannot be resumed: it started with {was}, and now it is {now}")
        if writer:
            run._lock = lock(run.path)
            for folder in (run.policy_path, run.policy_path.with_name("adapter")):
                recover_folder(folder)
            run._tidy()
            if run.finished:
                run._unlock_folder()
                return run
            run._before = float(before.get("seconds", 0.0))
            again = {"at": _now(), "status": before["status"], **surroundings()}
            run.update(status="running", ended=None, error=None, resumed=[*before.get("resumed", []), again])
            run._start_loggers(run.recipe())
        return run

    @property
    def finished(self) -> bool:
        """Whether the run has reached its end."""
        return bool(self.facts()["status"] == "finished")

    def check_unfinished(self) -> None:
        """Raises `RunError` for a finished run, which cannot be resumed."""
        if self.finished:
            raise RunError(
                f"{self.path} has a finished run already: choose another folder, or evaluate it: recr1 eval {self.path}"
            )

    def rewind(self, step: int, logged: Mapping[str, int] | None = None) -> None:
        """Delete what was logged after the step that the run resumes from; -1 for everything.

        `logged` has the sizes in bytes of the logs at its checkpoint: what comes after them is not even read.
        """
        if self.writer:
            with writing(self.path):
                for name, size in (logged or {}).items():
                    if (self.path / name).exists():
                        os.truncate(self.path / name, size)
                for name in FILES:
                    keep_lines(self.path / name, lambda record: record["step"] <= step)
            self.update(resumed_after=max(step, 0))
            lines = self.read_metrics()
            self._before = max([self._before, *(float(line["time"]) for line in lines[-1:])])
            for logger in self.loggers:
                if isinstance(logger, SupportsResume):
                    logger.resume(step, lines)

    def _unlock_folder(self) -> None:
        if self._lock:
            self._lock.release()
            (self.path / LOCK).unlink(missing_ok=True)

    @classmethod
    def open(cls, path: str | Path) -> Run:
        """An existing run, for reading; raises `RunError` when the folder has none."""
        run = cls(expanded(path), writer=False)
        if not run.path.is_dir():
            raise RunError(f"there is no run folder '{path}' ({listed(runs_here(run.path.parent))})")
        run.facts()
        run.recipe()
        return run

    def _start_loggers(self, recipe: Mapping[str, Any]) -> None:
        for logger in self.loggers:
            logger.start(self.path, recipe)

    def _abandon(self) -> None:
        """Remove the files of a run that did not start, so that the next launch can use the folder."""
        for name in MARKS:
            (self.path / name).unlink(missing_ok=True)
        self._unlock_folder()

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

    def recipe_changes(self, recipe: Mapping[str, Any]) -> list[Changed]:
        """How a resolved recipe differs from the one that the run started with, whatever `recipe.yaml` says by now."""
        return list(changes(self.facts().get("recipe", recipe), json.loads(json.dumps(recipe, default=str))))

    @property
    def policy_path(self) -> Path:
        """Where the trained policy is, in Hugging Face format."""
        return self.path / "policy"

    def policy_card(self) -> dict[str, Any] | None:
        """Of which step the policy in `policy_path` is, and how it was chosen; None where nothing says that."""
        try:
            card: dict[str, Any] = json.loads((self.policy_path / POLICY_CARD).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return card

    def unfinished(self) -> str | None:
        """What to know of the policy of a run that is not finished, in words; None for a finished run."""
        status = self.facts()["status"]
        if status == "finished":
            return None
        card = self.policy_card()
        of = f"after step {card['step']}" if card else "of an unknown step"
        return f"{self.path} is not finished (status: {status}): this is its policy {of}"

    def is_newer(self, card: Mapping[str, Any]) -> bool:
        """Whether a policy may replace the one that is there before the run is finished: a later one, or the best."""
        there = self.policy_card()
        later = not self.policy_path.exists() if there is None else card["step"] > there["step"]
        return bool(card["keep"] == "best" or later)

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
            ended = {"status": status, "ended": _now(), "seconds": self.seconds, **facts}
            self.complete(**ended, logged=sizes(self.path)) if status == "finished" else self.update(**ended)
            for logger in self.loggers:
                logger.finish(status)
            self._unlock_folder()

    def discard(self, *folders: Path) -> None:
        """Remove folders below this one, but not before `complete` says that nothing needs them any more."""
        self._unneeded += folders

    def complete(self, **facts: Any) -> None:
        """Record in `run.json` that something is complete, and only then remove what was there to resume from."""
        if self.writer:
            names = [str(folder.relative_to(self.path)) for folder in self._unneeded]
            self.update(removed=sorted({*self.facts().get("removed", ()), *names}), **facts)
            self._tidy()

    def _tidy(self) -> None:
        for left in (left for name in (*MARKS, *FILES) for left in self.path.glob(f".{name}.*.part")):
            left.unlink()  # of a process that was killed
        for name in self.facts().get("removed", ()):
            remove_folder(self.path / name)

    def plot(self) -> Path:
        """Draw the reward curve from `metrics.jsonl`; returns the path of the PNG. Raises `MissingLibrary`."""
        out = self.path / "plots" / "reward.png"
        with writing(self.path):
            out.parent.mkdir(parents=True, exist_ok=True)
            plots.reward_curve(self.read_metrics(), out, title=f"Run {self.path.resolve().name}")
        return out


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
