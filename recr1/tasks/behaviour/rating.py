"""The task of ratings: how many stars does a person give the next item?"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np

from recr1.tasks.behaviour.answered import PastTask
from recr1.tasks.behaviour.source import Past, Review
from retrievers.options import checked


@checked
class RatingTask(PastTask):
    """A person's last items with their ratings, and an item: the answer is its rating.

    Measured by `RatingCloseness`; an evaluation prints RMSE and MAE beside, of the policy and of the global mean, the
    mean of the person's past ratings, the mean of the item's ratings in training, and the median of all. Who has no
    past, or an item without a rating, has the global mean. The format is by default `answer` with the source's scale.
    """

    templates = (
        "rated before:\n{past}\nhow many stars for {item}?",
        "a person gave these stars:\n{past}\nnow they buy {item}. how many stars?",
        "stars so far:\n{past}\nwhat will {item} get?",
    )
    lacking = "its events have no ratings: choose a source with ratings"

    def usual_format(self) -> dict[str, Any]:
        """`answer` with the scale of the source."""
        return {"type": "answer", "scale": list(self._source.scale or (1.0, 5.0))}

    def gold(self, past: Past, row: int, value: float, review: Review | None) -> str | None:
        """The rating."""
        return f"{value:g}" if self._source.scale else None

    def plain(self, past: Past, row: int) -> Mapping[str, str]:
        """The means, and the median of all ratings."""
        means, median = self._means
        everyone = means[-1]
        own = float(np.mean(past.values)) if past.values else everyone
        named = {"global mean": everyone, "user mean": own, "item mean": means.get(row, everyone), "median": median}
        return {name: f"{value:.3f}" for name, value in named.items()}

    @cached_property
    def _means(self) -> tuple[Mapping[int, float], float]:
        """The mean rating of each item in training, that of all under -1; and the median of all."""
        events = self.catalog.interactions
        assert events is not None
        values, rows = events["value"].astype(np.float64), events["row"]
        sums, counts = np.bincount(rows, values), np.bincount(rows)
        means = {row: float(sums[row] / counts[row]) for row in np.flatnonzero(counts).tolist()}
        return {**means, -1: float(values.mean())}, float(np.median(values))
