"""A reward for not finding the same items for every need, as a policy does that learned to search for best sellers."""

from __future__ import annotations

import numpy as np

from retrievers.base import Floats
from retrievers.options import PositiveInt, checked
from rewards.abilities import check_cutoff
from rewards.base import Batch


@checked
class CrowdingReward:
    """Minus the share of the batch's other needs for which the found items are found too.

    The mean over the items in the first places of (other needs for which some rollout has the item in its first places
    / other needs): 0 where no other need gets any of them, -1 where all get all of them. It needs no field that says
    how popular an item is, and does not punish an item that only one need finds.

    Other needs are those of the same batch of one process; the only need of a batch has none, and pays 0. A rollout
    that found nothing, Invalid or not, pays -1, the least. The name is "crowding@10".

    Args:
        cutoff: How many hits are read.
    """

    def __init__(self, *, cutoff: PositiveInt = 10) -> None:
        self.cutoff = cutoff
        self.name = f"crowding@{cutoff}"

    def __call__(self, batch: Batch) -> Floats:
        """(B,) from -1 to 0; raises `ValueError` where the hits are not as deep as the cutoff."""
        check_cutoff(self.name, self.cutoff, batch.hits.rows_QK.shape[1])
        numbered: dict[str, int] = {}
        need_B = np.array([numbered.setdefault(r.need.id, len(numbered)) for r in batch.rollouts], np.int64)
        others = len(numbered) - 1
        rows_BK = batch.hits.rows_QK[:, : self.cutoff].astype(np.int64)
        there_BK = rows_BK >= 0
        found_B = np.count_nonzero(there_BK, axis=1)
        # Each item once per need, whichever of its rollouts found it; then how many needs found an item.
        pairs = np.unique((rows_BK * max(1, len(numbered)) + need_B[:, None])[there_BK])
        needs_N = np.bincount(pairs // max(1, len(numbered)))
        shared_BK = np.zeros(rows_BK.shape)
        shared_BK[there_BK] = (needs_N[rows_BK[there_BK]] - 1) / max(1, others)
        paid_B = -shared_BK.sum(axis=1) / np.maximum(found_B, 1)
        return np.where(found_B > 0, paid_B, -1.0).astype(np.float32)
