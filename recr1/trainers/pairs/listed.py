"""Pairs of lists: each training need with a list of its candidates, or a part of its history."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random
from typing import Literal

from recr1.choosing import History
from recr1.env import Environment
from recr1.errors import UserError
from recr1.evaluate.references import AGAIN, best_order
from recr1.ranking import WritesLists
from recr1.trainers.pairs.made import taught_needs
from recr1.trainers.pairs.pairs import Pair
from retrievers.options import PositiveInt, checked
from rewards.base import Need


@checked
class ListedPairs:
    """Each training need with a list of its candidates, in the format of the task; with `pick_one`, its first item.

    "best" is by grade, equal ones as they are shown: learning to rank from the training answer keys. "retriever" is how
    the recipe's retriever orders them for the raw need: the policy learns the floor. "random" teaches the format and
    nothing else, so that reinforcement learning starts from every order alike. With the format `history`, "random" is
    needed: a part of the history of any size, drawn like the orders.

    Args:
        order: best, retriever or random.
        per_need: lists of each need, for random orders.
        needs: how many training needs, from the first on; null for all.
        seed: draws the random orders.
    """

    def __init__(
        self,
        *,
        order: Literal["best", "retriever", "random"] = "best",
        per_need: PositiveInt = 1,
        needs: PositiveInt | None = None,
        seed: int = 0,
    ) -> None:
        self.order, self.per_need, self.needs, self.seed = order, per_need, needs, seed

    def pairs(self, env: Environment, *_: object) -> list[Pair]:
        """The pairs, in the order of the needs; raises `UserError` for a format that has no lists."""
        form, needs = env.format, taught_needs(env, self.needs)
        parts = isinstance(form, History) and self.order == "random"
        if not isinstance(form, WritesLists) or not (env.reranks or parts):
            raise UserError(
                "trainer.pairs: 'listed' is for needs with candidates and the formats ranking and pick_one, or for the "
                "format history with order: random"
            )
        return [
            Pair(need, form.write_for(need, rows), f"need '{need.id}'")
            for need, lists in zip(needs, self._lists(env, needs), strict=True)
            for rows in lists
        ]

    def _lists(self, env: Environment, needs: Sequence[Need]) -> list[list[list[int]]]:
        if self.order == "best":
            return [[best_order(need, env.task.qrels[need.id])] for need in needs]
        if self.order == "retriever":
            hits = env.search([env.raw(need) for need in needs], again=AGAIN, needs=needs)
            found = [rows_K[rows_K >= 0].tolist() for rows_K in hits.rows_QK]
            # k may be less than the candidates: what is not measured follows as it is shown.
            return [[list(dict.fromkeys([*rows, *_shown(need)]))] for need, rows in zip(needs, found, strict=True)]
        return [list(self._drawn(need)) for need in needs]

    def _drawn(self, need: Need) -> Iterator[list[int]]:
        rng, rows = Random(f"{self.seed} {need.id}"), _shown(need)
        for _ in range(self.per_need):
            yield rng.sample(rows, len(rows) if need.candidates else rng.randint(1, len(rows)))


def _shown(need: Need) -> list[int]:
    return [one.row for one in need.candidates] or [*History.rows(need)]
