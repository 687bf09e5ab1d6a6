"""The reward that the project is about: a recommender measure of what the query found."""

from __future__ import annotations

from collections.abc import Mapping

from retrievers.base import Catalog, Floats
from rewards.base import Batch, Qrels
from rewards.measures import measure_option


class MeasureReward:
    """The measure of each rollout's hits, from 0 to 1. An Invalid rollout finds nothing, and so earns 0.

    Args:
        measure: Its name, such as nDCG@10. Raises `ValueError` for an unknown one, with the nearest right name.
    """

    def __init__(self, *, measure: str) -> None:
        self._measure = measure_option(measure)
        self.name = self._measure.name
        self.cutoff = self._measure.cutoff

    def check_data(self, catalog: Catalog, qrels: Mapping[str, Qrels]) -> None:
        """Raises `ValueError` where a task's catalog or answer keys do not say what the measure reads."""
        self._measure.check_data(catalog, qrels)

    def __call__(self, batch: Batch) -> Floats:
        """(B,); raises `ValueError` where the hits are not as deep as the measure's cutoff, or a field is missing."""
        return self._measure.of(batch.graded)
