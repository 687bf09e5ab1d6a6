"""Pay by the place of the first relevant item, where a need has few judgements and they stand deep."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from retrievers.base import Floats
from rewards.abilities import check_cutoff
from rewards.base import Batch


class LogRankReward:
    """1 where the first relevant item stands at place 1, less by the logarithm of its place, 0 where there is none.

    At place r it is 1 - ln(r) / ln(cutoff + 1): from place 50 to 25 is worth as much as from 2 to 1, so that a policy
    is paid for climbing long before nDCG@10 sees anything. The name is "log_rank@100", or "log_rank(rel=2)@100".

    Args:
        cutoff: How many places are looked at.
        rel: The least grade that is relevant.

    Raises:
        ValueError: For a cutoff or a grade below 1.
    """

    def __init__(self, *, cutoff: int = 100, rel: int = 1) -> None:
        for option, value in {"cutoff": cutoff, "rel": rel}.items():
            if value < 1:
                raise ValueError(f"{option}: must be at least 1, got {value}")
        self.cutoff, self.rel = cutoff, rel
        self.name = f"log_rank{'' if rel == 1 else f'(rel={rel})'}@{cutoff}"

    def __call__(self, batch: Batch) -> Floats:
        """(B,) from 0 to 1; raises `ValueError` where the hits are not as deep as the cutoff."""
        place_B = first_place(batch, self.cutoff, self.rel, self.name)
        rewards_B: Floats = (1 - np.log(place_B) / math.log(self.cutoff + 1)).astype(np.float32)
        return np.maximum(rewards_B, 0)


def first_place(batch: Batch, cutoff: int, rel: int, who: str) -> NDArray[np.int_]:
    """(B,) the place, from 1 on, of the first item of grade `rel` or more; `cutoff` + 1 where there is none.

    Raises `ValueError`, in the name of `who`, where the hits are not as deep as the cutoff.
    """
    grades_BK = batch.graded.grades_BK
    check_cutoff(who, cutoff, grades_BK.shape[1])
    relevant_BK = grades_BK[:, :cutoff] >= rel
    return np.where(relevant_BK.any(axis=1), relevant_BK.argmax(axis=1), cutoff) + 1
