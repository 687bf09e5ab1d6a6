"""Completions scored before and now: numbers, sentences, tables and the curve."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from recr1.env import Environment
from recr1.errors import MissingLibrary, RunError, shown
from recr1.evaluate.references import Progress, find_references
from recr1.judge.difference import RAW_NEED, Difference, difference_cell, paired_test, statement
from recr1.judge.stats import LEVEL, Doubles, bootstrap_interval
from recr1.judge.table import Table, write_result
from recr1.recipe import Recipe
from recr1.rescore.written import REWARD, TRAINING, Scored, Written, score
from recr1.runs import writing
from recr1.runs.files import write_lines
from recr1.runs.plots import draw_panels, series
from recr1.terminal import note
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

    @property
    def drift(self) -> str:
        """A note if the original environment now gives other values than those saved; "" if not."""
        if not (self.original and self.differ):
            return ""
        return (
            f"{self.differ} of {len(self.written)} completions of '{self.written.name}' now get other values than "
            "those saved: the engine or the data has changed."
        )

    @cached_property
    def summary(self) -> dict[str, Any]:
        """Every number. Means are over needs; the value of a need is the mean over its completions."""
        rows_of: dict[str, list[int]] = {}
        for row, need in enumerate(self.written.needs):
            rows_of.setdefault(need, []).append(row)
        ended = Counter(self.after.outcomes)
        return {
            "completions": len(self.written),
            "needs": len(rows_of),
            "missing": self.missing,
            "differ": self.differ,
            "outcomes": {name: ended[name] / len(self.written) for name in ("ok", "no_hits", "invalid")},
            "measures": {measure: self._measured(measure, list(rows_of.values())) for measure in self.measures},
        }

    def _measured(self, measure: str, rows_of: Sequence[list[int]]) -> dict[str, Any]:
        def per_need(values: Doubles) -> Doubles:
            return np.array([values[rows].mean() for rows in rows_of])

        after, floor = per_need(self.after.values[measure]), per_need(self.after.floor[measure])
        saved = self.before(measure)
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
        if saved is not None:
            before = per_need(saved)
            numbers["before"] = bootstrap_interval(before, seed=self.seed)._asdict()
            numbers["change"] = paired_test(after, before, seed=self.seed)._asdict()
        return numbers

    def curve(self) -> Iterator[dict[str, float]]:
        """A line for each training step, with the names in docs/rescore.md."""
        after, steps, columns = self.after, np.asarray(self.written.steps), {}
        for measure in self.measures:
            columns[measure] = after.values[measure]
            columns[f"{measure}/floor"] = after.floor[measure]
            columns[f"{measure}/ceiling"] = after.ceiling[measure]
            if (before := self.before(measure)) is not None:
                columns[f"{measure}/before"] = before
        columns["reward"] = after.rewards
        if REWARD in self.written.saved:
            columns["reward/before"] = self.written.saved[REWARD]
        for step in np.unique(steps).tolist():
            rows = steps == step
            means = {f"{NAMES}/{name}": float(values[rows].mean()) for name, values in columns.items()}
            known = {name: mean for name, mean in means.items() if np.isfinite(mean)}
            yield {"step": step, "rollouts": int(rows.sum()), **known}

    def lines(self) -> Iterator[dict[str, Any]]:
        """A line for each completion."""
        for row, need in enumerate(self.written.needs):
            yield {
                "of": self.written.name,
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
        self,
        env: Environment,
        measures: Sequence[Measure],
        written: Sequence[Written],
        *,
        original: Environment | None = None,
        seed: int = 0,
        progress: Progress | None = None,
    ) -> None:
        """Find floor and ceiling of all needs; raises `RunError` if the task has none of them.

        Args:
            env: For the scores after.
            measures: With cutoffs of at most the k of both environments.
            written: All completions that will be scored.
            original: For the scores before; None if it is the same or does not exist any more.
            seed: Of intervals and tests.
            progress: Called with the needs done and the number of needs.
        """
        envs, self._measures, self._seed = [env, *([original] if original else [])], measures, seed
        wanted = list(dict.fromkeys(need for one in written for need in one.needs))
        found = []
        for need in wanted:
            with suppress(KeyError):
                found.append([one.need(need) for one in envs])
        if not found:
            raise RunError(f"the task has none of the run's needs, such as {shown(wanted[0])}: is it another task?")
        self._known = {needs[0].id for needs in found}
        places = zip(envs, zip(*found, strict=True), strict=True)
        self._places = [(one, find_references(one, needs, measures, progress)) for one, needs in places]

    def __call__(self, written: Written, progress: Progress | None = None) -> Rescored | None:
        """Score the completions whose needs the task has, and count the others; None if it has none of the needs."""
        rows = [row for row, need in enumerate(written.needs) if need in self._known]
        if not rows:
            return None
        kept = written.of(rows)
        after, *original = (score(*place, self._measures, kept, progress) for place in self._places)
        return Rescored(kept, after, original[0] if original else None, len(written) - len(kept), self._seed)


def sentences(results: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The gain over the floor and the change of each evaluation, from the `results` of `rescore.json`."""
    said = []
    for name, one in results.items():
        measure, numbers = next(iter(one["measures"].items()))
        split, _, policy = (name, "", "rollouts") if name == TRAINING else name.partition("/")
        said.append(f"{split}: {statement(policy, RAW_NEED, measure, Difference(**numbers['versus_floor']))}.")
        if "change" in numbers:
            change = Difference(**numbers["change"])
            said.append(f"{split}: {statement(f'{policy}, after', 'before', measure, change)}.")
    return said


