"""A day of a watch: what is seen today, what changed since a first day, and the file that keeps it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from recr1 import __version__
from recr1.env import Environment
from recr1.errors import UserError
from recr1.judge.difference import mean_cell
from recr1.judge.stats import mean_interval
from recr1.judge.table import Table
from recr1.recipe import Recipe
from recr1.runs import write_text, writing
from recr1.runs.provenance import changes
from recr1.serve.rewriter import FAILED, Rewrite, Rewriter
from recr1.serve.table import normal
from recr1.serve.watch.checks import Check, Thresholds, compare
from recr1.serve.watch.look import SIDES, Look, look, overlaps
from retrievers.progress import ProgressBar
from rewards.measures import parse_measure

VERSION, CHUNK = 1, 256
Traffic: TypeAlias = Mapping[str, tuple[str, int]]
"""The key of a need -> its text, and how often it is searched."""


@dataclass(frozen=True)
class Day:
    """A day; the content of its file."""

    day: str  # 2026-12-31
    facts: Mapping[str, Any]
    baseline: str
    """The day with which it is compared; itself on the first."""
    searches: int
    verdict: str
    notes: Sequence[str]
    numbers: Mapping[str, Sequence[str]]
    """Number -> its cell of the raw needs, and of the rewritten ones."""
    checks: Sequence[Check]
    seen: Look
    again: Mapping[str, Sequence[Sequence[str]]]
    """Side -> ids of the first items that each need of the baseline finds on this day."""
    version: int = VERSION

    @property
    def found(self) -> list[Check]:
        """The checks that found a change."""
        return [check for check in self.checks if check.found]

    @property
    def table(self) -> Table:
        """The numbers of the day."""
        rows = [[name, *cells] for name, cells in self.numbers.items()]
        return Table(f"{self.day}: {self.searches:,} searches", ["", *SIDES], rows, self.notes)

    @classmethod
    def read(cls, path: Path) -> Day:
        """The day of a file; raises `UserError` for any other file."""
        try:
            held = json.loads(path.read_text(encoding="utf-8"))
            if held["version"] != VERSION:
                raise ValueError(f"it has version {held['version']}, and this recr1 reads {VERSION}")
            return cls(**held | {"seen": Look(**held["seen"]), "checks": [Check(**one) for one in held["checks"]]})
        except (OSError, ValueError, KeyError, TypeError) as error:
            why = f"{type(error).__name__}: {error}"
            raise UserError(f"{path} is not a day of 'recr1 watch' ({why}): remove it, or name another") from error

    def write(self, folder: Path) -> None:
        """Write the day into a folder, which is made; raises `RunError` if it cannot be written."""
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            write_text(folder / f"{self.day}.json", json.dumps(asdict(self)) + "\n")


def days_in(folder: Path, before: str) -> list[Path]:
    """The files of earlier days in a folder, the first day first."""
    return sorted(path for path in folder.glob("????-??-??.json") if path.stem < before)


def watch(
    rewriter: Rewriter,
    recipe: Recipe,
    env: Environment,
    traffic: Traffic,
    day: str,
    *,
    first: Day | None = None,
    last: Day | None = None,
    limits: Thresholds,
    sample: int,
    bar: ProgressBar,
) -> Day:
    """Look at a sample of the traffic, and again at the needs of the first day.

    Judged needs (of `evaluate.split`) of the traffic and of the head table are looked at too, at most as many again,
    where the sample has not drawn them. `env` is today's, `first` is compared with, `last` is the day before this one.
    Raises `UserError` for days that cannot be compared, and where the model fails for all that it is asked.
    """
    env.refuse_candidates("recr1 watch", "there are no queries to watch")
    drawn, measure = _drawn(traffic, sample, recipe.seed), parse_measure(recipe.evaluate.measures[0])
    if not drawn:
        raise UserError("there are no searches to watch: every count is 0")
    if first and first.facts["measure"] != measure.name:
        what = f"{first.facts['measure']} on {first.day}, and now {measure.name}"
        raise UserError(f"scores cannot be compared ({what}): set evaluate.measures, or begin another folder")
    judged = {normal(need.text): need for need in env.task.needs(recipe.evaluate.split)}
    texts = {normal(entry.query): entry.query for entry in (rewriter.table.entries if rewriter.table else ())}
    texts |= {key: text for key, (text, _) in traffic.items()}
    keys = [*drawn, *[key for key in judged if key in texts and key not in drawn][:sample]]
    rewrites: list[Rewrite] = []
    bar.begin("rewriting", len(keys))
    while len(rewrites) < len(keys):
        rewrites += rewriter([texts[key] for key in keys[len(rewrites) :][:CHUNK]])
        bar.advance(len(rewrites), len(keys))
    asked = [one for one in rewrites if one.source == "model" or one.reason == FAILED]
    if asked and all(one.reason == FAILED for one in asked):
        raise UserError(f"the model failed for all {len(asked)} needs that it was asked: correct what it said above")
    bar.begin("searching", None)
    counts = {one.need: drawn.get(key, 0) for key, one in zip(keys, rewrites, strict=True)}
    seen = look(env, measure, judged, counts, [one.query for one in rewrites], [one.reason for one in rewrites])
    then = first.seen if first else seen
    counts = dict(zip(then.needs, then.counts, strict=True))
    again = look(env, measure, judged, counts, then.queries, then.outcomes, before=then) if first else seen
    checks = compare(then, again, seen, limits, seed=recipe.seed) if first else []
    facts: dict[str, Any] = {
        **{name: recipe.to_dict()[name] for name in ("task", "retriever", "k")},
        "catalog": {"items": len(env.task.catalog), "fingerprint": env.task.catalog.fingerprint},
        "bundle": rewriter.by,
        "measure": measure.name,
        "recr1": __version__,
    }
    facts = json.loads(json.dumps(facts, default=str))
    raw, own = (_numbers(seen, side, measure.name, recipe.seed) for side in SIDES)
    numbers = {name: [cell, own[name]] for name, cell in raw.items()}
    befores = {first.day: first.seen.found} if first else {}
    befores |= {last.day: last.again} if first and last and last.baseline == first.day != last.day else {}
    for name, found in befores.items():
        shared = [overlaps(found[side], again.found[side]).mean() for side in SIDES]
        numbers[f"same first items as {name}"] = [f"{share:.1%}" for share in shared]
    baseline = first.day if first else day
    outcomes = seen.marks("rewrites").most_common()
    notes = [f"Searches: {', '.join(f'{name} {count / sum(seen.counts):.1%}' for name, count in outcomes)}."]
    differ = ", ".join(map(str, changes(first.facts, facts))) if first else ""
    if differ:
        notes.append(f"Not as on {baseline}: {differ}.")
    elif any(check.found and check.about.changed in ("analyzer", "results") for check in checks):
        notes.append(f"Recipe and catalog are those of {baseline}: the engine itself has changed.")
    searches = sum(drawn.values())
    return Day(day, facts, baseline, searches, _verdict(checks, first), notes, numbers, checks, seen, again.found)


def _drawn(traffic: Traffic, sample: int, seed: int) -> dict[str, int]:
    """The key of a need -> how often it was drawn, of those that were."""
    counts = np.array([count for _, count in traffic.values()])
    if counts.sum() > sample:
        counts = np.random.default_rng(seed).multinomial(sample, counts / counts.sum())
    return {key: count for key, count in zip(traffic, counts.tolist(), strict=True) if count}


def _numbers(seen: Look, side: str, measure: str, seed: int) -> dict[str, str]:
    """Number of the day -> its cell."""
    means = {name: float(values.mean()) for name, values in seen.searches(side).items()}
    scores = np.array([[*seen.scores[side].values()]])
    interval = mean_cell(mean_interval(scores, seed=seed)._asdict()) if scores.size else "-"
    cells = {name: f"{mean:.1f}" if name == "length" else f"{mean:.1%}" for name, mean in means.items()}
    return {f"{measure} of {scores.size} judged needs": interval, **cells}


def _verdict(checks: Sequence[Check], first: Day | None) -> str:
    if first is None:
        return "first day: later days are compared with it"
    changed: dict[str, list[str]] = {}
    for check in checks:
        changed.setdefault(check.about.changed, []).extend([check.name] * check.found)
    listed = ", ".join(f"{what} ({', '.join(names)})" for what, names in changed.items() if names)
    return f"changed since {first.day}: {listed}" if listed else f"no change since {first.day}"
