"""Completions scored before and now: numbers, sentences, tables and the curve."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from recr1.env import Environment
from recr1.errors import MissingLibrary
from recr1.evaluate.references import Progress
from recr1.judge.difference import RAW_NEED, Difference, difference_cell, paired_test, statement
from recr1.judge.stats import LEVEL, Doubles, bootstrap_interval
from recr1.judge.table import Table
from recr1.rescore.written import REWARD, TRAINING, CompletionScorer, Scored, Written
from recr1.runs.plots import series
from rewards.measures import Measure

NAMES = "rescored"
_STYLES: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "": ("rescored", {"color": "#00796b", "lw": 2, "marker": "o", "ms": 3}),
    "/before": ("as it was", {"color": "#c2570c", "lw": 2, "marker": "o", "ms": 3}),
    "/ceiling": ("ceiling, rescored", {"color": "#6b6b6b", "lw": 1.4, "ls": "--"}),
    "/floor": ("floor, rescored", {"color": "#6b6b6b", "lw": 1.4, "ls": ":"}),
}

TOLERANCE = 1e-5
"""Values of a measure that differ by at most this are equal: they were saved in single precision."""


@dataclass(frozen=True)
class Rescored:
    """The scores of some completions, before and after."""

    written: Written
    """Those for needs that the new task has."""
    after: Scored
    original: Scored | None
    """With the retriever and catalog of the run; None if only measures changed, or they do not exist any more."""
    missing: int
    """Completions left out because the new task does not have their need."""
    seed: int

    @property
    def measures(self) -> list[str]:
        """Names, the main one first."""
        return list(self.after.values)

    def before(self, measure: str) -> Doubles | None:
        """(B,) searched again in the original environment, or as saved; None if some value is unknown."""
        if self.original:
            return self.original.values[measure]
        saved = self.written.saved.get(measure)
        return saved if saved is not None and np.isfinite(saved).all() else None

    @property
    def differ(self) -> int | None:
        """How many completions now get other values than the saved ones; None if no value was saved."""
        scored = self.original or self.after
        compared = [(scored.values[m], self.written.saved[m]) for m in self.measures if m in self.written.saved]
        if not compared:
            return None
        return int(np.any([np.abs(now - then) > TOLERANCE for now, then in compared], axis=0).sum())

    @cached_property
    def summary(self) -> dict[str, Any]:
        """Every number. Means are over needs; the value of a need is the mean over its completions."""
        places: dict[str, list[int]] = {}
        for row, need in enumerate(self.written.needs):
            places.setdefault(need, []).append(row)
        rows_of = list(places.values())
        counts = {name: self.after.outcomes.count(name) / len(self.written) for name in ("ok", "no_hits", "invalid")}
        return {
            "completions": len(self.written),
            "needs": len(rows_of),
            "missing": self.missing,
            "differ": self.differ,
            "outcomes": counts,
            "measures": {measure: self._measured(measure, rows_of) for measure in self.measures},
        }

    def _measured(self, measure: str, rows_of: Sequence[Sequence[int]]) -> dict[str, Any]:
        def per_need(values: Doubles) -> Doubles:
            return np.array([values[list(rows)].mean() for rows in rows_of])

        after, floor = per_need(self.after.values[measure]), per_need(self.after.floor[measure])
        before = self.before(measure)
        numbers: dict[str, Any] = {
            "floor": float(floor.mean()),
            "ceiling": float(per_need(self.after.ceiling[measure]).mean()),
            "after": bootstrap_interval(after, seed=self.seed)._asdict(),
            "versus_floor": paired_test(after, floor, seed=self.seed)._asdict(),
            "before": None,
        }
        if self.original:
            numbers["floor_before"] = float(per_need(self.original.floor[measure]).mean())
            numbers["ceiling_before"] = float(per_need(self.original.ceiling[measure]).mean())
        if before is not None:
            numbers["before"] = bootstrap_interval(per_need(before), seed=self.seed)._asdict()
            numbers["change"] = paired_test(after, per_need(before), seed=self.seed)._asdict()
        return numbers

    def curve(self) -> Iterator[dict[str, float]]:
        """A line for each training step, with the names in docs/rescore.md."""
        steps = np.asarray(self.written.steps)
        rewards = self.written.saved.get(REWARD)
        for step in np.unique(steps).tolist():
            rows = steps == step
            line: dict[str, float] = {"step": step, "rollouts": int(rows.sum())}
            for measure in self.measures:
                name, before = f"{NAMES}/{measure}", self.before(measure)
                line[name] = float(self.after.values[measure][rows].mean())
                line[f"{name}/floor"] = float(self.after.floor[measure][rows].mean())
                line[f"{name}/ceiling"] = float(self.after.ceiling[measure][rows].mean())
                if before is not None:
                    line[f"{name}/before"] = float(before[rows].mean())
            line[f"{NAMES}/reward"] = float(self.after.rewards[rows].mean())
            if rewards is not None and np.isfinite(rewards[rows]).all():
                line[f"{NAMES}/reward/before"] = float(rewards[rows].mean())
            yield line

    def lines(self) -> Iterator[dict[str, Any]]:
        """A line for each completion."""
        for row, need in enumerate(self.written.needs):
            yield {
                "step": self.written.steps[row],
                "need": need,
                "outcome": self.after.outcomes[row],
                "measures": {measure: float(values[row]) for measure, values in self.after.values.items()},
                "reward": float(self.after.rewards[row]),
                "first_relevant": self.after.first_relevant[row],
            }


class Rescorer:
    """Scores completions again; floor and ceiling are searched once for all of them."""

    def __init__(
        self, env: Environment, measures: Sequence[Measure], *, original: Environment | None = None, seed: int = 0
    ) -> None:
        """Set up the environments.

        Args:
            env: For the scores after.
            measures: With cutoffs of at most the k of both environments.
            original: For the scores before; None if it is the same or does not exist any more.
            seed: Of intervals and tests.
        """
        self._envs, self._measures, self._seed = [env, *([original] if original else [])], measures, seed
        self._scorers: list[CompletionScorer] = []

    def prepare(self, written: Sequence[Written], progress: Progress | None = None) -> None:
        """Find floor and ceiling of all needs; `RunError` if the task has none of them."""
        needs = [need for one in written for need in one.needs]
        self._scorers = [CompletionScorer(env, self._measures, needs, progress) for env in self._envs]

    def __call__(self, written: Written, progress: Progress | None = None) -> Rescored | None:
        """Score the completions whose needs the task has, and count the others; None if it has none of the needs."""
        rows = [row for row, need in enumerate(written.needs) if all(need in scorer for scorer in self._scorers)]
        if not rows:
            return None
        kept = written.of(rows)
        after, original, *_ = *(scorer(kept, progress) for scorer in self._scorers), None
        assert after
        return Rescored(kept, after, original, len(written) - len(kept), self._seed)


def sentences(results: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The gain over the floor and the change of each evaluation, from the `results` of `rescore.json`."""
    said = []
    for name, one in results.items():
        measure, numbers = next(iter(one["measures"].items()))
        split, _, policy = (name, "", "rollouts") if name == TRAINING else name.partition("/")
        said.append(f"{split}: {statement(policy, RAW_NEED, measure, Difference(**numbers['versus_floor']))}.")
        if "change" in numbers:
            said.append(
                f"{split}: {statement(f'{policy}, after', 'before', measure, Difference(**numbers['change']))}."
            )
    return said


