"""What a run wrote and kept: the rollouts of its training, and the completions of its evaluations."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from recr1.errors import RunError
from recr1.judge.stats import Doubles
from recr1.runs import Run
from recr1.runs.files import read_lines, read_text

TRAINING = "training"
REWARD = "reward"
"""The name under which a record keeps its weighted reward."""


@dataclass(frozen=True)
class Written:
    """B completions in their order."""

    name: str
    """`training`, or of an evaluation its split and policy: `test/trained`."""
    steps: Sequence[int]
    """(B,) the training steps; 0 for all of an evaluation."""
    needs: Sequence[str]
    """(B,) ids."""
    completions: Sequence[str]
    saved: Mapping[str, Doubles]
    """Name of a reward's part or of a measure -> (B,) what it was then; NaN where that was not kept."""

    def __len__(self) -> int:
        return len(self.needs)

    def of(self, rows: Sequence[int]) -> Written:
        """Some of them."""
        at = np.asarray(rows, np.intp)
        kept = {name: values[at] for name, values in self.saved.items()}
        columns = [[column[row] for row in rows] for column in (self.needs, self.completions)]
        return Written(self.name, [self.steps[row] for row in rows], columns[0], columns[1], kept)


def read_written(run: Run) -> list[Written]:
    """The rollouts of training, then each evaluation; `RunError` for a run that kept neither, or a broken file."""
    found = [_training(run.path / "rollouts.jsonl")]
    found += [_evaluation(file) for file in sorted((run.path / "eval").rglob("eval.json"))]
    found = [written for written in found if len(written)]
    if not found:
        raise RunError(f"{run.path} kept no completions: set trainer.rollouts_every, or run recr1 eval {run.path}")
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
    """Each completion of a need with its measures; a single one has the need's own."""
    own = {name: values["policy"] for name, values in line["measures"].items()}
    for sample in line.get("samples", [{"completion": line["completion"], **own}]):
        yield str(sample["completion"]), {name: sample.get(name) for name in own}


def _texts(lines: Sequence[Mapping[str, Any]]) -> list[str]:
    return [str(line["completion"]) for line in lines]


def _columns(kept: Sequence[Mapping[str, Any]]) -> dict[str, Doubles]:
    names = dict.fromkeys(name for values in kept for name in values)
    nan = float("nan")

    def column(name: str) -> Iterator[float]:
        for values in kept:
            value = values.get(name)
            yield nan if value is None else float(value)

    return {name: np.fromiter(column(name), np.float64, len(kept)) for name in names}


@contextmanager
def _whole(path: Path) -> Iterator[None]:
    """Says which file is not as recr1 writes it."""
    try:
        yield
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
        raise RunError(f"{path} is not as recr1 writes it: {type(error).__name__}: {error}") from error
