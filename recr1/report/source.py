"""What a report is made of: the files of a run folder, read as they are, finished or not."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from recr1.errors import RunError
from recr1.evaluate.report import escaped
from recr1.judge.stats import Doubles
from recr1.runs import Run
from recr1.runs.files import read_lines, read_text

SPLITS = ("test", "validation", "train")
"""The order in which splits are believed: what chose nothing first."""


@dataclass(frozen=True)
class Judged:
    """A policy on the needs of a split: the files that `recr1 eval` wrote."""

    summary: Mapping[str, Any]
    """`eval.json`."""
    lines: Sequence[Mapping[str, Any]]
    """`per_need.jsonl`: a line a need."""
    relevant: Mapping[str, int]
    """Need -> number of relevant items; empty where the answer keys are not there."""
    folder: str = ""
    """Where it was read, below the run folder."""

    @property
    def policy(self) -> str:
        """What the policy is called."""
        return str(self.summary["policy"])

    @property
    def split(self) -> str:
        """Whose needs they are."""
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


@dataclass(frozen=True)
class Kept:
    """What another command wrote into the run folder."""

    file: str
    """Where, below the run folder."""
    held: Mapping[str, Any]
    """Its content."""


@dataclass(frozen=True)
class Source:
    """A run folder, read."""

    path: Path
    facts: Mapping[str, Any]
    recipe: Mapping[str, Any]
    recipe_text: str
    metrics: Sequence[Mapping[str, Any]]
    alerts: Sequence[Mapping[str, Any]]
    rollouts: Sequence[Mapping[str, Any]]
    judged: Sequence[Judged] = field(default=())
    compared: Sequence[Kept] = field(default=())
    """`compare.json` of `recr1 compare`."""
    swapped: Sequence[Kept] = field(default=())
    """`swap.json` of `recr1 eval --retrievers`."""
    rescored: Sequence[Kept] = field(default=())
    """`rescore.json` of `recr1 rescore`."""

    @property
    def name(self) -> str:
        """What the run is called: its folder."""
        return self.path.resolve().name

    @property
    def steps(self) -> int:
        """The last step that was logged."""
        return max((int(line["step"]) for line in self.metrics), default=0)

    def of_split(self, split: str) -> list[Judged]:
        """The policies that were evaluated on a split; the trained one last."""
        found = [one for one in self.judged if one.split == split]
        return sorted(found, key=lambda one: (one.policy == "trained", one.policy != "untrained"))


def read_source(path: str | Path) -> Source:
    """Read a run folder; `RunError` for a folder that holds no run, or a file with a broken line in it.

    What a run has not written yet is empty.
    """
    run = Run.open(path)
    return Source(
        run.path,
        run.facts(),
        run.recipe(),
        read_text(run.path / "recipe.yaml"),
        metrics=_lines(run.path / "metrics.jsonl", "step"),
        alerts=_lines(run.path / "alerts.jsonl", "step"),
        rollouts=_lines(run.path / "rollouts.jsonl", "step"),
        judged=[_judged(file.parent, run.path) for file in sorted((run.path / "eval").rglob("eval.json"))],
        compared=_kept(run.path, "compare", "compare.json"),
        swapped=_kept(run.path, "eval", "swap.json"),
        rescored=_kept(run.path, "rescored", "rescore.json"),
    )


def _kept(home: Path, folder: str, name: str) -> list[Kept]:
    """Every file of a name below a folder of the run; `RunError` for one that is not JSON."""
    return [Kept(str(file.relative_to(home)), _mapping(file)) for file in sorted((home / folder).rglob(name))]


def _mapping(file: Path) -> dict[str, Any]:
    try:
        held = json.loads(read_text(file))
    except json.JSONDecodeError as error:
        raise RunError(f"{file} is not JSON: {error} (write it again, or remove it)") from error
    if not isinstance(held, dict):
        raise RunError(f"{file} holds no mapping (write it again, or remove it)")
    return held


def _lines(path: Path, key: str) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    lines = read_lines(path)
    for number, line in enumerate(lines, start=1):
        if not isinstance(line, dict) or key not in line:
            raise RunError(f"{path}:{number}: no '{key}' in this line (was the file changed by hand?)")
    return lines


def _judged(folder: Path, home: Path) -> Judged:
    """One evaluation; `RunError` where its files do not go together."""
    try:
        summary = json.loads(read_text(folder / "eval.json"))
        measures = set(summary["measures"])
        lines = _lines(folder / "per_need.jsonl", "need")
        complete = all(measures <= set(line["measures"]) for line in lines)
        known = {summary["policy"], summary["split"]} and complete and len(lines) == summary["needs"]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise RunError(f"{folder} holds no whole evaluation: {error} (write it again with recr1 eval)") from error
    if not known:
        raise RunError(f"{folder}: eval.json and per_need.jsonl are not of one evaluation (write it with recr1 eval)")
    relevant = _relevant(folder / "qrels.trec", [line["need"] for line in lines])
    return Judged(summary, lines, relevant, str(folder.relative_to(home)))


def _relevant(path: Path, needs: Sequence[str]) -> dict[str, int]:
    if not path.exists():
        return {}
    counts: Counter[str] = Counter()
    for line in read_text(path).splitlines():
        need, _, _, grade = line.split()
        counts[need] += int(grade) > 0
    return {need: counts[escaped(need)] for need in needs}
