"""How much of what was found anybody judged: the holes in the answer keys, as numbers of every step."""

from __future__ import annotations

import numpy as np

from rewards.base import EMPTY, UNJUDGED, Batch

TOP = 10
"""Places that are looked at, or k where a search returns fewer: part of the names."""


def hole_metrics(batch: Batch) -> dict[str, float]:
    """Of the first 10 places; 0 where nothing was found.

    - `hits/unjudged@10`: share of the items there that nobody judged (the hole rate). Every measure but those made for
      it counts them as irrelevant.
    - `hits/blind@10`: share of the rollouts that found something, of whose items there none is judged: whatever their
      queries were worth, the answer key cannot say.
    """
    top = min(TOP, batch.hits.rows_QK.shape[1])
    grades_BK = batch.graded.grades_BK[:, :top]
    found_B = np.count_nonzero(grades_BK != EMPTY, axis=1)
    judged_B = np.count_nonzero(grades_BK > UNJUDGED, axis=1)
    items, rankings = int(found_B.sum()), int(np.count_nonzero(found_B))
    blind = int(np.count_nonzero((found_B > 0) & (judged_B == 0)))
    return {
        f"hits/unjudged@{top}": (items - int(judged_B.sum())) / max(items, 1),
        f"hits/blind@{top}": blind / max(rankings, 1),
    }
