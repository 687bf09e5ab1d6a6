"""Rewards made of one measure: itself, its gain over the raw need, Rec-R1's, a falling cutoff, and the control."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar
from zlib import crc32

import numpy as np

from retrievers.base import Catalog, Floats
from retrievers.options import PositiveInt, checked
from rewards.base import Batch, Invalid, Qrels
from rewards.measures import measure_option


class MeasureReward:
    """The measure of each rollout's hits, from 0 to 1. An Invalid rollout finds nothing, and so earns 0.

    Args:
        measure: Its name, such as nDCG@10. Raises `ValueError` for an unknown one, with the nearest right name.
    """

    label: ClassVar[str] = "{}"
    """The name of the reward, with {} for that of the measure."""

    def __init__(self, *, measure: str) -> None:
        self._measure = measure_option(measure)
        self.name = self.label.format(self._measure.name)
        self.cutoff = self._measure.cutoff

    def check_data(self, catalog: Catalog, qrels: Mapping[str, Qrels]) -> None:
        """Raises `ValueError` where a task's catalog or answer keys do not have what the measure reads."""
        self._measure.check_data(catalog, qrels)

    def __call__(self, batch: Batch) -> Floats:
        """(B,); raises `ValueError` where the hits are not as deep as the cutoff, or a field is missing."""
        return self._measure.of(batch.graded)


class GainReward(MeasureReward):
    """The measure of a rollout's hits minus that of the hits of the raw need's text, from -1 to 1.

    An Invalid rollout finds nothing: it loses what the raw need would have found, the least that its need allows.
    Within a group all rollouts share one raw need, so that advantages relative to the group (GRPO, RLOO) are those of
    the plain measure; what differs is the number in the log, and any algorithm that compares rollouts across needs.

    Args:
        measure: Its name, such as nDCG@10. Raises `ValueError` for an unknown one, with the nearest right name.
    """

    label = "gain({})"
    needs_raw_hits = True

    def __call__(self, batch: Batch) -> Floats:
        """(B,); raises `ValueError` where the raw hits are missing or either hits are not as deep as the cutoff."""
        if batch.raw_hits is None:
            raise ValueError(f"{self.name} compares with the raw need's hits, and this batch has none: set raw_hits")
        raw_B = self._measure(batch.raw_hits.rows_QK, batch.qrels, batch.catalog)
        gains_B: Floats = self._measure.of(batch.graded) - raw_B
        return gains_B


class RecR1Reward(MeasureReward):
    """The reward of Rec-R1 (arXiv:2503.24289), to reproduce it: -2, 0, or 0.1 more than the measure.

    -2 for an answer that is not in the format; 0 for one that finds nothing relevant, or whose query is empty, too
    long, given twice or not text (`FOUND_NOTHING`); else 0.1 + the measure. In the paper the format is `json_answer`,
    the measure is nDCG@1000 in training and nDCG@100 in evaluation, and only exact matches count (`task.gains: {E: 1,
    S: 0, C: 0, I: 0}`). A product that is listed twice there counts twice in the best ranking, which it does not here.
    To re-rank, the measure is nDCG@16 of 16 candidates, and the answer must have each of them once. The name is
    "rec_r1(nDCG@100)".

    Args:
        measure: Its name, such as nDCG@100. Raises `ValueError` for an unknown one, with the nearest right name.
    """

    label = "rec_r1({})"

    def __call__(self, batch: Batch) -> Floats:
        """(B,); raises `ValueError` where the hits are not as deep as the cutoff, or a field is missing."""
        earned_B = self._measure.of(batch.graded)
        actions = [rollout.action for rollout in batch.rollouts]
        broken_B = [isinstance(action, Invalid) and action.reason not in FOUND_NOTHING for action in actions]
        return np.where(broken_B, -2.0, earned_B + np.float32(0.1) * (earned_B > 0)).astype(np.float32)


FOUND_NOTHING = frozenset(["empty query", "query too long", "query is not text", "more than one key 'query'"])
"""Reasons of formats whose answer Rec-R1 reads, and pays as a search without a relevant item."""


@checked
class AnnealedReward(MeasureReward):
    """The measure, with a cutoff that falls from `start` to its own over the first `steps` training steps.

    Deep at first, where everything found counts, then what is wanted. The cutoff falls by the same factor in each step
    and is rounded. It depends only on the number of the step in the batch (`training_step`, that of the trainer's
    stage), so that a resumed run has the cutoffs of one that was never stopped. Evaluation has no training step and
    uses the measure's own cutoff, so that numbers of different steps compare. The name holds everything:
    "annealed(nDCG@10,start=100,steps=50)".

    Args:
        measure: What is paid in the end, such as nDCG@10.
        start: The cutoff of the first step, deeper than the measure's own; k must be as deep.
        steps: Training steps until the measure's own cutoff.
    """

    def __init__(self, *, measure: str, start: PositiveInt = 100, steps: PositiveInt = 50) -> None:
        super().__init__(measure=measure)
        if start <= self._measure.cutoff:
            raise ValueError(f"start: must be deeper than the {self._measure.cutoff} of {measure}, got {start}")
        self.cutoff, self._steps = start, steps
        self.name = f"annealed({self._measure.name},start={start},steps={steps})"

    def __call__(self, batch: Batch) -> Floats:
        """(B,); raises `ValueError` where the hits are not as deep as `start`."""
        replace(self._measure, cutoff=self.cutoff).check_depth(batch.hits.rows_QK.shape[1])
        return replace(self._measure, cutoff=self.cutoff_at(batch.training_step)).of(batch.graded)

    def cutoff_at(self, training_step: int | None) -> int:
        """The cutoff after this many steps of training; None is evaluation."""
        end = self._measure.cutoff
        if training_step is None or training_step >= self._steps:
            return end
        share: float = (end / self.cutoff) ** (training_step / self._steps)
        return round(self.cutoff * share)


class ShuffledReward(MeasureReward):
    """A control: the measure of what a rollout of another need found. Real numbers that say nothing about the query.

    Needs, and the different completions of each, are ordered by checksums, which do not depend on how good they are.
    The j-th completion of a need is paid what the j-th of the next need earned (modulo their number, if that need has
    fewer). Equal completions of a need are paid alike. The only need of a batch has no other need, and pays 0. A batch
    is that of one process.

    A policy that is trained on this alone must not get better; if it does, the experiment leaks. The name is
    "shuffled(nDCG@10)".

    Args:
        measure: Its name, such as nDCG@10. Raises `ValueError` for an unknown one, with the nearest right name.
    """

    label = "shuffled({})"

    def __call__(self, batch: Batch) -> Floats:
        """(B,); raises `ValueError` where the hits are not as deep as the cutoff, or a field is missing."""
        earned_B = self._measure.of(batch.graded)
        written: dict[str, dict[str, list[int]]] = {}
        for row, rollout in enumerate(batch.rollouts):
            written.setdefault(rollout.need.id, {}).setdefault(rollout.completion, []).append(row)
        paid_B = np.zeros(len(batch), np.float32)
        needs = sorted(written, key=_order)
        groups = [
            [written[need][text] for text in sorted(written[need], key=lambda t: _order(need, t))] for need in needs
        ]
        if len(groups) > 1:
            for own, other in zip(groups, [*groups[1:], groups[0]], strict=True):
                for place, rows in enumerate(own):
                    paid_B[rows] = earned_B[other[place % len(other)][0]]
        return paid_B


def _order(*texts: str) -> tuple[int, tuple[str, ...]]:
    """The key of an order without meaning; the texts themselves decide between equal checksums."""
    return crc32("\0".join(texts).encode()), texts
