"""Rewards for the form of an answer: that it can be read, and that its query is short and has few operators."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Sized
from typing import ClassVar

import numpy as np

from retrievers.base import Floats, Query
from retrievers.options import NonNegativeInt, PositiveFloat, PositiveInt, checked
from rewards.base import Action, Answer, Batch, Invalid, Recommend, Rollout, Search
from rewards.guards.words import operators_in


@checked
class FormatReward:
    """`valid` for a completion that the format can read, `invalid` for one that it cannot.

    The name is "format", with the numbers that are not the defaults.
    Raises `ValueError` where an unreadable completion is paid more.

    Args:
        valid: The reward of a rollout whose action is not Invalid.
        invalid: The reward of an Invalid rollout.
    """

    def __init__(self, *, valid: float = 1.0, invalid: float = 0.0) -> None:
        if invalid > valid:
            raise ValueError(f"invalid: must not be above valid ({valid}), got {invalid}: swap them, or lower it")
        paid = [f"{n}={v}" for n, v, usual in (("valid", valid, 1.0), ("invalid", invalid, 0.0)) if v != usual]
        self.name = f"format({','.join(paid)})" if paid else "format"
        self.valid, self.invalid = valid, invalid

    def __call__(self, batch: Batch) -> Floats:
        """(B,) of the two numbers."""
        valid_B = np.fromiter((not isinstance(r.action, Invalid) for r in batch.rollouts), bool, len(batch))
        return np.where(valid_B, self.valid, self.invalid).astype(np.float32)


class BudgetReward(ABC):
    """0 up to `budget` of something that a subclass counts, then `slope` less for each further one, at least -`cap`.

    An Invalid rollout earns -`cap`, the least that any query can: if it earned 0, a policy with a query over the budget
    would gain by writing nonsense. An answer in text counts as a query, and a list of
    items earns 0.
    """

    symbol: ClassVar[str]

    def __init__(self, budget: int, slope: float, cap: float) -> None:
        self.budget, self.slope, self.cap = budget, slope, cap
        others = [f",{n}={v}" for n, v, usual in (("slope", slope, 0.1), ("cap", cap, 1.0)) if v != usual]
        self.name = f"{self.symbol}({budget}{''.join(others)})"

    def __call__(self, batch: Batch) -> Floats:
        """(B,) from -cap to 0."""
        return np.fromiter((self._pay(rollout.action) for rollout in batch.rollouts), np.float32, len(batch))

    def _pay(self, action: Action) -> float:
        if isinstance(action, Invalid):
            return -self.cap
        if isinstance(action, Recommend):
            return 0.0
        said = action.text if isinstance(action, Answer) else action.query
        return -min(self.cap, self.slope * max(0, self._count(said) - self.budget))

    @abstractmethod
    def _count(self, query: Query) -> int: ...


@checked
class LengthReward(BudgetReward):
    """0 up to `budget` words, then `slope` less for each further word, and never below -`cap`.

    Without it, a policy learns to fill its query up to the token limit. An Invalid rollout earns -`cap`, the least.
    The name is "length(6)", with the slope and the cap where they are not the defaults.

    Args:
        budget: Words without a cost; items, for a query that is a history of items.
        slope: Reward lost for each word over the budget.
        cap: The most that a rollout can lose.
    """

    symbol = "length"

    def __init__(self, *, budget: PositiveInt = 6, slope: PositiveFloat = 0.1, cap: PositiveFloat = 1.0) -> None:
        super().__init__(budget, slope, cap)

    def _count(self, query: Query) -> int:
        return query_length(query)


@checked
class OperatorsReward(BudgetReward):
    """0 up to `budget` operators in a query, then `slope` less for each further one, and never below -`cap`.

    For engines that read AND, quotes and brackets, where a policy may learn to write little else. `operators_in` says
    what counts as one: the signs of Lucene's query syntax, whatever the engine understands. An Invalid rollout earns
    -`cap`, the least; a query that is not text 0. The name is "operators(2)", with the slope and the cap where they are
    not the defaults.

    Args:
        budget: Operators without a cost.
        slope: Reward lost for each one over the budget.
        cap: The most that a rollout can lose.
    """

    symbol = "operators"

    def __init__(self, *, budget: NonNegativeInt = 2, slope: PositiveFloat = 0.1, cap: PositiveFloat = 1.0) -> None:
        super().__init__(budget, slope, cap)

    def _count(self, query: Query) -> int:
        return operators_in(query) if isinstance(query, str) else 0


@checked
class GroupLengthReward:
    """0.5 for the shortest query of a need in the batch, -0.5 for its longest, linear between them.

    No budget to guess, and hard needs may take more words. 0 where all have the same length, and never above 0 for a
    query that found nothing relevant: a short query is no merit by itself. An Invalid rollout earns -0.5, the least,
    and its length does not count. (The length reward of Kimi k1.5, arXiv 2501.12599, with "found something relevant"
    for "is correct".)

    It needs the group: an evaluation has one completion per need, and pays 0. Every process must have whole groups.
    The name is "group_length", or "group_length(free=3)".

    Args:
        free: Shorter queries count as this many words: below it, shorter is not better.
    """

    needs_groups = True

    def __init__(self, *, free: PositiveInt = 1) -> None:
        self.free = free
        self.name = "group_length" if free == 1 else f"group_length(free={free})"

    def __call__(self, batch: Batch) -> Floats:
        """(B,) from -0.5 to 0.5."""
        found_B = np.any(batch.graded.grades_BK > 0, axis=1)
        lengths = [self._length(rollout) for rollout in batch.rollouts]
        groups: dict[str, list[int]] = {}
        for rollout, length in zip(batch.rollouts, lengths, strict=True):
            if length is not None:
                groups.setdefault(rollout.need.id, []).append(length)
        pays = []
        for rollout, length, found in zip(batch.rollouts, lengths, found_B, strict=True):
            pay = -0.5 if length is None else _relative(length, groups[rollout.need.id])
            pays.append(pay if found else min(0.0, pay))
        return np.array(pays, np.float32)

    def _length(self, rollout: Rollout) -> int | None:
        if isinstance(rollout.action, Invalid):
            return None
        return max(self.free, query_length(rollout.action.query) if isinstance(rollout.action, Search) else 0)


def _relative(length: int, group: list[int]) -> float:
    shortest, longest = min(group), max(group)
    return 0.5 - (length - shortest) / (longest - shortest) if longest > shortest else 0.0


def query_length(query: Query) -> int:
    """Words of a text, items of a tuple.

    A word is a run of letters and digits, because search engines split there too: if words were counted by blanks, a
    policy could write "tent,camping,outdoor" as one. Raises `TypeError` for a query that has no length.
    """
    if isinstance(query, str):
        return len(re.findall(r"[^\W_]+", query))
    if isinstance(query, Sized):
        return len(query)
    raise TypeError(f"a query of type {type(query).__name__} has no length: expected a text or a tuple")
