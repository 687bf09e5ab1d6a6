"""Rewards for a new text of an item: what it does to the item's rank for people, all other texts unchanged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np

from retrievers.base import Catalog, Floats
from retrievers.options import NonNegativeFloat, checked
from rewards.base import Batch, Doubles, Graded, Qrels

History: TypeAlias = tuple[int, ...]


class Held(Qrels):
    """The answer key to a need that is an item: people who took it, and people who did not, by their histories.

    `gold` is a text that is known to be good, if there is one. Raises `ValueError` where nobody took the item.
    """

    __slots__ = ("holders", "others", "row")

    def __init__(
        self, row: int, holders: Sequence[History], others: Sequence[History] = (), gold: str | None = None
    ) -> None:
        super().__init__({row: 1}, gold=gold)
        if not holders:
            raise ValueError(f"item {row} has no holder, so that no text of it can be judged: leave it out")
        self.row, self.holders, self.others = row, tuple(holders), tuple(others)


def check_held(name: str, qrels: Mapping[str, Qrels]) -> None:
    """Raises `ValueError` where the needs of a task are not items with people."""
    if not all(isinstance(key, Held) for key in qrels.values()):
        raise ValueError(f"{name} is for needs that are items, answered with a new text: choose the task augment")


def replaced(graded: Graded, name: str) -> tuple[Doubles, Doubles, Doubles]:
    """What each answer does as the text of its item: three arrays (B,).

    - from 0 to 1, the mean of g over the holders, with g = 1 / log2(rank + 1), 0 where the item is not found;
    - by how much that is more than with the text that the item has;
    - the mean over the others of what g gained, 0 for those for whom it lost.

    No answer is an empty text, with which nobody finds the item. Raises `ValueError` in the name of a reward or measure
    where the retriever cannot rank with a changed text.
    """
    if graded.ranker is None or graded.answers_B is None:
        raise ValueError(f"{name} ranks again with a changed text: choose a retriever that can, such as content")
    found_3B = np.zeros((3, len(graded.qrels_B)))
    places: dict[int, list[int]] = {}
    for place, key in enumerate(graded.qrels_B):
        places.setdefault(id(key), []).append(place)
    for of_key in places.values():
        key = graded.qrels_B[of_key[0]]
        assert isinstance(key, Held)
        written = [graded.answers_B[place] or "" for place in of_key]
        texts = list(dict.fromkeys(written))
        ranks_TH = graded.ranker.rank_with(key.row, [None, *texts], [*key.holders, *key.others])
        gains_TH = np.where(ranks_TH > 0, 1 / np.log2(np.maximum(ranks_TH, 1) + 1), 0.0)
        count, lifts_TH = len(key.holders), gains_TH[1:] - gains_TH[:1]
        others_T = np.maximum(lifts_TH[:, count:], 0).sum(axis=1) / max(len(key.others), 1)
        values_3T = np.stack([gains_TH[1:, :count].mean(axis=1), lifts_TH[:, :count].mean(axis=1), others_T])
        found_3B[:, of_key] = values_3T[:, [texts.index(text) for text in written]]
    return found_3B[0], found_3B[1], found_3B[2]


@checked
class LiftReward:
    """What a new text of an item does to its rank for people, when no other text changes.

    The mean over holders, people who took the item, of g(rank with the new text) - g(rank with the text that it has),
    with g(rank) = 1 / log2(rank + 1), minus `others` times the mean over people who did not take it of what g gained
    for them: a text that says "for everyone" rises for everyone. The item is left out of the histories.

    An Invalid rollout has no text: nobody finds the item, and it loses all that the item has; no text earns less. From
    -1 to 1. The name is "lift", with the weight of the others if it is not 1.

    Args:
        others: The weight of people who did not take the item.
    """

    def __init__(self, *, others: NonNegativeFloat = 1.0) -> None:
        self.others = others
        self.name = "lift" if others == 1 else f"lift(others={others:g})"

    def check_data(self, catalog: Catalog, qrels: Mapping[str, Qrels]) -> None:
        """Raises `ValueError` where needs are not items."""
        check_held(self.name, qrels)

    def __call__(self, batch: Batch) -> Floats:
        """(B,); raises `ValueError` where the retriever cannot rank with a changed text."""
        standings_B, lifts_B, others_B = replaced(batch.graded, self.name)
        return np.maximum(lifts_B - self.others * others_B, lifts_B - standings_B).astype(np.float32)
