"""Policies by catalogs: does what was learned belong to the shop that it was learned in?

Each policy writes for the needs of every run's task, with the prompts that it was trained with, and that run's
retriever searches that run's catalog. Beside the trained ones stands the policy that training began with. In each
column all are of the same needs, so that every test is paired.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeAlias

from recr1.evaluate.evaluation import Evaluation, Evaluator
from recr1.evaluate.report import Table, cell
from recr1.formats import Format
from recr1.judge.phrases import ALPHA, clause, tone_of
from recr1.judge.stats import LEVEL, Comparison, Doubles, compare, holm, p_text
from recr1.policies.base import Policy
from rewards.base import Chat

START = "start"
"""How tables call the policy that the last stage of a run's training began with."""


Kind: TypeAlias = Literal["gain", "rival", "home"]
"""What is compared, see `Cross`."""

_Pair: TypeAlias = tuple[Kind, str, str, str, Doubles, Doubles]
"""Kind, policy, catalog, other, and the two (N,) that are compared."""


class Prompted:
    """A policy behind the prompts that it was trained with, whatever task it is asked about."""

    def __init__(self, policy: Policy, own_format: Format) -> None:
        self._policy, self.format = policy, own_format

    def generate(self, chats: Sequence[Chat], n: int) -> list[list[str]]:
        """What the policy writes."""
        return self._policy.generate(chats, n)


@dataclass(frozen=True)
class Crossing:
    """A difference, paired over needs."""

    kind: Kind
    policy: str
    catalog: str
    other: str
    """What it is compared with: the start ("gain"), another policy ("rival"), or another catalog ("home")."""
    test: Comparison
    p_holm: float
    """Its p, corrected for all differences of a measure."""


@dataclass(frozen=True)
class Cross:
    """Policies by catalogs: `columns[catalog]` holds an evaluation of the start and of each policy, in one order.

    Three kinds of differences are tested, all of a measure with one correction (Holm):

    - "gain": a policy over the start, on one catalog.
    - "rival": a policy on the catalog that it was trained on, over one that was trained on another.
    - "home": how much more a policy gains on its own catalog than on another one, where both have the same needs. What
      training changes by chance changes on all catalogs alike, and drops out.
    """

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
        """All differences of a measure."""
        return self._by_measure[measure]

    def crossing(self, kind: Kind, measure: str, policy: str, catalog: str, other: str = START) -> Crossing:
        """One of them; raises `StopIteration` where it is none."""
        wanted = (kind, policy, catalog, other)
        return next(c for c in self.crossings(measure) if (c.kind, c.policy, c.catalog, c.other) == wanted)

    def _tested(self, measure: str) -> list[Crossing]:
        seed = next(iter(self.columns.values()))[0].seed
        pairs = [*self._gains(measure), *self._rivals(measure), *self._homes(measure)]
        tests = [compare(first, second, seed=seed) for *_, first, second in pairs]
        corrected = holm([test.p for test in tests])
        return [
            Crossing(kind, policy, catalog, other, test, float(p))
            for (kind, policy, catalog, other, *_), test, p in zip(pairs, tests, corrected, strict=True)
        ]

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
                measure: [{**vars(one), "test": one.test._asdict()} for one in self.crossings(measure)]
                for measure in self.measures
            },
            "verdict": self.verdict(),
        }

    def verdict(self) -> list[str]:
        """Sentences about the main measure: each policy on each catalog, and whether it gains more at home."""
        measure = self.measures[0]
        said = []
        for policy, home in self.home.items():
            for catalog in sorted(self.columns, key=lambda name: name != home):
                where = "on its own catalog" if catalog == home else f"on the catalog of {catalog}"
                one = self.crossing("gain", measure, policy, catalog)
                said.append(f"{policy} {where}: {clause('the start', measure, _numbers(one), one.p_holm)}.")
            for one in self.crossings(measure):
                if (one.kind, one.policy) == ("home", policy):
                    said.append(_at_home(one, measure))
        return said


def _numbers(one: Crossing) -> tuple[float, float, float]:
    return one.test.difference, one.test.low, one.test.high


def _at_home(one: Crossing, measure: str) -> str:
    difference, low, high = _numbers(one)
    tone = tone_of(difference, one.p_holm)
    how = "no more" if tone == "open" else f"{abs(difference):.3f} {measure} {'more' if tone == 'good' else 'less'}"
    numbers = f"{difference:+.3f}, {LEVEL:.0%} CI {low:+.3f} to {high:+.3f}, {p_text(one.p_holm)}"
    return f"{one.policy} gains {how} on its own catalog than on that of {one.other} ({numbers})."


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
        p = [None if name == START else result.crossing("gain", measure, name, c).p_holm for c in result.columns]
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
