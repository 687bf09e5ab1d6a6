"""A budget on operators: where an engine reads AND, quotes and brackets, a policy may learn to write little else."""

from __future__ import annotations

import math

import numpy as np

from retrievers.base import Floats
from rewards.base import Batch, Invalid, Rollout
from rewards.guards.words import operators_in, text_of


class OperatorsReward:
    """0 up to `budget` operators in a query, then `slope` less for each one over it, and never below -`cap`.

    What counts as one is said at `rewards.guards.words.operators_in`: the signs of Lucene's query syntax, whatever the
    engine understands. An Invalid rollout earns -`cap`, the least; a query that is no text 0.

    The name is "operators(2)", with the slope and the cap in it where they are not the usual ones.

    Args:
        budget: Operators that are free.
        slope: Reward lost for each one over the budget.
        cap: The most that a rollout can lose.

    Raises:
        ValueError: For a budget below 0, or a slope or cap that is not above 0 and finite.
    """

    def __init__(self, *, budget: int = 2, slope: float = 0.1, cap: float = 1.0) -> None:
        if budget < 0:
            raise ValueError(f"budget: must be 0 or more operators, got {budget}")
        for option, value in {"slope": slope, "cap": cap}.items():
            if not (value > 0 and math.isfinite(value)):
                raise ValueError(f"{option}: must be above 0 and finite, got {value}")
        self.budget, self.slope, self.cap = budget, slope, cap
        others = [f",{n}={v}" for n, v, usual in (("slope", slope, 0.1), ("cap", cap, 1.0)) if v != usual]
        self.name = f"operators({budget}{''.join(others)})"

    def __call__(self, batch: Batch) -> Floats:
        """(B,) from -cap to 0."""
        return np.fromiter((self._pay(rollout) for rollout in batch.rollouts), np.float32, len(batch))

    def _pay(self, rollout: Rollout) -> float:
        if isinstance(rollout.action, Invalid):
            return -self.cap
        over = max(0, operators_in(text_of(rollout) or "") - self.budget)
        return -min(self.cap, self.slope * over)
