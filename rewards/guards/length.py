"""A soft budget on the length of a query: without one, a policy learns to stuff its query up to the token limit."""

from __future__ import annotations

import math
import re
from collections.abc import Sized

import numpy as np

from retrievers.base import Floats, Query
from rewards.base import Action, Batch, Search


class LengthReward:
    """0 up to `budget` words, then `slope` less for each word over it, and never below -`cap`.

    An Invalid rollout earns -`cap`, the least that any query can: this reward alone never makes giving up the better
    choice, and so no sum of such rewards with positive weights does. (With 0, a policy whose query is over the budget
    would gain by writing nonsense.)

    The name is "length(6)", with the slope and the cap in it where they are not the usual ones.
    Raises `ValueError` for a budget below 1, or a slope or cap that is not above 0 and finite.

    Args:
        budget: Words that are free. For a query that is no text (a history of items), items that are free.
        slope: Reward lost for each word over the budget.
        cap: The most that a rollout can lose.
    """

    def __init__(self, *, budget: int = 6, slope: float = 0.1, cap: float = 1.0) -> None:
        if budget < 1:
            raise ValueError(f"budget: must be at least 1 word, or no query has room, got {budget}")
        for option, value in {"slope": slope, "cap": cap}.items():
            if not (value > 0 and math.isfinite(value)):
                raise ValueError(f"{option}: must be above 0 and finite, got {value}")
        self.budget = budget
        self.slope = slope
        self.cap = cap
        others = [f",{n}={v}" for n, v, usual in (("slope", slope, 0.1), ("cap", cap, 1.0)) if v != usual]
        self.name = f"length({budget}{''.join(others)})"

    def __call__(self, batch: Batch) -> Floats:
        """(B,) from -cap to 0."""
        return np.fromiter((self._pay(rollout.action) for rollout in batch.rollouts), np.float32, len(batch))

    def _pay(self, action: Action) -> float:
        if not isinstance(action, Search):
            return -self.cap
        over = max(0, query_length(action.query) - self.budget)
        return -min(self.cap, self.slope * over)


def query_length(query: Query) -> int:
    """Words of a text, items of a tuple.

    A word is a run of letters and digits, for search engines split there too: counting what stands between blanks would
    let a policy stuff "tent,camping,outdoor" in as one word. Raises `TypeError` for a query that has no length.
    """
    if isinstance(query, str):
        return len(re.findall(r"[^\W_]+", query))
    if isinstance(query, Sized):
        return len(query)
    raise TypeError(f"a query of type {type(query).__name__} has no length: expected a text or a tuple")
