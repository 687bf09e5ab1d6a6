"""Length against the other completions of the same need: no budget to guess, and hard needs may take more words."""

from __future__ import annotations

import numpy as np

from retrievers.base import Floats
from rewards.base import Batch, Rollout, Search
from rewards.guards.length import query_length


class GroupLengthReward:
    """0.5 for the shortest query of a need in the batch, -0.5 for its longest, in a line between them.

    0 where all have the same length, and never above 0 for a query that found nothing relevant: being short is no merit
    by itself. An Invalid rollout earns -0.5, the least, and its length does not count. (The length reward of Kimi k1.5,
    arXiv 2501.12599, with "found something relevant" for "is correct".)

    It needs the group: an evaluation has one completion a need, and pays 0. Several processes must each have whole
    groups. The name is "group_length", or "group_length(free=3)".

    Args:
        free: Queries of up to so many words count as that long: below it, shorter is not better.

    Raises:
        ValueError: For a number below 1.
    """

    needs_groups = True

    def __init__(self, *, free: int = 1) -> None:
        if free < 1:
            raise ValueError(f"free: must be at least 1 word, got {free}")
        self.free = free
        self.name = "group_length" if free == 1 else f"group_length(free={free})"

    def __call__(self, batch: Batch) -> Floats:
        """(B,) from -0.5 to 0.5."""
        found_B = np.any(batch.graded.grades_BK > 0, axis=1)
        lengths = [self._length(rollout) for rollout in batch.rollouts]
        groups: dict[str, list[int]] = {}
        for rollout, length in zip(batch.rollouts, lengths, strict=True):
            if length is not None:
                groups.setdefault(rollout.need.id, []).append(length)
        pays = []
        for rollout, length, found in zip(batch.rollouts, lengths, found_B, strict=True):
            pay = -0.5 if length is None else _relative(length, groups[rollout.need.id])
            pays.append(pay if found else min(0.0, pay))
        return np.array(pays, np.float32)

    def _length(self, rollout: Rollout) -> int | None:
        return max(self.free, query_length(rollout.action.query)) if isinstance(rollout.action, Search) else None


def _relative(length: int, group: list[int]) -> float:
    shortest, longest = min(group), max(group)
    return 0.5 - (length - shortest) / (longest - shortest) if longest > shortest else 0.0
