"""A measure whose cutoff moves while training goes on: deep at first, where everything counts, then what is wanted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from retrievers.base import Catalog, Floats
from rewards.base import Batch, Qrels
from rewards.measures import measure_option


class AnnealedReward:
    """The measure, with a cutoff that falls from `start` to its own over the first `steps` training steps.

    The cutoff falls by the same factor in each step, and is rounded. It depends on the number of the step alone, which
    a batch bears (`training_step`, that of the trainer's stage): a run that goes on has the cutoffs of one that was
    never stopped. A batch of no training, in evaluation, has the measure's own cutoff, so that numbers of different
    steps compare. The name says it all: "annealed(nDCG@10,start=100,steps=50)".

    Args:
        measure: What is paid in the end, such as nDCG@10.
        start: The cutoff of the first step; k must be as deep.
        steps: Training steps until the measure's own cutoff.

    Raises:
        ValueError: For an unknown measure, a start that is not deeper than it, or less than 1 step.
    """

    def __init__(self, *, measure: str, start: int = 100, steps: int = 50) -> None:
        self._measure = measure_option(measure)
        if start <= self._measure.cutoff:
            raise ValueError(f"start: must be deeper than the {self._measure.cutoff} of {measure}, got {start}")
        if steps < 1:
            raise ValueError(f"steps: must be at least 1, got {steps}")
        self.cutoff, self._steps = start, steps
        self.name = f"annealed({self._measure.name},start={start},steps={steps})"

    def check_data(self, catalog: Catalog, qrels: Mapping[str, Qrels]) -> None:
        """Raises `ValueError` where the measure reads what the data does not have."""
        self._measure.check_data(catalog, qrels)

    def __call__(self, batch: Batch) -> Floats:
        """(B,); raises `ValueError` where the hits are not as deep as `start`."""
        replace(self._measure, cutoff=self.cutoff).check_depth(batch.hits.rows_QK.shape[1])
        return replace(self._measure, cutoff=self.cutoff_at(batch.training_step)).of(batch.graded)

    def cutoff_at(self, training_step: int | None) -> int:
        """The cutoff after so many steps of training; None stands for no training."""
        end = self._measure.cutoff
        if training_step is None or training_step >= self._steps:
            return end
        share: float = (end / self.cutoff) ** (training_step / self._steps)
        return round(self.cutoff * share)
