"""The run folder: what was run, what it was run with, and everything it measured.

- `recipe.yaml`: the resolved recipe; loading it gives an equal recipe
- `run.json`: status, times, seed, versions, platform, fingerprints
- `metrics.jsonl`: a line per log, with its step, seconds since the start, and metrics
- `rollouts.jsonl`: a line per rollout that was logged
- `policy/`: the policy in Hugging Face format
- `eval/`: evaluations
- `plots/`: pictures
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from recr1 import plots, yaml12
from recr1.errors import RunError, UserError
from recr1.provenance import surroundings
from rewards.base import Search

if TYPE_CHECKING:
    from collections.abc import Iterator

    from recr1.env import Step
    from recr1.loggers import Logger

Status: TypeAlias = Literal["running", "finished", "interrupted", "failed"]

_MARKS = ("run.json", "recipe.yaml", "metrics.jsonl")
"""Files that a folder with a run holds from the start."""
_RESERVED = ("step", "time")


class Run:
    """A run folder, open for writing in one process and for reading in any.

    Under several processes each makes its `Run`, and the one with `writer=True` (rank 0) writes; on the others every
    writing method does nothing, so that the code that trains need not ask.
    """

    def __init__(self, path: Path, *, writer: bool, loggers: Sequence[Logger] = ()) -> None:
        """Bind a folder; use `Run.create` or `Run.open`."""
        self.path, self.writer, self.loggers = path, writer, tuple(loggers) if writer else ()
        self._start = monotonic()

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
            run._start_loggers(recipe)
        return run

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

    def _start_loggers(self, recipe: Mapping[str, Any]) -> None:
        try:
            for logger in self.loggers:
                logger.start(self.path, recipe)
        except UserError:
            # Nothing has run yet: give the folder back, so that the corrected launch can use it.
            for name in _MARKS:
                (self.path / name).unlink(missing_ok=True)
            raise

    def facts(self) -> dict[str, Any]:
        """The content of `run.json`; raises `RunError` when it is missing or unreadable."""
        try:
            facts = json.loads(self._read("run.json"))
        except json.JSONDecodeError as error:
            raise RunError(f"{self.path / 'run.json'} is not JSON: {error}") from error
        if not isinstance(facts, dict) or "status" not in facts:
            raise RunError(f"{self.path / 'run.json'} is not the record of a run: it has no 'status'")
        return facts

    def recipe(self) -> dict[str, Any]:
        """The resolved recipe; raises `RunError` when it is missing or unreadable."""
        document = yaml12.read(self._read("recipe.yaml"))
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

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Append a line to `metrics.jsonl` and hand the numbers to every logger.

        Names are free but for "step" and "time". The house uses `train/...` for a training step (`train/reward` is
        shaped by the recipe's weights) and `eval/<split>/<measure>` for the true measures. A number that is not finite
        is written as null.
        """
        if not self.writer:
            return
        if reserved := [name for name in _RESERVED if name in metrics]:
            raise ValueError(f"metric name {reserved[0]!r} is taken: metrics.jsonl uses it for itself")
        numbers = {name: float(value) for name, value in metrics.items()}
        plain = {name: _number(value) for name, value in numbers.items()}
        self._append("metrics.jsonl", [{"step": step, "time": round(monotonic() - self._start, 3), **plain}])
        for logger in self.loggers:
            logger.log(step, numbers)

    def log_rollouts(self, step: int, result: Step) -> None:
        """Append every rollout of a step to `rollouts.jsonl`: what was written, what it meant, found and earned."""
        if self.writer:
            self._append("rollouts.jsonl", [_rollout(step, result, row) for row in range(len(result.batch))])

    def read_metrics(self) -> list[dict[str, Any]]:
        """The lines of `metrics.jsonl`, in order. A torn last line, left by a killed run, is dropped.

        Raises:
            RunError: When the file is missing, or any other line is broken.
        """
        return self._read_lines("metrics.jsonl")

    def read_rollouts(self) -> list[dict[str, Any]]:
        """The lines of `rollouts.jsonl`, under the rules of `read_metrics`."""
        return self._read_lines("rollouts.jsonl")

    def finish(self, status: Status, **facts: Any) -> None:
        """Close the run as "finished", "interrupted" or "failed", with more facts, and close its loggers."""
        if self.writer:
            self.update(status=status, ended=_now(), seconds=round(monotonic() - self._start, 3), **facts)
            for logger in self.loggers:
                logger.finish(status)

    def plot(self) -> Path:
        """Draw the reward curve from `metrics.jsonl`; returns the picture's path. Raises `MissingLibrary`."""
        out = self.path / "plots" / "reward.png"
        with writing(self.path):
            out.parent.mkdir(parents=True, exist_ok=True)
            plots.reward_curve(self.read_metrics(), out, title=f"Run {self.path.resolve().name}")
        return out

    def _append(self, name: str, records: Sequence[Mapping[str, Any]]) -> None:
        text = "".join(json.dumps(record) + "\n" for record in records)
        with writing(self.path), (self.path / name).open("a", encoding="utf-8") as file:
            file.write(text)

    def _read(self, name: str) -> str:
        try:
            return (self.path / name).read_text(encoding="utf-8")
        except FileNotFoundError as error:
            raise RunError(f"{self.path} is no run folder: it holds no {name}") from error
        except (OSError, UnicodeDecodeError) as error:
            raise RunError(f"{self.path / name} cannot be read: {error}") from error

    def _read_lines(self, name: str) -> list[dict[str, Any]]:
        *lines, _torn = self._read(name).split("\n")
        records = []
        for number, line in enumerate(lines, start=1):
            try:
                records.append(json.loads(line))
            except json.JSONDecodeError as error:
                raise RunError(f"{self.path / name}:{number}: a broken line: {error}") from error
        return records


def _rollout(step: int, result: Step, row: int) -> dict[str, Any]:
    rollout = result.batch.rollouts[row]
    action = rollout.action
    relevant_K = result.batch.graded.grades_BK[row] > 0
    return {
        "step": step,
        "need": rollout.need.id,
        "completion": rollout.completion,
        **({"query": action.query} if isinstance(action, Search) else {"invalid": action.reason}),
        "outcome": result.outcomes[row],
        "parts": {name: _number(values[row]) for name, values in result.parts.items()},
        "reward": _number(result.rewards[row]),
        "first_relevant": int(np.argmax(relevant_K)) + 1 if relevant_K.any() else None,
    }


def _number(value: float) -> float | None:
    """For JSON, which has no word for a number that is not there."""
    return float(value) if math.isfinite(value) else None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def write_text(path: Path, text: str) -> None:
    """Write a file, or replace it, in one move, so that a reader, or a crash, never meets half of it."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Says which folder it was when the disk is full or the folder cannot be written."""
    try:
        yield
    except OSError as error:
        raise RunError(f"{path} cannot be written: {error.strerror or error} (choose another folder)") from error


def _taken(folder: Path, held: str) -> RunError:
    return RunError(f"{folder} already holds a run ({held}): choose another folder, or remove this one")
