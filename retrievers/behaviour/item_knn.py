"""Nearest items: what users of the same items took, by the library implicit."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np

from retrievers.base import Catalog, Floats
from retrievers.behaviour.base import Fitted, History, Recommender, histories_matrix, matrix_of
from retrievers.options import PositiveInt, checked

KINDS: Mapping[str, str] = {"cosine": "CosineRecommender", "tfidf": "TFIDFRecommender", "bm25": "BM25Recommender"}
"""The classes of `implicit.nearest_neighbours`."""


@checked
class ItemKNN(Recommender):
    """Items that share users with those of the history: item-based collaborative filtering.

    The score of an item is the sum of its similarities to the items of the history, and is found if it is above 0. Only
    the nearest items of each item have a similarity. It is the cosine of the columns of users, counted alike (`cosine`)
    or by how few items they took (`tfidf`), or the product of columns that are weighted as terms are in text search
    (`bm25`), so that users who took nearly everything say little.

    Fast and small on millions of items, and each recommendation can be explained by one item of the history. Fitted
    once with the library implicit (`pip install 'recr1[behaviour]'`), and kept on disk.

    Args:
        catalog: What is recommended, with its interactions.
        neighbours: How many nearest items each item has; try 5 to 100: accuracy depends on it most.
        weighting: How much a user counts.
        store: The folder that keeps the similarities; "auto" is the folder of RECR1_CACHE, or ~/.cache/recr1. None
            keeps nothing.
    """

    libraries: ClassVar[Sequence[str]] = ("scipy", "implicit")

    def __init__(
        self,
        catalog: Catalog,
        *,
        neighbours: PositiveInt = 20,
        weighting: Literal["cosine", "tfidf", "bm25"] = "bm25",
        store: str | None = "auto",
    ) -> None:
        super().__init__(catalog)

        def fit() -> dict[str, Any]:
            from implicit import nearest_neighbours

            model = getattr(nearest_neighbours, KINDS[weighting])(K=neighbours + 1)  # and itself
            # An item whose users all count 0 has no length: it is near to nothing. What is warned of is a conversion.
            with np.errstate(invalid="ignore"), warnings.catch_warnings(action="ignore"):
                model.fit(matrix_of(catalog), show_progress=False)
            similar = model.similarity
            weights = np.nan_to_num(similar.data).astype(np.float32)
            return {"weights": weights, "columns": similar.indices, "ends": similar.indptr}

        options = {"neighbours": neighbours, "weighting": weighting}
        self._fitted = Fitted(catalog, "item_knn", options, ("numpy", *self.libraries), fit, store)

    def _scores(self, histories: Sequence[History]) -> Floats:
        from scipy.sparse import csr_matrix

        items = len(self._known_N)
        parts = tuple(self._fitted[name] for name in ("weights", "columns", "ends"))
        scores_QN = (histories_matrix(histories, items) @ csr_matrix(parts, (items, items))).toarray()
        scores: Floats = np.where(scores_QN > 0, scores_QN, np.float32(-np.inf))
        return scores
