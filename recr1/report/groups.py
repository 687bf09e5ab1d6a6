"""Runs of one recipe with different seeds, pooled: their policies, the verdict, and the needs that changed most."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from recr1.evaluate.second import gains, sentence
from recr1.gate.outcome import sentence as gate_sentence
from recr1.gate.outcome import systems
from recr1.judge.difference import RAW_NEED, Difference, Tone, against_floor, paired_tests, statement
from recr1.judge.stats import Doubles
from recr1.report.run_data import SPLITS, EvaluatedPolicy, RunData, first_rank

MAY_DIFFER = ("seed", "log")
"""Keys of a recipe in which the runs of a group may differ."""
SHOWN = 8  # needs that are shown of each kind


@dataclass(frozen=True)
class PooledPolicy:
    """A policy on the needs of a split, in each of a group's runs."""

    runs: Sequence[EvaluatedPolicy]

    @property
    def first(self) -> EvaluatedPolicy:
        """The policy of the first run, whose queries are shown."""
        return self.runs[0]

    @property
    def policy(self) -> str:
        """The name of the policy."""
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
        pooled = {}
        for measure in self.first.measures:
            systems = {system: self.by_run(measure, system) for system in ("floor", "policy", "ceiling")}
            pooled[measure] = against_floor(systems, seed=self.seed)
        return pooled

    @cached_property
    def second(self) -> dict[str, Any] | None:
        """The second opinion, as `eval.json` has it; None unless all runs have that of one file on the same needs."""
        held = [run.summary.get("second_opinion") for run in self.runs]
        first: dict[str, Any] | None = held[0]
        if len(held) == 1 or first is None:
            return first
        alike = {
            (of and of["file"], *(line["need"] for line in run.second)) for of, run in zip(held, self.runs, strict=True)
        }
        if len(alike) > 1:
            return None

        def values(labels: str, measure: str, system: str) -> Doubles:
            return np.array([[line[labels][measure][system] for line in run.second] for run in self.runs], np.float64)

        paid, second = (
            {name: (values(labels, name, "policy"), values(labels, name, "floor")[:1]) for name in first["measures"]}
            for labels in ("measures", "second")
        )
        return first | {"measures": gains(paid, second, seed=self.seed)}

    @cached_property
    def gate(self) -> dict[str, Any] | None:
        """What the gate does, as `eval.json` has it; None unless all runs have one with the same bound."""
        held = [run.summary["gate"] for run in self.runs if "gate" in run.summary]
        alike = {(of["measure"], of["margin"], of["bound"], of["confidence"]) for of in held}
        if len(held) < len(self.runs) or len(alike) > 1:
            return None
        if len(held) == 1:
            return dict(held[0])
        first: dict[str, Any] = held[0]
        measure = first["measure"]
        own_SN, open_SN = (
            np.array([[line["gate"][name] for line in run.lines] for run in self.runs])
            for name in ("rewritten", "open")
        )
        values = self.values(measure, "floor"), self.by_run(measure)
        return first | {
            "threshold": [least for of in held for least in of["threshold"]],
            "closed": first["closed"] if all(of["closed"] for of in held) else None,
            "systems": systems(*values, own_SN, open_SN, margin=first["margin"], seed=self.seed),
        }

    def gains(self, measure: str) -> list[float]:
        """The mean gain over the floor in each run."""
        return [float((run.values(measure) - run.values(measure, "floor")).mean()) for run in self.runs]


@dataclass(frozen=True)
class Group:
    """Runs of one recipe that differ only in their seeds."""

    name: str
    runs: Sequence[RunData]

    @cached_property
    def splits(self) -> dict[str, list[PooledPolicy]]:
        """Split -> the policies that all runs have evaluated on the same needs; the trained one last."""
        named = {one.split for run in self.runs for one in run.evaluated}
        order = [split for split in SPLITS if split in named] + sorted(named - set(SPLITS))
        pooled = {split: self._pooled(split) for split in order}
        return {split: policies for split, policies in pooled.items() if policies}

    def _pooled(self, split: str) -> list[PooledPolicy]:
        by_run = [{one.policy: one for one in run.evaluated if one.split == split} for run in self.runs]
        pooled = []
        for name in sorted(by_run[0], key=lambda name: (name == "trained", name != "untrained")):
            runs = [run[name] for run in by_run if name in run]
            same = all(one.needs == runs[0].needs and one.measures == runs[0].measures for one in runs)
            if same and len(runs) == len(by_run):
                pooled.append(PooledPolicy(runs))
        return pooled


def grouped(runs: Sequence[RunData]) -> list[Group]:
    """The runs by recipe, in their order."""
    by_recipe: dict[str, list[RunData]] = {}
    for run in runs:
        recipe = {key: value for key, value in run.recipe.items() if key not in MAY_DIFFER}
        by_recipe.setdefault(json.dumps(recipe, sort_keys=True, default=str), []).append(run)
    return [Group(_name(runs), runs) for runs in by_recipe.values()]


def _name(runs: Sequence[RunData]) -> str:
    if len(runs) == 1:
        return runs[0].name
    seeds = ", ".join(str(run.recipe.get("seed", 0)) for run in runs)
    return f"{runs[0].name} and {len(runs) - 1} more (seeds {seeds})"


