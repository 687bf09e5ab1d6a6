"""The swap test: does what was learned belong to shopping, or to the quirks of one engine?

Each policy writes once, with the prompts of its own engine, and every retriever searches what it wrote. Floor, ceiling
and every test are those of the column: engines are never compared by their levels, only by what a policy gains on each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any

from recr1.evaluate.evaluation import Evaluation, Evaluator
from recr1.evaluate.report import Table, cell, check_same_needs
from recr1.judge.stats import LEVEL, Comparison, Doubles, compare
from retrievers.abilities import capabilities_of
from retrievers.base import Retriever
from rewards.base import Action, Chat, Need

HEADING = 24
"""Longer names of retrievers do not fit a table: they get a number there and stand in its notes."""


class Replay:
    """A policy that writes what was written in an evaluation, once more in the same order, in the same format."""

    def __init__(self, evaluation: Evaluation) -> None:
        self._env, self._left = evaluation.env, iter(evaluation.completions)

    @property
    def format(self) -> Replay:
        """Itself: prompts stay as they were, whatever the engine that is searched now understands."""
        return self

    def render(self, need: Need) -> Chat:
        """The prompt that was answered."""
        return self._env.format.render(need)

    def parse(self, completion: str) -> Action:
        """What the completion meant."""
        return self._env.format.parse(completion)

    def generate(self, chats: Sequence[Chat], n: int) -> list[list[str]]:
        """The next completions, a list for each chat."""
        return [list(texts) for texts in islice(self._left, len(chats))]


@dataclass(frozen=True)
class Swap:
    """Policies by retrievers: `columns[retriever]` holds an evaluation of each policy, in the same order."""

    columns: Mapping[str, Sequence[Evaluation]]
    own: str
    """The retriever that the policies wrote for: the first column."""

    @property
    def measures(self) -> list[str]:
        """The names of the measures, the main one first."""
        return list(self.columns[self.own][0].values)

    def gain_per_need(self, retriever: str, measure: str) -> Doubles:
        """(N,) what the last policy gains on each need: over the first, or, where it is alone, over the floor."""
        first, last = self.columns[retriever][0], self.columns[retriever][-1]
        base = last.references.floor[measure] if first is last else first.per_need(measure)
        gains: Doubles = last.per_need(measure) - base
        return gains

    def gain(self, retriever: str, measure: str) -> Comparison:
        """The mean gain with its interval and its paired test."""
        gains = self.gain_per_need(retriever, measure)
        return compare(gains, 0 * gains, seed=self._seed)

    def gain_versus_own(self, retriever: str, measure: str) -> Comparison:
        """How much more, or less, is gained than on the policy's own retriever, with its paired test."""
        gains = [self.gain_per_need(name, measure) for name in (retriever, self.own)]
        return compare(*gains, seed=self._seed)

    def kept(self, retriever: str, measure: str) -> float | None:
        """The gain as a share of that on the own retriever; None where that one is not clearly above 0."""
        own = self.gain(self.own, measure)
        return self.gain(retriever, measure).difference / own.difference if own.low > 0 else None

    @property
    def _seed(self) -> int:
        return self.columns[self.own][0].seed

    @property
    def gain_name(self) -> str:
        """What a gain is: "trained - untrained"."""
        first, last = self.columns[self.own][0], self.columns[self.own][-1]
        return f"{last.name} - {'floor' if first is last else first.name}"

    @cached_property
    def summary(self) -> dict[str, Any]:
        """Every number that `swap.json` holds."""
        return {
            "own": self.own,
            "gain": self.gain_name,
            "unheard": list(_unheard(self)),
            "retrievers": {name: self._column(name) for name in self.columns},
        }

    def _column(self, retriever: str) -> dict[str, Any]:
        gains = {
            measure: {
                "gain": self.gain(retriever, measure)._asdict(),
                "gain_versus_own": self.gain_versus_own(retriever, measure)._asdict(),
                "kept": self.kept(retriever, measure),
            }
            for measure in self.measures
        }
        return {"gains": gains, "policies": {e.name: e.summary for e in self.columns[retriever]}}


