"""The best of many small edits of a need, by what its search earns: a search in rounds, and a ceiling made of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import numpy as np

from recr1.baselines.access import ByNeed, Visible
from recr1.baselines.ceilings import RaisesMeasure, measure_values
from recr1.baselines.edits import ADDED, Change, Edits
from recr1.env import Environment
from recr1.tasks.base import needs_of
from retrievers.base import Floats
from retrievers.options import NonNegativeInt, PositiveInt, checked

TRIED = 56
"""Queries that are tried for a need in a round, unless said otherwise."""


class Edited(NamedTuple):
    """A query, the edits that led from the need to it (none for the need itself), and what it earns."""

    query: str
    changes: tuple[Change, ...]
    value: float


@dataclass(frozen=True)
class EditSearch:
    """The search for the best edits of needs: all single edits, then more edits on top of the best few.

    `rounds` is how many edits are combined at most, `beam` how many queries each round goes on from, and `tried` how
    many it tries for a need. Later rounds first try edits that did well alone.
    """

    edits: Edits
    rounds: int = 2
    beam: int = 3
    tried: int = TRIED
    cost: float = 0.0
    """Taken off the value of a query for each edit, so that an edit that adds less is not made."""

    def best(
        self,
        texts: Sequence[str],
        value_of: Callable[[Sequence[int], Sequence[str]], Floats],
        *,
        written: Sequence[Sequence[str]] = (),
        keep: int = 1,
    ) -> list[list[Edited]]:
        """For each of N texts itself and then its best edits, at least `keep` if there are so many, the best first.

        Of equal ones the one that was tried first comes first: one edit before two. A text whose own search has
        no answer has an empty list: nothing can be compared with it.

        Args:
            texts: (N,) the needs.
            value_of: the values of queries, each for the need in this place; NaN for a search without an answer.
            written: queries of another source, (N, any), which the first round tries before all edits.
            keep: how many are wanted.
        """
        values = value_of(range(len(texts)), texts).tolist()
        needs = [_Tried(place, Edited(text, (), v)) for place, (text, v) in enumerate(zip(texts, values, strict=True))]
        open_needs = [need for need in needs if np.isfinite(need.raw.value)]
        for one in range(self.rounds):
            asked = [
                (need, *attempt)
                for need in open_needs
                for attempt in need.attempts(self, written[need.place] if written and not one else ())
            ]
            values = value_of([need.place for need, _, _ in asked], [query for _, _, query in asked]).tolist()
            for (need, changes, query), value in zip(asked, values, strict=True):
                need.add(Edited(query, changes, value - self.cost * len(changes)))
            for need in open_needs:
                need.best = sorted(need.best, key=lambda one: -one.value)[: max(self.beam, keep)]
        return [[need.raw, *need.best] if np.isfinite(need.raw.value) else [] for need in needs]


WRITTEN = "written by the policy"
"""The kind of a change that is no edit."""


@dataclass
class _Tried:
    """What was tried for a need; `gains` are what edits changed where they came first."""

    place: int
    raw: Edited
    best: list[Edited] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)
    gains: dict[Change, float] = field(default_factory=dict)

    def attempts(self, search: EditSearch, written: Sequence[str]) -> list[tuple[tuple[Change, ...], str]]:
        """New queries of a round, each with the edits that lead to it; marks them as seen."""
        first = not self.seen
        self.seen |= {self.raw.query, " ".join(self.raw.query.split())}
        options = [
            (before.value + self.gains.get(change, 0.0), (*before.changes, change), query)
            for before in ([self.raw] if first else self.best[: search.beam])
            for change, query in search.edits.of(before.query)
        ]
        if not first:
            options.sort(key=lambda option: -option[0])
        own = [((Change(WRITTEN, self.raw.query, query),), query) for query in written]
        fresh: dict[str, tuple[Change, ...]] = {}
        for changes, query in [*own, *(option[1:] for option in options)]:
            if query not in self.seen:
                fresh.setdefault(query, changes)
        chosen = [(changes, query) for query, changes in fresh.items()][: search.tried]
        self.seen.update(query for _, query in chosen)
        return chosen

    def add(self, edited: Edited) -> None:
        """Keeps what has a value."""
        if np.isfinite(edited.value):
            self.best.append(edited)
            if len(edited.changes) == 1:
                self.gains[edited.changes[0]] = edited.value - self.raw.value


BLOCK = 256
"""Needs that are searched for at a time: some ten thousand queries in a round."""


@checked
class BestEdit(RaisesMeasure):
    """Writes the edit of the need that raises the measure most; the need itself where none does.

    Edits are small changes: a word dropped, doubled, joined, split, respelled or added, see `recr1.baselines.edits`. A
    bound for what a policy gains that changes a need a little: each edit is chosen with the answer key. Words are
    counted in the training needs.

    Args:
        measure: what is raised, such as nDCG@10; its cutoff is at most the recipe's k.
        rounds: edits that are combined, at most.
        beam: queries from which each round after the first goes on.
        tried: queries tried for a need in each round, at most.
        added: words of other needs among them, at most; with 0 an edit only changes words that the need has.
    """

    name = "best_edit"
    format = ByNeed()
    sees: tuple[Visible, ...] = ("hits", "answers")

    def __init__(
        self,
        *,
        measure: str = "nDCG@10",
        rounds: PositiveInt = 2,
        beam: PositiveInt = 3,
        tried: PositiveInt = TRIED,
        added: NonNegativeInt = ADDED,
    ) -> None:
        super().__init__(measure)
        self.rounds, self.beam, self.tried, self.added = rounds, beam, tried, added

    def prepare(self, env: Environment) -> None:
        """Count the words of the training needs; raises `UserError` for a measure whose cutoff is above k."""
        super().prepare(env)
        edits = Edits((need.text for need in needs_of(env.task, "train")[0]), self.added)
        self._search = EditSearch(edits, self.rounds, self.beam, self.tried)

    def edited(self, ids: Sequence[str]) -> list[Edited]:
        """The best edit for each need, or the need itself, with the measure of it."""
        found = []
        for start in range(0, len(ids), BLOCK):
            block = ids[start : start + BLOCK]
            found += self._search.best([self._env.need(one).text for one in block], partial(self._values, block))
        return [max(of_need, key=lambda one: one.value) for of_need in found]  # the first of equals: the need

    def _values(self, ids: Sequence[str], places: Sequence[int], queries: Sequence[str]) -> Floats:
        return measure_values(self._env, self.measure, queries, [self._env.task.qrels[ids[place]] for place in places])

    def _queries(self, prompts: Sequence[str]) -> list[str]:
        return [one.query for one in self.edited(prompts)]
