"""Before and after: what was written, as it was scored and as it is scored now."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recr1.env import Environment
from recr1.evaluate.references import Progress
from recr1.evaluate.report import Table
from recr1.judge.stats import LEVEL, Doubles, bootstrap_interval, compare
from recr1.rescore.scoring import Bounds, Scored, find_bounds, score
from recr1.rescore.written import REWARD, Written
from rewards.measures import Measure

NAMES, AFTER, BEFORE = "rescored", "after", "before"
TOLERANCE = 1e-5
"""Two values of a measure closer than this are the same: they were kept in single precision."""


@dataclass(frozen=True)
class Rescored:
    """What was written, before and after."""

    written: Written
    """Of the needs that the new task still has."""
    after: Scored
    original: Scored | None
    """The same with the retriever and catalog of the run; None where nothing but measures changed, or they are gone."""
    missing: int
    """Completions left out, because the new task does not have their need."""
    seed: int

    @property
    def measures(self) -> list[str]:
        """Names, the main one first."""
        return list(self.after.values)

    def before(self, measure: str) -> Doubles | None:
        """(B,) as it was: searched again, or as it was kept; None where it is not known for all."""
        if self.original:
            return self.original.values[measure]
        saved = self.written.saved.get(measure)
        return saved if saved is not None and np.isfinite(saved).all() else None

    @property
    def differ(self) -> int | None:
        """How many kept values the original environment does not give again; None where there is nothing to compare."""
        scored = self.original or self.after
        compared = [(scored.values[m], self.written.saved[m]) for m in self.measures if m in self.written.saved]
        if not compared:
            return None
        far = np.any([np.abs(now - then) > TOLERANCE for now, then in compared], axis=0)
        return int(far.sum())

    @cached_property
    def summary(self) -> dict[str, Any]:
        """Every number, means over needs: a need's value is the mean over its completions."""
        rows_of = _rows_of(self.written.needs)
        counts = {name: self.after.outcomes.count(name) / len(self.written) for name in ("ok", "no_hits", "invalid")}
        return {
            "completions": len(self.written),
            "needs": len(rows_of),
            "missing": self.missing,
            "differ": self.differ,
            "outcomes": counts,
            "measures": {measure: self._measured(measure, rows_of) for measure in self.measures},
        }

    def _measured(self, measure: str, rows_of: Sequence[NDArray[np.intp]]) -> dict[str, Any]:
        def per_need(values: Doubles) -> Doubles:
            return np.array([values[rows].mean() for rows in rows_of])

        after, floor = per_need(self.after.values[measure]), per_need(self.after.floor[measure])
        before = self.before(measure)
        told: dict[str, Any] = {
            "floor": float(floor.mean()),
            "ceiling": float(per_need(self.after.ceiling[measure]).mean()),
            "after": bootstrap_interval(after, seed=self.seed)._asdict(),
            "versus_floor": compare(after, floor, seed=self.seed)._asdict(),
            "before": None,
        }
        if self.original:
            told["floor_before"] = float(per_need(self.original.floor[measure]).mean())
            told["ceiling_before"] = float(per_need(self.original.ceiling[measure]).mean())
        if before is not None:
            told["before"] = bootstrap_interval(per_need(before), seed=self.seed)._asdict()
            told["change"] = compare(after, per_need(before), seed=self.seed)._asdict()
        return told

    def curve(self) -> Iterator[dict[str, float]]:
        """A line a training step, under names that docs/report.md describes."""
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
        """A line a completion."""
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
    """Scores what was written once more; floor and ceiling are searched once for all of it."""

    def __init__(
        self,
        env: Environment,
        measures: Sequence[Measure],
        *,
        original: Environment | None = None,
        seed: int = 0,
    ) -> None:
        """Bind what is other.

        Args:
            env: What completions are scored with now.
            measures: None deeper than the k of either environment.
            original: What they were scored with then, to be compared with where it is another.
            seed: Of intervals and tests.
        """
        self._env, self._original, self._measures, self._seed = env, original, measures, seed
        self._bounds: dict[str, Bounds] = {}

    def prepare(self, written: Sequence[Written], progress: Progress | None = None) -> None:
        """Find floor and ceiling for the needs of all that will be scored; `RunError` when none is in the task."""
        needs = [need for one in written for need in one.needs]
        for side, env in self._sides().items():
            self._bounds[side] = find_bounds(needs, env, self._measures, progress)

    def __call__(self, written: Written, progress: Progress | None = None) -> Rescored | None:
        """Score what was written, of whose needs the bounds are known; the others are left out and counted.

        None where all of it is for needs that the task does not have.
        """
        held = [bounds.row_of for bounds in self._bounds.values()]
        rows = [row for row, need in enumerate(written.needs) if all(need in row_of for row_of in held)]
        if not rows:
            return None
        kept = written.of(rows)
        scored = {
            side: score(kept, env, self._measures, self._bounds[side], progress) for side, env in self._sides().items()
        }
        return Rescored(kept, scored[AFTER], scored.get(BEFORE), len(written) - len(kept), self._seed)

    def _sides(self) -> dict[str, Environment]:
        return {AFTER: self._env} | ({BEFORE: self._original} if self._original else {})


def tables(results: Sequence[Rescored]) -> list[Table]:
    """A table a measure: everything that was written, before and after, between floor and ceiling."""
    return tables_of({one.written.name: one.summary for one in results})


def tables_of(results: Mapping[str, Mapping[str, Any]]) -> list[Table]:
    """The same of what `rescore.json` holds as `results`; `KeyError` for what it cannot be."""
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
        f"Means over needs; {LEVEL:.0%} bootstrap intervals, and p of paired randomisation tests over needs. before: "
        "with the run's own retriever and catalog, floor and ceiling too (in brackets).",
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
        _difference(change) if change else "-",
        *bounds,
        _difference(numbers["versus_floor"]),
    ]


def _difference(test: Mapping[str, float]) -> str:
    p = "p<0.001" if test["p"] < 0.001 else f"p={test['p']:.3f}"
    return f"{test['difference']:+.3f} {p}\n{test['low']:+.3f}..{test['high']:+.3f}"


def _rows_of(needs: Sequence[str]) -> list[NDArray[np.intp]]:
    places: dict[str, list[int]] = {}
    for row, need in enumerate(needs):
        places.setdefault(need, []).append(row)
    return [np.array(rows, np.intp) for rows in places.values()]
