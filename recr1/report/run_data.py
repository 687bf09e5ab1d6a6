"""The files of a run folder, finished or not, as a report reads them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from recr1.errors import RunError
from recr1.evaluate.files import escaped
from recr1.judge.stats import Doubles
from recr1.runs import Run
from recr1.runs.files import read_lines, read_text

SPLITS = ("test", "validation", "train")
"""Order of preference: first the split that nothing was chosen on."""


@dataclass(frozen=True)
class EvaluatedPolicy:
    """A policy on the needs of a split: the files that `recr1 eval` wrote."""

    summary: Mapping[str, Any]  # `eval.json`
    lines: Sequence[Mapping[str, Any]]  # `per_need.jsonl`: a line for each need
    relevant: Mapping[str, int]
    """Need -> number of relevant items; empty without answer keys."""
    folder: str = ""  # its folder, below the run folder

    @property
    def policy(self) -> str:
        """The name of the policy."""
        return str(self.summary["policy"])

    @property
    def split(self) -> str:
        """The split of the needs."""
        return str(self.summary["split"])

    @property
    def measures(self) -> list[str]:
        """Names of the measures, the main one first."""
        return list(self.summary["measures"])

    @cached_property
    def needs(self) -> list[str]:
        """(N,) the ids of the needs."""
        return [line["need"] for line in self.lines]

    def values(self, measure: str, system: str = "policy") -> Doubles:
        """(N,) a measure of the policy, of the "floor" or of the "ceiling"."""
        return np.array([line["measures"][measure][system] for line in self.lines], np.float64)

    @property
    def second(self) -> list[Mapping[str, Any]]:
        """The lines of the needs that the second opinion judges."""
        return [line for line in self.lines if "second" in line]


class SavedResult(NamedTuple):
    """A file that another command wrote into the run folder."""

    file: str  # its path, below the run folder
    content: Mapping[str, Any]


@dataclass(frozen=True)
class RunData:
    """The content of a run folder."""

    path: Path
    facts: Mapping[str, Any]
    recipe: Mapping[str, Any]
    recipe_text: str
    metrics: Sequence[Mapping[str, Any]]
    alerts: Sequence[Mapping[str, Any]]
    rollouts: Sequence[Mapping[str, Any]]
    evaluated: Sequence[EvaluatedPolicy] = ()
    compared: Sequence[SavedResult] = ()  # `compare.json` of `recr1 compare`
    swapped: Sequence[SavedResult] = ()  # `swap.json` of `recr1 eval --retrievers`
    rescored: Sequence[SavedResult] = ()  # `rescore.json` of `recr1 rescore`

    @property
    def name(self) -> str:
        """The name of the run: its folder."""
        return self.path.resolve().name

    @property
    def steps(self) -> int:
        """The last step that was logged."""
        return max((int(line["step"]) for line in self.metrics), default=0)


def read_run(path: str | Path) -> RunData:
    """Read a run folder; `RunError` for a folder without a run, or a file with a broken line.

    Files that the run has not written yet are empty.
    """
    run = Run.open(path)
    return RunData(
        run.path,
        run.facts(),
        run.recipe(),
        read_text(run.path / "recipe.yaml"),
        metrics=_lines(run.path / "metrics.jsonl", "step"),
        alerts=_lines(run.path / "alerts.jsonl", "step"),
        rollouts=_lines(run.path / "rollouts.jsonl", "step"),
        evaluated=[_evaluated(file.parent, run.path) for file in sorted((run.path / "eval").rglob("eval.json"))],
        compared=_saved(run.path, "compare", "compare.json"),
        swapped=_saved(run.path, "eval", "swap.json"),
        rescored=_saved(run.path, "rescored", "rescore.json"),
    )


def _saved(home: Path, folder: str, name: str) -> list[SavedResult]:
    """Every file of a name below a folder of the run; `RunError` for one that is not JSON."""
    found = []
    for file in sorted((home / folder).rglob(name)):
        try:
            content = json.loads(read_text(file))
        except json.JSONDecodeError as error:
            raise RunError(f"{file} is not JSON: {error} (write it again, or remove it)") from error
        if not isinstance(content, dict):
            raise RunError(f"{file} must be a JSON object (write it again, or remove it)")
        found.append(SavedResult(str(file.relative_to(home)), content))
    return found


def _lines(path: Path, key: str) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    lines = read_lines(path)
    for number, line in enumerate(lines, start=1):
        if not isinstance(line, dict) or key not in line:
            raise RunError(f"{path}:{number}: no '{key}' in this line (was the file edited?)")
    return lines


def _evaluated(folder: Path, home: Path) -> EvaluatedPolicy:
    """One evaluation; `RunError` if its files do not match."""
    try:
        summary = json.loads(read_text(folder / "eval.json"))
        measures = set(summary["measures"])
        lines = _lines(folder / "per_need.jsonl", "need")
        complete = all(measures <= set(line["measures"]) for line in lines)
        matching = {summary["policy"], summary["split"]} and complete and len(lines) == summary["needs"]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise RunError(f"{folder} is not a complete evaluation: {error} (write it again with recr1 eval)") from error
    if not matching:
        what = "eval.json and per_need.jsonl are not of one evaluation"
        raise RunError(f"{folder}: {what} (write it again with recr1 eval)")
    relevant: dict[str, int] = {}
    if (folder / "qrels.trec").exists():
        keys = [line.split() for line in read_text(folder / "qrels.trec").splitlines()]
        counts = Counter(need for need, _, _, grade in keys if int(grade) > 0)
        relevant = {line["need"]: counts[escaped(line["need"])] for line in lines}
    return EvaluatedPolicy(summary, lines, relevant, str(folder.relative_to(home)))


def first_rank(line: Mapping[str, Any]) -> int | None:
    """The rank of the first relevant item, from a line of `per_need.jsonl`; None without one."""
    return next(iter(line.get("relevant_ranks", ())), None)