def tables(results: Mapping[str, Mapping[str, Any]]) -> list[Table]:
    """A table for each measure, from the `results` of `rescore.json`: before, after, floor and ceiling.

    Raises `KeyError` if a key is missing.
    """
    header = ["", "before", "after", "change", "floor", "ceiling", "after - floor"]
    measures = list(next(iter(results.values()))["measures"])
    return [
        Table(
            f"{measure}, rescored",
            header,
            [_row(name, one["needs"], one["measures"][measure]) for name, one in results.items()],
            _notes(results) if place == 0 else (),
        )
        for place, measure in enumerate(measures)
    ]


def _notes(results: Mapping[str, Mapping[str, Any]]) -> list[str]:
    missing = sum(one["missing"] for one in results.values())
    return [
        f"Means over needs; {LEVEL:.0%} bootstrap intervals, p of paired randomisation tests over needs. before: with "
        "the run's own retriever and catalog; its floor and ceiling are in brackets.",
        *([f"Left out: {missing} completions for needs that the task does not have."] if missing else []),
    ]


def _row(name: str, needs: int, numbers: Mapping[str, Any]) -> list[str]:
    before, change = numbers["before"], numbers.get("change")
    bounds = [
        f"{numbers[bound]:.3f}" + (f"\n({numbers[then]:.3f})" if (then := f"{bound}_before") in numbers else "")
        for bound in ("floor", "ceiling")
    ]
    return [
        f"{name}\n{needs} needs",
        f"{before['mean']:.3f}" if before else "-",
        "{mean:.3f}".format(**numbers["after"]),
        difference_cell(change) if change else "-",
        *bounds,
        difference_cell(numbers["versus_floor"]),
    ]


def draw_curve(records: Sequence[Mapping[str, Any]], measure: str, out: Path) -> None:
    """Draw `rescored/<measure>` with floor, ceiling and its values before as a PNG; raises `MissingLibrary`."""
    try:
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator
    except ImportError as error:
        raise MissingLibrary("matplotlib", "report", "drawing the rescored curve") from error
    figure = Figure(figsize=(8, 4), dpi=130, layout="constrained")
    axis = figure.subplots()
    for suffix, (label, style) in _STYLES.items():
        steps, values = series(records, f"rescored/{measure}{suffix}")
        if len(steps):
            axis.plot(steps, values, label=label, **style)
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis="y", alpha=0.25)
    axis.set_ylim(0, 1)
    axis.set_xlabel("training step")
    axis.set_ylabel(f"{measure} of the rollouts")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.legend(loc="best", frameon=False)
    figure.savefig(out)
