"""The most popular items: the floor of every recommender."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from retrievers.base import Catalog, Floats
from retrievers.behaviour.base import History, Recommender, matrix_of
from retrievers.options import checked


@checked
class Popularity(Recommender):
    """The items that most users took, the same for everyone but for what their history has.

    The score of an item is the number of users with a training event of it. It answers an empty history too.

    Args:
        catalog: What is recommended, with its interactions.
    """

    finds_without_history: ClassVar[bool] = True

    def __init__(self, catalog: Catalog) -> None:
        super().__init__(catalog)
        counts_N = np.asarray(matrix_of(catalog).sum(axis=0)).ravel().astype(np.float32)
        self._scores_N: Floats = np.where(counts_N > 0, counts_N, np.float32(-np.inf))

    def _scores(self, histories: Sequence[History]) -> Floats:
        return np.broadcast_to(self._scores_N, (len(histories), len(self._scores_N)))
