"""Pairs without a search: each training need as its own query, as it is or with small random edits."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Literal

from recr1.baselines.edits import DROPS, Edits
from recr1.env import Environment
from recr1.trainers.pairs.made import taught_needs
from recr1.trainers.pairs.pairs import Pair, writer_of
from retrievers.options import PositiveInt, Share, checked


@checked
class CopyPairs:
    """Each training need with itself as the query: the policy learns to repeat a need, which earns what the need does.

    Args:
        needs: how many training needs, from the first on; null for all.
    """

    def __init__(self, *, needs: PositiveInt | None = None) -> None:
        self.needs = needs

    def pairs(self, env: Environment, *_: object) -> list[Pair]:
        """A pair for each need, in their order; raises `UserError` where the task's format cannot be taught."""
        write = writer_of(env.format)
        return [Pair(need, write(need.text), f"need '{need.id}'") for need in taught_needs(env, self.needs)]


@checked
class EditPairs:
    """Each training need with itself as the query, a share of them with random edits that no search has judged.

    A policy that only repeats has nothing to explore with; one that learned this repeats a need and sometimes drops,
    doubles, joins, splits or respells a word, see `recr1.baselines.edits`.

    Args:
        edits: edits of a changed query, one after the other.
        changed: the share of the queries that are changed.
        kinds: all, or only those that drop words: with several edits, a query is a random part of its need.
        per_need: queries for each need, drawn one by one: some may be equal.
        needs: how many training needs, from the first on; null for all.
        seed: draws which are changed, and how.
    """

    def __init__(
        self,
        *,
        edits: PositiveInt = 1,
        changed: Share = 0.5,
        kinds: Literal["all", "drop"] = "all",
        per_need: PositiveInt = 1,
        needs: PositiveInt | None = None,
        seed: int = 0,
    ) -> None:
        self.edits, self.changed, self.kinds = edits, changed, kinds
        self.per_need, self.needs, self.seed = per_need, needs, seed

    def pairs(self, env: Environment, *_: object) -> list[Pair]:
        """The pairs, in the order of the needs; raises `UserError` where the task's format cannot be taught."""
        write = writer_of(env.format)
        edits = Edits((need.text for need in env.task.needs("train")), added=0)
        return [
            Pair(need, write(query), f"need '{need.id}'")
            for need in taught_needs(env, self.needs)
            for query in self._queries(f"{self.seed} {need.id}", need.text, edits)
        ]

    def _queries(self, seed: str, text: str, edits: Edits) -> Iterator[str]:
        rng = Random(seed)
        for _ in range(self.per_need):
            query = text
            for _ in range(self.edits if rng.random() < self.changed else 0):
                found = edits.of(query)
                if choices := found if self.kinds == "all" else [one for one in found if one[0].kind in DROPS]:
                    _, query = rng.choice(choices)
            yield query
