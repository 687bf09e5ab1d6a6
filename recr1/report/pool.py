"""Runs of one recipe with different seeds, pooled."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from recr1.judge.difference import paired_test
from recr1.judge.stats import Doubles, mean_interval
from recr1.report.source import SPLITS, Judged, Source

ASIDE = ("seed", "log")
"""What two runs of one group may differ in."""


@dataclass(frozen=True)
class Pooled:
    """A policy on the needs of a split, in each of a group's runs."""

    runs: Sequence[Judged]

    @property
    def first(self) -> Judged:
        """That of the first run, whose queries are shown."""
        return self.runs[0]

    @property
    def policy(self) -> str:
        """What the policy is called."""
        return self.first.policy

    @property
    def seed(self) -> int:
        """Of intervals and tests."""
        return int(self.first.summary["settings"]["seed"])

    def by_run(self, measure: str, system: str = "policy") -> Doubles:
        """(S, N) a measure of each run on each need; of floor and ceiling (1, N), which do not depend on the seed."""
        values_SN = np.array([run.values(measure, system) for run in self.runs])
        return values_SN if system == "policy" else values_SN.mean(axis=0, keepdims=True)

    def values(self, measure: str, system: str = "policy") -> Doubles:
        """(N,) a measure on each need, its mean over the runs."""
        means: Doubles = self.by_run(measure, system).mean(axis=0)
        return means

    @cached_property
    def measures(self) -> dict[str, dict[str, Any]]:
        """Measure -> floor, policy and ceiling with intervals, and `versus_floor`, as `eval.json` has them."""
        if len(self.runs) == 1:
            return dict(self.first.summary["measures"])
        return {measure: self._measured(measure) for measure in self.first.measures}

    def _measured(self, measure: str) -> dict[str, Any]:
        systems = {system: self.by_run(measure, system) for system in ("floor", "policy", "ceiling")}
        test = paired_test(systems["policy"], systems["floor"], seed=self.seed)
        means = {name: mean_interval(values_SN, seed=self.seed)._asdict() for name, values_SN in systems.items()}
        return {**means, "versus_floor": test._asdict()}

    def gains(self, measure: str) -> list[float]:
        """The mean gain over the floor in each run: how far seeds are apart."""
        return [float((run.values(measure) - run.values(measure, "floor")).mean()) for run in self.runs]


@dataclass(frozen=True)
class Group:
    """Runs of one recipe, which differ in their seeds alone."""

    name: str
    runs: Sequence[Source]

    @cached_property
    def splits(self) -> dict[str, list[Pooled]]:
        """Split -> the policies that all runs were evaluated with, on the same needs; the trained one last."""
        named = {one.split for run in self.runs for one in run.judged}
        order = [split for split in SPLITS if split in named] + sorted(named - set(SPLITS))
        pooled = {split: self._pooled(split) for split in order}
        return {split: policies for split, policies in pooled.items() if policies}

    def _pooled(self, split: str) -> list[Pooled]:
        by_run = [{one.policy: one for one in run.of_split(split)} for run in self.runs]
        found = []
        for policy in by_run[0]:
            alike = [run[policy] for run in by_run if policy in run]
            whole = len(alike) == len(by_run)
            if whole and all(one.needs == alike[0].needs and one.measures == alike[0].measures for one in alike):
                found.append(Pooled(alike))
        return found


def grouped(sources: Sequence[Source]) -> list[Group]:
    """The runs by recipe, in the order in which they were named."""
    by_recipe: dict[str, list[Source]] = {}
    for source in sources:
        by_recipe.setdefault(_recipe_key(source.recipe), []).append(source)
    return [Group(_name(runs), runs) for runs in by_recipe.values()]


def _recipe_key(recipe: Mapping[str, Any]) -> str:
    return json.dumps({key: value for key, value in recipe.items() if key not in ASIDE}, sort_keys=True, default=str)


def _name(runs: Sequence[Source]) -> str:
    if len(runs) == 1:
        return runs[0].name
    seeds = ", ".join(str(run.recipe.get("seed", 0)) for run in runs)
    return f"{runs[0].name} and {len(runs) - 1} more (seeds {seeds})"
