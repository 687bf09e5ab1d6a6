"""The reward that the project is about: a recommender measure of what the query found."""

from __future__ import annotations

from retrievers.base import Floats
from rewards.base import Batch
from rewards.measures import parse_measure


class MeasureReward:
    """The measure of each rollout's hits, from 0 to 1. An Invalid rollout finds nothing, and so earns 0.

    Args:
        measure: Its name, such as nDCG@10. Raises `ValueError` for an unknown one, with the nearest right name.
    """

    def __init__(self, *, measure: str) -> None:
        self._measure = parse_measure(measure)
        self.name = self._measure.name
        self.cutoff = self._measure.cutoff

    def __call__(self, batch: Batch) -> Floats:
        """(B,); raises `ValueError` where the hits are not as deep as the measure's cutoff."""
        return self._measure.of(batch.graded)
