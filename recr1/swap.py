"""The swap test: does a policy also gain on retrievers that it was not trained with?

Each policy writes once, with the prompts for its own retriever, and every retriever searches what it wrote. Floor,
ceiling and tests are those of the column: retrievers are compared by the gain of a policy, never by levels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from recr1.config.build import Part, build
from recr1.env import Environment
from recr1.evaluate.evaluation import Evaluation
from recr1.evaluate.evaluator import Evaluator
from recr1.evaluate.report import check_same_needs
from recr1.judge.difference import RAW_NEED, Difference, difference_cell, mean_cell, paired_test, statement
from recr1.judge.stats import LEVEL, Doubles
from recr1.judge.table import Table, write_result
from retrievers.abilities import capabilities_of
from retrievers.base import Retriever
from rewards.base import Chat

HEADING = 24
"""Characters of a column's heading; a longer name gets a number there, and the notes have it in full."""


class Replay:
    """A policy that repeats the completions of an evaluation, in the same order."""

    def __init__(self, evaluation: Evaluation) -> None:
        self._left = iter(evaluation.completions)

    def generate(self, chats: Sequence[Chat], n: int) -> list[list[str]]:
        """The next completions, a list for each chat."""
        return [list(texts) for texts in islice(self._left, len(chats))]


@dataclass(frozen=True)
class Swap:
    """Policies by retrievers: `columns[retriever]` holds an evaluation of each policy, in the same order."""

    columns: Mapping[str, Sequence[Evaluation]]
    own: str
    """The retriever that the policies wrote for: the first column."""

    def gain_per_need(self, retriever: str, measure: str) -> Doubles:
        """(N,) what the last policy gains on each need: over the first policy, or over the floor if it is alone."""
        *before, last = self.columns[retriever]
        base = before[0].per_need(measure) if before else last.references.floor[measure]
        gains: Doubles = last.per_need(measure) - base
        return gains

    def gain(self, retriever: str, measure: str) -> Difference:
        """The mean gain with its interval and its paired test."""
        gains = self.gain_per_need(retriever, measure)
        return paired_test(gains, 0 * gains, seed=self.columns[self.own][0].seed)

    def gain_versus_own(self, retriever: str, measure: str) -> Difference:
        """The gain against the gain on the policy's own retriever, with its paired test."""
        gains = [self.gain_per_need(name, measure) for name in (retriever, self.own)]
        return paired_test(*gains, seed=self.columns[self.own][0].seed)

    def kept(self, retriever: str, measure: str) -> float | None:
        """The gain as a share of that on the own retriever; None if that one is not clearly above 0."""
        own = self.gain(self.own, measure)
        return self.gain(retriever, measure).difference / own.difference if own.low > 0 else None

    @property
    def gain_name(self) -> str:
        """The name of a gain: "trained - untrained"."""
        *before, last = self.columns[self.own]
        return f"{last.name} - {before[0].name if before else 'floor'}"

    @cached_property
    def summary(self) -> dict[str, Any]:
        """The content of `swap.json`."""
        return {
            "own": self.own,
            "gain": self.gain_name,
            "unheard": list(_unheard(self)),
            "retrievers": {name: self._column(name) for name in self.columns},
            "verdict": self.verdict(),
        }

    def verdict(self) -> list[str]:
        """The gain with each retriever in the main measure, a sentence each."""
        *before, last = self.columns[self.own]
        measure, against, said = next(iter(last.values)), before[0].name if before else RAW_NEED, []
        for name in self.columns:
            kept = None if name == self.own else self.kept(name, measure)
            share = "" if kept is None else f"; {kept:.0%} of the gain on {self.own}"
            said.append(f"On {name}, {statement(last.name, against, measure, self.gain(name, measure))}{share}.")
        return said

    def _column(self, retriever: str) -> dict[str, Any]:
        gains = {
            measure: {
                "gain": self.gain(retriever, measure)._asdict(),
                "gain_versus_own": self.gain_versus_own(retriever, measure)._asdict(),
                "kept": self.kept(retriever, measure),
            }
            for measure in self.columns[retriever][0].values
        }
        return {"gains": gains, "policies": {e.name: e.summary for e in self.columns[retriever]}}


