"""A reward in a file of your own: the best grade in the first places."""

from __future__ import annotations

import numpy as np

from retrievers import Floats
from retrievers.options import PositiveInt, checked
from rewards import Batch
from rewards.abilities import check_cutoff
from rewards.testing import Cases, RewardContract, batch_of


@checked
class BestGrade:
    """The best grade among the first `places` items, as a share of the best grade that the need has: from 0 to 1.

    Args:
        places: How many items a shopper looks at.
    """

    def __init__(self, *, places: PositiveInt = 3) -> None:
        self.name = f"best_grade@{places}"
        self.cutoff = places  # a recipe with a smaller k is refused

    def __call__(self, batch: Batch) -> Floats:
        """(B,), 0 where nothing relevant was found; an Invalid rollout found nothing."""
        check_cutoff(self.name, self.cutoff, batch.graded.grades_BK.shape[1])
        found_B = batch.graded.grades_BK[:, : self.cutoff].max(axis=1)
        best_B = np.array([qrels.ideal_J.max(initial=1) for qrels in batch.qrels])
        paid_B: Floats = (np.maximum(found_B, 0) / best_B).astype(np.float32)
        return paid_B


class TestBestGrade(RewardContract):
    def build(self) -> BestGrade:
        return BestGrade(places=2)

    def known(self) -> Cases:
        queries, keys = ["tent", "red tent", None], [{4: 2, 7: 1}] * 3
        return [(batch_of(queries, [[1, 7, 4], [4, 1, 7], [-1, -1, -1]], keys), [0.5, 1.0, 0.0])]
