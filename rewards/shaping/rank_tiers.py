"""Pay in steps: so much for a relevant item on the first screen, so much for one on the first page."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np

from retrievers.base import Floats
from rewards.base import Batch
from rewards.shaping.log_rank import first_place


class RankTiersReward:
    """What the first relevant item earns by its place: `pays[i]` down to `places[i]`, and 0 below the last.

    The name holds the steps: "rank_tiers(1:1.0,10:0.5)@10".

    Args:
        places: The last place of each step, from the top down.
        pays: What a place of that step earns; never more than the step above, and at least 0.
        rel: The least grade that is relevant.

    Raises:
        ValueError: For places that do not rise from 1 on, pays that rise, or lists that are not of one length.
    """

    def __init__(self, *, places: list[int], pays: list[float], rel: int = 1) -> None:
        if not places or len(places) != len(pays):
            raise ValueError(f"pays: one for each of the places, got {len(pays)} for {len(places)}")
        if places[0] < 1 or any(lower <= upper for upper, lower in pairwise(places)):
            raise ValueError(f"places: must rise from 1 on, got {places}")
        if not all(0 <= pay < math.inf for pay in pays):
            raise ValueError(f"pays: must be 0 or more and finite, got {pays}")
        if any(lower > upper for upper, lower in pairwise(pays)):
            raise ValueError(f"pays: a lower place must not earn more, got {pays}")
        if rel < 1:
            raise ValueError(f"rel: must be at least 1, got {rel}")
        self.cutoff, self.rel = places[-1], rel
        self._places, self._pays = places, pays
        steps = [f"{place}:{pay}" for place, pay in zip(places, pays, strict=True)]
        others = [f"rel={rel}"] if rel > 1 else []
        self.name = f"rank_tiers({','.join(steps + others)})@{self.cutoff}"

    def __call__(self, batch: Batch) -> Floats:
        """(B,) of the pays and 0; raises `ValueError` where the hits are not as deep as the last place."""
        place_B = first_place(batch, self.cutoff, self.rel, self.name)
        tier_B = np.searchsorted(np.array(self._places), place_B)
        return np.array([*self._pays, 0.0], np.float32)[tier_B]