def swap(done: Sequence[Evaluation], retrievers: Mapping[str, Retriever], own: str) -> Swap:
    """Search with other retrievers what policies wrote for their own.

    Args:
        done: An evaluation of each policy, of the same needs and measures, all on the retriever `own`.
        retrievers: The others by the name that tables show, each over the same catalog.
        own: How the policies' own retriever is called.

    Raises:
        ValueError: Unless the evaluations are of the same needs and measures.
    """
    first = done[0]
    for other in done[1:]:
        check_same_needs(first, other)
    columns = {own: list(done)}
    for name, retriever in retrievers.items():
        env = first.env.with_retriever(retriever)
        evaluator = Evaluator(env, first.split, list(first.values), limit=len(first.needs), seed=first.seed)
        columns[name] = [evaluator(Replay(e), samples=0 if e.greedy else e.samples, name=e.name) for e in done]
    return Swap(columns, own)


def swap_tables(result: Swap) -> list[Table]:
    """A table for each measure: floor, policies and ceiling by retrievers, what is gained on each, and what is kept."""
    return swap_tables_of(result.summary)


def swap_tables_of(held: Mapping[str, Any]) -> list[Table]:
    """The same of what `swap.json` holds; `KeyError` for what it cannot be."""
    first = next(iter(held["retrievers"][held["own"]]["policies"].values()))
    names = list(held["retrievers"])
    header = ["", *(_heading(names, place) for place in range(len(names)))]
    return [
        Table(
            f"{measure} on {first['split']}: {first['needs']} needs, by retriever",
            header,
            [*_level_rows(held, measure), *_gain_rows(held, measure)],
            _notes(held) if place == 0 else (),
        )
        for place, measure in enumerate(first["measures"])
    ]


def _level_rows(held: Mapping[str, Any], measure: str) -> list[list[str]]:
    columns = [
        {name: summary["measures"][measure] for name, summary in column["policies"].items()}
        for column in held["retrievers"].values()
    ]
    policies = [
        [name, *(cell(column[name]["policy"], column[name]["versus_floor"]["p"]) for column in columns)]
        for name in columns[0]
    ]
    firsts = [next(iter(column.values())) for column in columns]
    floor, ceiling = ([bound, *(cell(first[bound]) for first in firsts)] for bound in ("floor", "ceiling"))
    return [floor, *policies, ceiling]


def _gain_rows(held: Mapping[str, Any], measure: str) -> list[list[str]]:
    own, *others = (column["gains"][measure] for column in held["retrievers"].values())
    rows = [[held["gain"], *(_difference(one["gain"]) for one in (own, *others))]]
    if others:
        rows.append(["gain - first's", "", *(_difference(one["gain_versus_own"]) for one in others)])
    if others and own["kept"] is not None:
        rows.append(["gain kept", "100%", *(f"{one['kept']:.0%}" for one in others)])
    return rows


def _notes(held: Mapping[str, Any]) -> list[str]:
    names = list(held["retrievers"])
    long = [f"{_heading(names, place)}: {name}." for place, name in enumerate(names) if len(name) > HEADING]
    return [
        f"Every policy wrote once, for {held['own']}, and each retriever searched what it wrote. floor and ceiling are "
        "those of the column; p beside a policy is of its paired test against that floor. Gains are paired too, with "
        f"{LEVEL:.0%} bootstrap intervals, and each column is a test of its own. gain kept: as a share of the gain in "
        "the first column, if that one is clearly above 0.",
        *long,
        *held.get("unheard", ()),
    ]


def _unheard(result: Swap) -> Iterator[str]:
    """What the policies' own engine understands, and another reads as words."""
    offered = capabilities_of(result.columns[result.own][0].env.retriever)
    for name in list(result.columns)[1:]:
        if missing := offered - capabilities_of(result.columns[name][0].env.retriever):
            yield f"{name} reads as words what {result.own} understands: {', '.join(sorted(missing))}."


def _heading(names: Sequence[str], place: int) -> str:
    name = names[place]
    return name if len(name) <= HEADING else f"{name.partition('(')[0][:HEADING]} #{place + 1}"


def _difference(test: Mapping[str, float]) -> str:
    p = "p<0.001" if test["p"] < 0.001 else f"p={test['p']:.3f}"
    return f"{test['difference']:+.3f} {p}\n{test['low']:+.3f}..{test['high']:+.3f}"
