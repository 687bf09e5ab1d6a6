"""The completions that a run saved, from training and evaluations, and how they are scored again."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from recr1.env import Environment
from recr1.errors import RunError
from recr1.evaluate.evaluator import complete_step
from recr1.evaluate.references import Progress, References
from recr1.judge.stats import Doubles
from recr1.runs import Run
from recr1.runs.files import read_lines, read_text
from retrievers.base import Floats
from rewards.measures import Measure

CHUNK = 512  # completions per search
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
    needs: Sequence[str]  # (B,) ids
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
    found += [read_evaluation(file) for file in sorted((run.path / "eval").rglob("eval.json"))]
    found = [one for one in found if len(one)]
    if not found:
        raise RunError(f"{run.path} has no completions: set trainer.rollouts_every, or run recr1 eval {run.path}")
    return found


def _training(path: Path) -> Written:
    lines = read_lines(path) if path.exists() else []
    with _whole(path):
        saved = [{**line["parts"], REWARD: line["reward"]} for line in lines]
        places = [(int(line["step"]), line["need"], str(line["completion"])) for line in lines]
        return _written(TRAINING, places, saved)


def read_evaluation(file: Path) -> Written:
    """The completions of an evaluation, from the folder of its `eval.json`."""
    path = file.with_name("per_need.jsonl")
    places, saved = [], []
    with _whole(path):
        summary = json.loads(read_text(file))
        for line in read_lines(path):
            own = {name: values["policy"] for name, values in line["measures"].items()}
            for sample in line.get("samples", [{"completion": line["completion"], **own}]):
                places.append((0, line["need"], str(sample["completion"])))
                saved.append({name: sample.get(name) for name in own})
        return _written(f"{summary['split']}/{summary['policy']}", places, saved)


def answers_of(run: Run, split: str, origin: Mapping[str, Any]) -> dict[str, str]:
    """Need id -> greedy completion of an evaluation of the run's policy as it is now; none where it is of another one.

    Raises `RunError` if a file is broken.
    """
    for file in sorted((run.path / "eval" / split).rglob("eval.json")):
        with _whole(file):
            summary = json.loads(read_text(file))
            greedy = summary["policy"] == "trained" and not summary["samples"]
        if greedy and summary.get("origin") == origin:
            written = read_evaluation(file)
            return dict(zip(written.needs, written.completions, strict=True))
    return {}


def _written(name: str, places: Sequence[tuple[int, str, str]], saved: Sequence[Mapping[str, Any]]) -> Written:
    steps, needs, texts = zip(*places, strict=True) if places else ((), (), ())
    names = dict.fromkeys(name for values in saved for name in values)
    # None becomes NaN.
    columns = {name: np.array([values.get(name) for values in saved], np.float64) for name in names}
    return Written(name, steps, needs, texts, columns)


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
    outcomes: Sequence[str]  # (B,) "ok", "no_hits" or "invalid"
    first_relevant: Sequence[int | None]
    """(B,) the rank of the first relevant item."""


def score(
    env: Environment, references: References, measures: Sequence[Measure], written: Written, progress: Progress | None
) -> Scored:
    """Parse and search completions of needs that are in the references.

    Raises `MissingAnswers` if the retriever does not answer some query after retries.
    """
    row_of = {need.id: row for row, need in enumerate(references.needs)}
    rows_B = [row_of[need] for need in written.needs]
    needs = [references.needs[row] for row in rows_B]
    values: dict[str, list[Floats]] = {measure.name: [] for measure in measures}
    rewards, outcomes, first = [], [], []
    for start in range(0, len(needs), CHUNK):
        chunk, texts = needs[start : start + CHUNK], written.completions[start : start + CHUNK]
        step = complete_step(env, chunk, env.prompts(chunk), texts)
        for measure in measures:
            values[measure.name].append(measure.of(step.batch.graded))
        rewards.append(step.rewards)
        outcomes += step.outcomes
        first += [rank or None for rank in step.batch.graded.first_relevant.tolist()]
        if progress:
            progress(start + len(chunk), len(needs))
    return Scored(
        {name: np.concatenate(parts).astype(np.float64) for name, parts in values.items()},
        {name: bound[rows_B].astype(np.float64) for name, bound in references.floor.items()},
        {name: bound[rows_B].astype(np.float64) for name, bound in references.ceiling.items()},
        np.concatenate(rewards).astype(np.float64),
        outcomes,
        first,
    )
