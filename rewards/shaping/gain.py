"""How much better the query is than the words that the shopper came with."""

from __future__ import annotations

from collections.abc import Mapping

from retrievers.base import Catalog, Floats
from rewards.base import Batch, Qrels
from rewards.measures import measure_option


class GainReward:
    """The measure of a rollout's hits less that of the hits of the raw need's text, from -1 to 1.

    An Invalid rollout finds nothing: it loses what the raw need would have found, the least that its need allows.
    Within a group all rollouts share one raw need, so that advantages relative to the group (GRPO, RLOO) are those of
    the plain measure; what differs is the number in the log, and any algorithm that compares rollouts across needs.

    Args:
        measure: Its name, such as nDCG@10. Raises `ValueError` for an unknown one, with the nearest right name.
    """

    needs_raw_hits = True

    def __init__(self, *, measure: str) -> None:
        self._measure = measure_option(measure)
        self.name = f"gain({self._measure.name})"
        self.cutoff = self._measure.cutoff

    def check_data(self, catalog: Catalog, qrels: Mapping[str, Qrels]) -> None:
        """Raises `ValueError` where a task's catalog or answer keys do not say what the measure reads."""
        self._measure.check_data(catalog, qrels)

    def __call__(self, batch: Batch) -> Floats:
        """(B,); raises `ValueError` where the raw hits are missing or either hits are not as deep as the cutoff."""
        if batch.raw_hits is None:
            raise ValueError(f"{self.name} compares with the raw need's hits, and this batch has none: set raw_hits")
        raw_B = self._measure(batch.raw_hits.rows_QK, batch.qrels, batch.catalog)
        gains_B: Floats = self._measure.of(batch.graded) - raw_B
        return gains_B