def tables(results: Mapping[str, Mapping[str, Any]]) -> list[Table]:
    """A table for each measure, from the `results` of `rescore.json`: before, after, floor and ceiling.

    Raises `KeyError` if a key is missing.
    """
    notes = [
        f"Means over needs; {LEVEL:.0%} bootstrap intervals, p of paired randomisation tests over needs, not "
        "corrected for their number. before: with the run's own retriever and catalog; its floor and ceiling are in "
        "brackets."
    ]
    if missing := sum(one["missing"] for one in results.values()):
        notes.append(f"Left out: {missing} completions for needs that the task does not have.")
    header = ["", "before", "after", "change", "floor", "ceiling", "after - floor"]
    made: list[Table] = []
    for measure in next(iter(results.values()))["measures"]:
        rows = [_row(name, one["needs"], one["measures"][measure]) for name, one in results.items()]
        made.append(Table(f"{measure}, rescored", header, rows, () if made else notes))
    return made


def _row(name: str, needs: int, numbers: Mapping[str, Any]) -> list[str]:
    before, change = numbers["before"], numbers.get("change")
    bounds = [
        f"{numbers[bound]:.3f}" + (f"\n({numbers[then]:.3f})" if (then := f"{bound}_before") in numbers else "")
        for bound in ("floor", "ceiling")
    ]
    return [
        f"{name}\n{needs} needs",
        f"{before['mean']:.3f}" if before else "-",
        f"{numbers['after']['mean']:.3f}",
        difference_cell(change) if change else "-",
        *bounds,
        difference_cell(numbers["versus_floor"]),
    ]


def write(home: Path, recipe: Recipe, results: Sequence[Rescored], summary: Mapping[str, Any]) -> None:
    """Write the files of the results, and the recipe that they were made with; `RunError` if that is not possible."""
    said = [*sentences(summary["results"]), *summary["notes"]]
    write_result(home, "rescore", summary, tables(summary["results"]), said)
    with writing(home):
        recipe.dump(home / "recipe.yaml")
        write_lines(home / "completions.jsonl", (line for one in results for line in one.lines()))
        for one in results:
            if one.written.name == TRAINING:
                curve = list(one.curve())
                write_lines(home / "metrics.jsonl", curve)
                try:
                    draw_curve(curve, one.measures[0], home / "curve.png")
                except MissingLibrary as error:
                    note(f"no picture: {error}")


def draw_curve(records: Sequence[Mapping[str, Any]], measure: str, out: Path) -> None:
    """Draw `rescored/<measure>` with floor, ceiling and its values before as a PNG; raises `MissingLibrary`."""

    def paint(axis: Any) -> None:
        for suffix, (label, style) in _STYLES.items():
            steps, values = series(records, f"rescored/{measure}{suffix}")
            if len(steps):
                axis.plot(steps, values, label=label, **style)
        axis.set_ylim(0, 1)
        axis.set_ylabel(f"{measure} of the rollouts")
        axis.legend(loc="best", frameon=False)

    draw_panels([paint], out, height=4)
