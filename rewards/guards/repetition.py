"""A pay for not saying the same again: a policy that found one good word would write it to the token limit."""

from __future__ import annotations

import numpy as np

from retrievers.base import Floats
from rewards.base import Batch, Invalid, Rollout
from rewards.guards.words import runs_of, text_of, words_of


class RepetitionReward:
    """Minus the share of a query's words that it has said before: -2/3 for "red red red".

    With `run=2`, the share of its pairs of neighbours, so that a word may come back in other company. From -1 to 0; a
    query that is no text earns 0, an Invalid rollout -1, the least. The name is "repetition", or "repetition(2)".

    Args:
        run: How many words that stand together are compared.

    Raises:
        ValueError: For a run below 1.
    """

    def __init__(self, *, run: int = 1) -> None:
        if run < 1:
            raise ValueError(f"run: must be at least 1 word, got {run}")
        self.run = run
        self.name = "repetition" if run == 1 else f"repetition({run})"

    def __call__(self, batch: Batch) -> Floats:
        """(B,) from -1 to 0."""
        return np.fromiter((self._pay(rollout) for rollout in batch.rollouts), np.float32, len(batch))

    def _pay(self, rollout: Rollout) -> float:
        if isinstance(rollout.action, Invalid):
            return -1.0
        repeated, runs = repeated_runs(text_of(rollout) or "", self.run)
        return -repeated / max(runs, 1)


def repeated_runs(text: str, length: int) -> tuple[int, int]:
    """How many of a text's runs of so many words it has said before, and how many there are."""
    runs = runs_of(words_of(text), length)
    return len(runs) - len(set(runs)), len(runs)
