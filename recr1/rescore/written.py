"""The completions that a run saved, from training and evaluations, and how they are scored again."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recr1.env import Environment, chat_with
from recr1.errors import RunError
from recr1.evaluate import find_references
from recr1.evaluate.references import AGAIN, Progress
from recr1.judge.stats import Doubles
from recr1.runs import Run
from recr1.runs.files import read_lines, read_text
from retrievers.errors import MissingAnswers
from rewards.base import Need
from rewards.measures import Measure

CHUNK = 512
"""Completions per search."""
TRAINING = "training"
REWARD = "reward"
"""The name of the weighted reward among the saved numbers."""


@dataclass(frozen=True)
class Written:
    """B completions in their order."""

    name: str
    """`training`, or split and policy of an evaluation: `test/trained`."""
    steps: Sequence[int]
    """(B,) training steps; 0 in an evaluation."""
    needs: Sequence[str]
    """(B,) ids."""
    completions: Sequence[str]
    saved: Mapping[str, Doubles]
    """Name of a reward or a measure -> (B,) its value at that time; NaN where it was not saved."""

    def __len__(self) -> int:
        return len(self.needs)

    def of(self, rows: Sequence[int]) -> Written:
        """Some of them."""
        needs, completions = ([column[row] for row in rows] for column in (self.needs, self.completions))
        saved = {name: values[list(rows)] for name, values in self.saved.items()}
        return Written(self.name, [self.steps[row] for row in rows], needs, completions, saved)


def read_written(run: Run) -> list[Written]:
    """The rollouts of training, then each evaluation; `RunError` if the run has neither, or a file is broken."""
    found = [_training(run.path / "rollouts.jsonl")]
    found += [_evaluation(file) for file in sorted((run.path / "eval").rglob("eval.json"))]
    found = [one for one in found if len(one)]
    if not found:
        raise RunError(f"{run.path} has no completions: set trainer.rollouts_every, or run recr1 eval {run.path}")
    return found


def _training(path: Path) -> Written:
    lines = read_lines(path) if path.exists() else []
    with _whole(path):
        kept = [{**line["parts"], REWARD: line["reward"]} for line in lines]
        steps = [int(line["step"]) for line in lines]
        return Written(TRAINING, steps, [line["need"] for line in lines], _texts(lines), _columns(kept))


def _evaluation(file: Path) -> Written:
    path = file.with_name("per_need.jsonl")
    with _whole(path):
        summary = json.loads(read_text(file))
        lines = read_lines(path)
        rows = [(line["need"], *one) for line in lines for one in _completions(line)]
        name = f"{summary['split']}/{summary['policy']}"
    kept = _columns([values for _, _, values in rows])
    return Written(name, [0] * len(rows), [need for need, _, _ in rows], [text for _, text, _ in rows], kept)


def _completions(line: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each completion of a need with its measures; if there is one, its measures are those of the need."""
    own = {name: values["policy"] for name, values in line["measures"].items()}
    for sample in line.get("samples", [{"completion": line["completion"], **own}]):
        yield str(sample["completion"]), {name: sample.get(name) for name in own}


def _texts(lines: Sequence[Mapping[str, Any]]) -> list[str]:
    return [str(line["completion"]) for line in lines]


def _columns(saved: Sequence[Mapping[str, Any]]) -> dict[str, Doubles]:
    names = dict.fromkeys(name for values in saved for name in values)
    return {name: np.array([values.get(name) for values in saved], np.float64) for name in names}  # None becomes NaN


@contextmanager
def _whole(path: Path) -> Iterator[None]:
    """Name the file that does not have the expected keys."""
    try:
        yield
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
        raise RunError(f"{path} is not as recr1 writes it: {type(error).__name__}: {error}") from error


@dataclass(frozen=True)
class Scored:
    """What B completions find in an environment, with floor and ceiling of their needs."""

    values: Mapping[str, Doubles]
    """Measure -> (B,), as `floor` and `ceiling`."""
    floor: Mapping[str, Doubles]
    ceiling: Mapping[str, Doubles]
    rewards: Doubles
    """(B,) the weighted reward of the recipe."""
    outcomes: Sequence[str]
    """(B,) "ok", "no_hits" or "invalid"."""
    first_relevant: Sequence[int | None]
    """(B,) the rank of the first relevant item."""


class CompletionScorer:
    """Scores completions in one environment."""

    def __init__(
        self, env: Environment, measures: Sequence[Measure], needs: Sequence[str], progress: Progress | None = None
    ) -> None:
        """Search floor and ceiling of the needs, without those that the task does not have.

        Raises `RunError` if it has none of them.
        """
        found = [need for name in dict.fromkeys(needs) if (need := _need(env, name))]
        if not found:
            raise RunError(f"the task has none of the run's needs, such as {needs[0]!r}: is it another task?")
        self._env, self._measures = env, measures
        self._row_of = {need.id: row for row, need in enumerate(found)}
        self._references = find_references(env, found, measures, progress)

    def __contains__(self, need: str) -> bool:
        return need in self._row_of

    def __call__(self, written: Written, progress: Progress | None = None) -> Scored:
        """Parse and search completions of needs that the task has.

        Raises `MissingAnswers` if the retriever does not answer some query after retries.
        """
        env, needs = self._env, [self._env.need(need) for need in written.needs]
        values: dict[str, list[NDArray[np.floating]]] = {measure.name: [] for measure in self._measures}
        rewards, outcomes, first = [], [], []
        for start in range(0, len(needs), CHUNK):
            chunk, texts = needs[start : start + CHUNK], written.completions[start : start + CHUNK]
            chats = [chat_with(prompt, text) for prompt, text in zip(env.prompts(chunk), texts, strict=True)]
            step = env.step(chunk, chats, again=AGAIN)
            if step.faults:
                raise MissingAnswers(step.batch.hits, step.faults)
            for measure in self._measures:
                values[measure.name].append(measure.of(step.batch.graded))
            rewards.append(step.rewards)
            outcomes += step.outcomes
            first += [next(iter(np.flatnonzero(grades_K > 0) + 1), None) for grades_K in step.batch.graded.grades_BK]
            if progress:
                progress(start + len(chunk), len(needs))
        rows_B = [self._row_of[need] for need in written.needs]
        return Scored(
            values={name: np.concatenate(parts).astype(np.float64) for name, parts in values.items()},
            floor={name: bound[rows_B].astype(np.float64) for name, bound in self._references.floor.items()},
            ceiling={name: bound[rows_B].astype(np.float64) for name, bound in self._references.ceiling.items()},
            rewards=np.concatenate(rewards).astype(np.float64),
            outcomes=outcomes,
            first_relevant=[None if rank is None else int(rank) for rank in first],
        )


def _need(env: Environment, name: str) -> Need | None:
    try:
        return env.need(name)
    except KeyError:
        return None