def swap(done: Sequence[Evaluation], retrievers: Mapping[str, Retriever], own: str) -> Swap:
    """Search with other retrievers what policies wrote for their own.

    Args:
        done: An evaluation of each policy on their own retriever; `ValueError` if needs or measures differ.
        retrievers: The others by the names in tables, each over the same catalog.
        own: The name of the policies' own retriever.
    """
    check_same_needs(done)
    columns = {own: list(done)}
    for name, retriever in retrievers.items():
        column: list[Evaluation] = []
        for one in done:
            # Prompts stay those of the evaluation, whatever syntax this retriever has.
            env = one.env.with_retriever(retriever)
            evaluator = Evaluator(env, one.split, list(one.values), limit=len(one.needs), seed=one.seed)
            if column:
                evaluator.references = column[0].references
            column.append(evaluator(Replay(one), samples=0 if one.greedy else one.samples, name=one.name))
        columns[name] = column
    return Swap(columns, own)


def open_retrievers(parts: Mapping[str, Part], env: Environment) -> dict[str, Retriever]:
    """The retrievers by name, each over the task's catalog; raises `UserError` for one that cannot search k items."""
    if parts:
        env.refuse_candidates("--retrievers")
    built = {name: build("retriever", part, env.task.catalog, path=name) for name, part in parts.items()}
    for retriever in built.values():
        env.with_retriever(retriever)
    return built


def write_swap(result: Swap, home: Path, origin: Mapping[str, Any] | None = None) -> None:
    """`swap.json`, every number and from which run the policy is; `swap.md`, the tables and the verdict."""
    content = {**result.summary, "origin": dict(origin) if origin else None}
    write_result(home, "swap", content, swap_tables(content), result.verdict())


def swap_tables(held: Mapping[str, Any]) -> list[Table]:
    """A table for each measure, from the content of `swap.json`: floor, policies, ceiling and gains by retrievers.

    Raises `KeyError` if a key is missing.
    """
    names, columns = list(held["retrievers"]), list(held["retrievers"].values())
    first = next(iter(columns[0]["policies"].values()))
    headings = [
        name if len(name) <= HEADING else f"{name.partition('(')[0][:HEADING]} #{place}"
        for place, name in enumerate(names, start=1)
    ]
    notes = [
        f"Every policy wrote once, for {held['own']}, and each retriever searched what it wrote. floor and ceiling are "
        "those of the column; p of a policy: paired test against that floor. Gains are paired too, with "
        f"{LEVEL:.0%} bootstrap intervals; p is not corrected for the number of columns. gain kept: share of the gain "
        "in the first column, if that gain is clearly above 0.",
        *(f"{heading}: {name}." for heading, name in zip(headings, names, strict=True) if heading != name),
        *held.get("unheard", ()),
    ]
    return [
        Table(
            f"{measure} on {first['split']}: {first['needs']} needs, by retriever",
            ["", *headings],
            [*_level_rows(columns, measure), *_gain_rows(held["gain"], [one["gains"][measure] for one in columns])],
            notes if place == 0 else (),
        )
        for place, measure in enumerate(first["measures"])
    ]


def _level_rows(columns: Sequence[Mapping[str, Any]], measure: str) -> list[list[str]]:
    levels = [{name: one["measures"][measure] for name, one in column["policies"].items()} for column in columns]
    policies = [
        [name, *(mean_cell(level[name]["policy"], level[name]["versus_floor"]["p"]) for level in levels)]
        for name in levels[0]
    ]
    firsts = [next(iter(level.values())) for level in levels]
    floor, ceiling = ([bound, *(mean_cell(first[bound]) for first in firsts)] for bound in ("floor", "ceiling"))
    return [floor, *policies, ceiling]


def _gain_rows(name: str, gains: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    own, *others = gains
    rows = [[name, *(difference_cell(one["gain"]) for one in gains)]]
    if others:
        rows.append(["gain - first's", "", *(difference_cell(one["gain_versus_own"]) for one in others)])
    if others and own["kept"] is not None:
        rows.append(["gain kept", "100%", *(f"{one['kept']:.0%}" for one in others)])
    return rows


def _unheard(result: Swap) -> Iterator[str]:
    """Query syntax that the own retriever understands and another reads as words."""
    offered = capabilities_of(result.columns[result.own][0].env.retriever)
    for name in list(result.columns)[1:]:
        if missing := offered - capabilities_of(result.columns[name][0].env.retriever):
            yield f"{name} reads as words what {result.own} understands: {', '.join(sorted(missing))}."