class Verdict(NamedTuple):
    """The result of a group of runs."""

    tone: Tone
    sentence: str
    remarks: Sequence[str] = ()
    """Each seed, what the numbers rest on, and what to run next."""


def verdict(group: Group) -> Verdict:
    """From held-out needs if there are any, else from the validation during training, else what to run."""
    if not group.splits:
        return _unevaluated(group)
    split, policies = next(iter(group.splits.items()))
    last, measure = policies[-1], policies[-1].first.measures[0]
    tests = comparisons(policies, measure)
    said = "; ".join(statement(last.policy, other, measure, test) for other, test in tests.items())
    where = f"held-out needs of '{split}'" if split == "test" else f"needs of '{split}'"
    runs = f", {len(group.runs)} runs" if len(group.runs) > 1 else ""
    return Verdict(tests[RAW_NEED].tone, f"On {where}{runs}, {said}.", [*_remarks(group, last, measure, split)])


def comparisons(policies: Sequence[PooledPolicy], measure: str) -> dict[str, Difference]:
    """The last policy against the raw need and against each other policy, with corrected p (Holm)."""
    last = policies[-1]
    rivals = {RAW_NEED: last.by_run(measure, "floor")}
    rivals |= {other.policy: other.by_run(measure) for other in policies[:-1] if other.first.needs == last.first.needs}
    return paired_tests(last.by_run(measure), rivals, seed=last.seed)


def _remarks(group: Group, last: PooledPolicy, measure: str, split: str) -> Iterator[str]:
    if len(group.runs) > 1:
        gains = last.gains(measure)
        yield (
            f"The gain over the raw need is {min(gains):+.3f} to {max(gains):+.3f} over the {len(gains)} runs. "
            "Intervals and p are over needs and seeds."
        )
    if split != "test":
        chose = "The checkpoint may have been chosen on these needs. " * (split == "validation")
        yield f"{chose}For held-out needs: recr1 eval {group.runs[0].path} --split test"
    if len(group.splits[split]) > 1:
        yield "p values are corrected for the number of tests (Holm)."
    if last.second:
        yield sentence(last.policy, last.second)
    elif any("second_opinion" in run.summary for run in last.runs):
        yield "The runs have no second opinion in common: evaluate all with the same file."
    if last.gate:
        yield gate_sentence(last.gate)
    elif any("gate" in run.summary for run in last.runs):
        yield "The runs have no gates with one bound in common: make them with recr1 gate, then evaluate all again."


def _unevaluated(group: Group) -> Verdict:
    run = group.runs[0]
    todo = [f"Not evaluated yet. For the verdict: recr1 eval {one.path} --split test" for one in group.runs]
    if len(group.runs) > 1 and all(one.evaluated for one in group.runs):
        todo = ["The runs were not evaluated with the same policies on the same needs, so they are not pooled."]
    for line in reversed(run.metrics):
        for name, value in line.items():
            parts, bounds = name.split("/"), [line.get(f"{name}/{bound}") for bound in ("floor", "ceiling")]
            if parts[0] == "eval" and len(parts) == 3 and None not in (value, *bounds):
                sentence = (
                    f"During training, {parts[2]} was {value:.3f} on the {parts[1]} needs after step {line['step']} "
                    f"(raw need {bounds[0]:.3f}, ceiling {bounds[1]:.3f}): an indication, not a result."
                )
                return Verdict("open", sentence, todo)
    return Verdict("open", f"There is no result yet: {run.name} has no evaluation and no validation.", todo)


class Attempt(NamedTuple):
    """A query for a need, and what it found."""

    by: str  # the policy, or "raw need"
    query: str
    valid: bool
    value: float
    rank: int | None
    """Of the first relevant item; None without one, or if it is not known."""
    found: Sequence[Mapping[str, Any]] | None
    """The first items: `id`, `title`, `relevant`; None if they were not saved."""


class ChangedNeed(NamedTuple):
    """A need with its queries."""

    need: str
    change: float  # of the measure, against the raw need
    attempts: Sequence[Attempt]


def changes(policies: Sequence[PooledPolicy], measure: str) -> tuple[list[ChangedNeed], list[ChangedNeed]]:
    """The needs that won most and those that lost most against the raw need in the first run; ties in their order."""
    last = policies[-1].first
    change = last.values(measure) - last.values(measure, "floor")
    order = np.argsort(-change, kind="stable")
    won = [int(place) for place in order[:SHOWN] if change[place] > 0]
    lost = [int(place) for place in order[::-1][:SHOWN] if change[place] < 0]
    return tuple([_changed(policies, measure, place, change[place]) for place in places] for places in (won, lost))  # type: ignore[return-value]


def _changed(policies: Sequence[PooledPolicy], measure: str, place: int, change: float) -> ChangedNeed:
    line = policies[-1].first.lines[place]
    raw = line.get("floor", {})
    floor = line["measures"][measure]["floor"]
    attempts = [Attempt("raw need", line["text"], True, floor, first_rank(raw), raw.get("found"))]  # noqa: FBT003
    for policy in policies:
        own = policy.first.lines[place]
        if own["need"] != line["need"]:
            continue
        text = own.get("query", own.get("answer"))
        value = own["measures"][measure]["policy"]
        shown = f"({own.get('invalid')})" if text is None else str(text)
        attempts.append(Attempt(policy.policy, shown, text is not None, value, first_rank(own), own.get("found")))
    return ChangedNeed(line["text"], float(change), attempts)
