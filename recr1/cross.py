"""Policies by catalogs: does a policy also gain on catalogs that it was not trained on?

Each policy writes for the needs of every run's task, with the prompts that it was trained with, and that run's
retriever searches that run's catalog. The policy that training began with is evaluated too. In each column all are
evaluated on the same needs, so that every test is paired.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

from recr1.evaluate.evaluation import Evaluation
from recr1.evaluate.evaluator import Evaluator
from recr1.formats import Format
from recr1.judge.difference import ALPHA, Difference, mean_cell, paired_test, statement
from recr1.judge.stats import LEVEL, Doubles, holm
from recr1.judge.table import Table, write_result
from recr1.policies.base import Policy
from rewards.base import Chat

START = "start"
"""The name in tables of the policy that the last stage of training began with."""

Kind: TypeAlias = Literal["gain", "rival", "home"]  # kinds of differences, see `Cross`

_Pair: TypeAlias = tuple[Kind, str, str, str, Doubles, Doubles]
"""Kind, policy, catalog, other, and the two (N,) that are compared."""


class OwnPrompts:
    """A policy with the prompts that it was trained with, whatever the task."""

    def __init__(self, policy: Policy, own_format: Format) -> None:
        self._policy, self.format = policy, own_format

    def generate(self, chats: Sequence[Chat], n: int) -> list[list[str]]:
        """The completions of the policy."""
        return self._policy.generate(chats, n)


class Crossing(NamedTuple):
    """One difference, paired over needs."""

    kind: Kind
    policy: str
    catalog: str
    other: str
    """What it is compared with: the start ("gain"), another policy ("rival"), or another catalog ("home")."""
    test: Difference
    p_holm: float  # corrected for all differences of a measure

    @property
    def corrected(self) -> Difference:
        """The difference, with the corrected p."""
        return self.test._replace(p=self.p_holm)


@dataclass(frozen=True)
class Cross:
    """Policies by catalogs: `columns[catalog]` holds an evaluation of the start, then of each policy in one order.

    Three kinds of differences are tested; all of a measure share one correction (Holm):

    - "gain": a policy against the start, on one catalog.
    - "rival": a policy on the catalog that it was trained on, against one that was trained on another.
    - "home": the gain of a policy on its own catalog against its gain on another one, if both have the same needs.
      Random changes of training are the same on all catalogs and cancel out.
    """

    columns: Mapping[str, Sequence[Evaluation]]
    home: Mapping[str, str]
    """Policy -> the catalog that it was trained on."""

    @property
    def measures(self) -> list[str]:
        """The names of the measures, the main one first."""
        return list(next(iter(self.columns.values()))[0].values)

    @cached_property
    def crossings(self) -> dict[str, list[Crossing]]:
        """All differences of each measure."""
        return {measure: self._tested(measure) for measure in self.measures}

    def crossing(self, kind: Kind, measure: str, policy: str, catalog: str, other: str = START) -> Crossing:
        """One of them; raises `StopIteration` if it was not tested."""
        return next(one for one in self.crossings[measure] if one[:4] == (kind, policy, catalog, other))

    def _tested(self, measure: str) -> list[Crossing]:
        seed = next(iter(self.columns.values()))[0].seed
        pairs = [*self._gains(measure), *self._rivals(measure), *self._homes(measure)]
        tests = [paired_test(*pair[4:], seed=seed) for pair in pairs]
        corrected = holm([test.p for test in tests]).tolist()
        return [Crossing(*pair[:4], test, p) for pair, test, p in zip(pairs, tests, corrected, strict=True)]

    def _gains(self, measure: str) -> Iterator[_Pair]:
        for catalog, (start, *policies) in self.columns.items():
            for one in policies:
                yield "gain", one.name, catalog, START, one.per_need(measure), start.per_need(measure)

    def _rivals(self, measure: str) -> Iterator[_Pair]:
        for catalog, (_, *policies) in self.columns.items():
            for one in policies:
                for other in policies:
                    if self.home[one.name] == catalog != self.home[other.name]:
                        yield "rival", one.name, catalog, other.name, one.per_need(measure), other.per_need(measure)

    def _homes(self, measure: str) -> Iterator[_Pair]:
        gains = {(p, c): first - second for _, p, c, _, first, second in self._gains(measure)}
        for policy, home in self.home.items():
            for catalog, (away, *_) in self.columns.items():
                if catalog != home and list(away.needs) == list(self.columns[home][0].needs):
                    yield "home", policy, home, catalog, gains[policy, home], gains[policy, catalog]

    @cached_property
    def summary(self) -> dict[str, Any]:
        """Every number that `cross.json` holds."""
        return {
            "home": dict(self.home),
            "catalogs": {name: {e.name: e.summary for e in column} for name, column in self.columns.items()},
            "differences": {
                measure: [one._asdict() | {"test": one.test._asdict()} for one in found]
                for measure, found in self.crossings.items()
            },
            "verdict": self.verdict(),
        }

    def verdict(self) -> list[str]:
        """Sentences about the main measure: each policy on each catalog, and whether it gains more on its own."""
        measure, said = self.measures[0], []
        for policy, home in self.home.items():
            for catalog in sorted(self.columns, key=lambda name: name != home):
                where = "its own catalog" if catalog == home else f"the catalog of {catalog}"
                gain = self.crossing("gain", measure, policy, catalog).corrected
                said.append(f"On {where}, {statement(policy, START, measure, gain)}.")
            for one in self.crossings[measure]:
                if one[:2] == ("home", policy):
                    gains = f"The gain of {policy} on its own catalog", f"its gain on that of {one.other}"
                    said.append(f"{statement(*gains, measure, one.corrected)}.")
        return said


def cross(
    evaluators: Mapping[str, Evaluator],
    starts: Mapping[str, Callable[[], Policy]],
    policies: Mapping[str, Callable[[], Policy]],
    home: Mapping[str, str],
    *,
    samples: int = 0,
) -> Cross:
    """Evaluate every policy on every catalog.

    Args:
        evaluators: By the name of a catalog: its needs, retriever and measures.
        starts: By the same names: make the policy that training on this catalog began with.
        policies: By name: make a trained policy. One is in memory at a time.
        home: By the name of a policy: the catalog that it was trained on.
        samples: Completions per need, whose measures are averaged; 0 is one greedy completion.
    """
    columns = {name: [evaluate(starts[name](), samples=samples, name=START)] for name, evaluate in evaluators.items()}
    for name, make in policies.items():
        policy = make()
        for catalog, evaluate in evaluators.items():
            columns[catalog].append(evaluate(policy, samples=samples, name=name))
        del policy
    return Cross(columns, dict(home))


def write_cross(result: Cross, home: Path) -> None:
    """`cross.json`, every number; `cross.md`, the tables and the verdict."""
    write_result(home, "cross", result.summary, cross_tables(result), result.verdict())


def cross_tables(result: Cross) -> list[Table]:
    """A table of policies by catalogs for each measure, and one of the words of queries that are in the catalogs."""
    first, *_ = result.columns.values()
    needs = ", ".join(sorted({str(len(column[0].needs)) for column in result.columns.values()}))
    about, header = f"on {first[0].split}: {needs} needs, policies by catalogs", ["", *result.columns]
    trained = "; ".join(f"{policy} on {home}" for policy, home in result.home.items())
    note = (
        f"Trained: {trained}. {START}: the policy before the last stage of training. p: paired test against {START}, "
        f"corrected (Holm) for all differences of the measure; a difference is clear if p is below {ALPHA}. "
        f"{LEVEL:.0%} bootstrap intervals. Two columns with different needs are not comparable."
    )
    known = [
        [one.name, *(f"{column[place].behaviour()['query_known']:.1%}" for column in result.columns.values())]
        for place, one in enumerate(first)
    ]
    main, *others = (Table(f"{name} {about}", header, _levels(result, name)) for name in result.measures)
    words = Table("Words of queries that are in the catalog", header, known)
    return [replace(main, notes=[note]), *others, words]


def _levels(result: Cross, measure: str) -> list[list[str]]:
    summaries = [[e.summary["measures"][measure] for e in column] for column in result.columns.values()]
    rows = []
    for place, one in enumerate(next(iter(result.columns.values()))):
        start = one.name == START
        p = [None if start else result.crossing("gain", measure, one.name, c).p_holm for c in result.columns]
        rows.append([one.name, *(mean_cell(column[place]["policy"], p[at]) for at, column in enumerate(summaries))])
    floor, ceiling = ([bound, *(mean_cell(column[0][bound]) for column in summaries)] for bound in ("floor", "ceiling"))
    return [floor, *rows, ceiling]
