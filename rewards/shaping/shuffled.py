"""A control: the rewards of a batch, shuffled between its needs. What learns from them learns from something else."""

from __future__ import annotations

from collections.abc import Mapping
from zlib import crc32

import numpy as np

from retrievers.base import Catalog, Floats
from rewards.base import Batch, Qrels
from rewards.measures import measure_option


class ShuffledReward:
    """The measure of what a rollout of another need found: real numbers that say nothing about what was written.

    Needs, and the different completions of each, are put into an order by checksums, which have nothing to do with how
    good they are. The j-th completion of a need is paid what the j-th of the next need earned (counted round, where
    that one has fewer). Equal completions of a need are paid alike. A need that is alone in its batch has nobody to
    exchange with, and pays 0. Batches are those of one process.

    A policy that is trained on this and on nothing else must not get better; where it does, the
    experiment around it leaks. The name is "shuffled(nDCG@10)".

    Args:
        measure: Its name, such as nDCG@10. Raises `ValueError` for an unknown one, with the nearest right name.
    """

    def __init__(self, *, measure: str) -> None:
        self._measure = measure_option(measure)
        self.name = f"shuffled({self._measure.name})"
        self.cutoff = self._measure.cutoff

    def check_data(self, catalog: Catalog, qrels: Mapping[str, Qrels]) -> None:
        """Raises `ValueError` where a task's catalog or answer keys do not say what the measure reads."""
        self._measure.check_data(catalog, qrels)

    def __call__(self, batch: Batch) -> Floats:
        """(B,); raises `ValueError` where the hits are not as deep as the measure's cutoff, or a field is missing."""
        earned_B = self._measure.of(batch.graded)
        written: dict[str, dict[str, list[int]]] = {}
        for row, rollout in enumerate(batch.rollouts):
            written.setdefault(rollout.need.id, {}).setdefault(rollout.completion, []).append(row)
        paid_B = np.zeros(len(batch), np.float32)
        needs = sorted(written, key=_place)
        groups = [
            [written[need][text] for text in sorted(written[need], key=lambda t: _place(need, t))] for need in needs
        ]
        if len(groups) > 1:
            for own, other in zip(groups, [*groups[1:], groups[0]], strict=True):
                for place, rows in enumerate(own):
                    paid_B[rows] = earned_B[other[place % len(other)][0]]
        return paid_B


def _place(*texts: str) -> tuple[int, tuple[str, ...]]:
    """Where texts stand in an order of no meaning; the texts themselves tell those apart that have one checksum."""
    return crc32("\0".join(texts).encode()), texts
