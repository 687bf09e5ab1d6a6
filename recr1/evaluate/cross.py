"""Policies by catalogs: does what was learned belong to the shop that it was learned in?

Each policy writes for the needs of every run's task, with the prompts that it was trained with, and that run's
retriever searches that run's catalog. Beside the trained ones stands the policy that training began with. In each
column all are of the same needs, so that every test is paired.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from recr1.evaluate.evaluation import Evaluation, Evaluator
from recr1.evaluate.phrases import ALPHA, clause
from recr1.evaluate.report import Table, cell
from recr1.evaluate.stats import LEVEL, Comparison, compare, holm
from recr1.formats import Format
from recr1.policies.base import Policy
from rewards.base import Chat

START = "start"
"""How tables call the policy that the last stage of a run's training began with."""


class Prompted:
    """A policy behind the prompts that it was trained with, whatever task it is asked about."""

    def __init__(self, policy: Policy, own_format: Format) -> None:
        self._policy, self.format = policy, own_format

    def generate(self, chats: Sequence[Chat], n: int) -> list[list[str]]:
        """What the policy writes."""
        return self._policy.generate(chats, n)


@dataclass(frozen=True)
class Crossing:
    """A difference on one catalog, paired over its needs."""

    catalog: str
    policy: str
    other: str
    """What the policy is compared with: the start, or a policy that was trained on another catalog."""
    test: Comparison
    p_holm: float
    """Its p, corrected for all differences of a measure."""


@dataclass(frozen=True)
class Cross:
    """Policies by catalogs: `columns[catalog]` holds an evaluation of the start and of each policy, in one order."""

    columns: Mapping[str, Sequence[Evaluation]]
    home: Mapping[str, str]
    """Policy -> the catalog that it was trained on."""

    @property
    def measures(self) -> list[str]:
        """The names of the measures, the main one first."""
        return list(next(iter(self.columns.values()))[0].values)

    @cached_property
    def _by_measure(self) -> dict[str, list[Crossing]]:
        return {measure: self._tested(measure) for measure in self.measures}

    def crossings(self, measure: str) -> Sequence[Crossing]:
        """Each policy against the start on every catalog, and against those that were trained on it."""
        return self._by_measure[measure]

    def crossing(self, measure: str, catalog: str, policy: str, other: str = START) -> Crossing:
        """One of them; raises `StopIteration` where it is none."""
        wanted = (catalog, policy, other)
        return next(one for one in self.crossings(measure) if (one.catalog, one.policy, one.other) == wanted)

    def _tested(self, measure: str) -> list[Crossing]:
        tests = [
            (catalog, one.name, other.name, compare(one.per_need(measure), other.per_need(measure), seed=one.seed))
            for catalog, evaluations in self.columns.items()
            for one, other in self._pairs(catalog, evaluations)
        ]
        corrected = holm([test.p for *_, test in tests])
        return [Crossing(*one, float(p)) for one, p in zip(tests, corrected, strict=True)]

    def _pairs(self, catalog: str, evaluations: Sequence[Evaluation]) -> Iterator[tuple[Evaluation, Evaluation]]:
        start, *policies = evaluations
        for policy in policies:
            yield policy, start
        for own in policies:
            for stranger in policies:
                if self.home[own.name] == catalog != self.home[stranger.name]:
                    yield own, stranger

    @cached_property
    def summary(self) -> dict[str, Any]:
        """Every number that `cross.json` holds."""
        return {
            "home": dict(self.home),
            "catalogs": {name: {e.name: e.summary for e in column} for name, column in self.columns.items()},
            "differences": {
                measure: [{**vars(one), "test": one.test._asdict()} for one in self.crossings(measure)]
                for measure in self.measures
            },
            "verdict": self.verdict(),
        }

    def verdict(self) -> list[str]:
        """A sentence for each policy on each catalog, about the main measure."""
        measure = self.measures[0]
        said = []
        for policy, home in self.home.items():
            for catalog in sorted(self.columns, key=lambda name: name != home):
                where = "on its own catalog" if catalog == home else f"on the catalog of {catalog}"
                one = self.crossing(measure, catalog, policy)
                numbers = (one.test.difference, one.test.low, one.test.high)
                said.append(f"{policy} {where}: {clause('the start', measure, numbers, one.p_holm)}.")
        return said


def cross(
    evaluators: Mapping[str, Evaluator],
    starts: Mapping[str, Callable[[], Policy]],
    policies: Mapping[str, Callable[[], Policy]],
    home: Mapping[str, str],
    *,
    samples: int = 0,
) -> Cross:
    """Let every policy write for every catalog.

    Args:
        evaluators: By the name of a catalog, its needs, retriever and measures.
        starts: By the same names, makes the policy that training on it began with.
        policies: By name, makes a trained policy; one is in memory at a time.
        home: Which catalog each was trained on.
        samples: Completions per need, whose measures are averaged; 0 takes one greedy completion.
    """
    columns = {name: [evaluate(starts[name](), samples=samples, name=START)] for name, evaluate in evaluators.items()}
    for name, make in policies.items():
        policy = make()
        for catalog, evaluate in evaluators.items():
            columns[catalog].append(evaluate(policy, samples=samples, name=name))
        del policy
    return Cross(columns, dict(home))


def cross_tables(result: Cross) -> list[Table]:
    """A table for each measure, policies by catalogs, and one of the words that the catalogs know."""
    first = next(iter(result.columns.values()))[0]
    needs = ", ".join(sorted({str(len(column[0].needs)) for column in result.columns.values()}))
    about = f"on {first.split}: {needs} needs, policies by catalogs"
    header = ["", *result.columns]
    tables = [
        Table(f"{measure} {about}", header, _levels(result, measure), _notes(measure, result))
        for measure in result.measures
    ]
    shares = [
        [column[place].behaviour()["query_known"] for column in result.columns.values()] for place in _rows(result)
    ]
    rows = [
        [first_name, *(f"{share:.1%}" for share in of)] for first_name, of in zip(_names(result), shares, strict=True)
    ]
    return [*tables, Table("Words of queries that the catalog holds", header, rows)]


def _names(result: Cross) -> list[str]:
    return [evaluation.name for evaluation in next(iter(result.columns.values()))]


def _rows(result: Cross) -> range:
    return range(len(_names(result)))


def _levels(result: Cross, measure: str) -> list[list[str]]:
    summaries = [[e.summary["measures"][measure] for e in column] for column in result.columns.values()]
    rows = []
    for place, name in enumerate(_names(result)):
        p = [None if name == START else result.crossing(measure, c, name).p_holm for c in result.columns]
        rows.append([name, *(cell(column[place]["policy"], p[at]) for at, column in enumerate(summaries))])
    floor, ceiling = ([bound, *(cell(column[0][bound]) for column in summaries)] for bound in ("floor", "ceiling"))
    return [floor, *rows, ceiling]


def _notes(measure: str, result: Cross) -> list[str]:
    if measure != result.measures[0]:
        return []
    trained = "; ".join(f"{policy} on {home}" for policy, home in result.home.items())
    return [
        f"Trained: {trained}. {START}: what the last stage of training began with. p beside a policy is of its paired "
        f"test against {START}, corrected (Holm) for all differences of the measure; below {ALPHA} it is called one. "
        f"{LEVEL:.0%} bootstrap intervals. Levels of two columns do not compare where their needs differ."
    ]
