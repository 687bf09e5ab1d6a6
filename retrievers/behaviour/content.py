"""A recommender of texts alone: the nearest items to what a user took; and what one changed text would change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from retrievers import PARTS
from retrievers.base import Catalog, Floats
from retrievers.behaviour.base import History, Recommender, histories_matrix
from retrievers.dense.encoders import Encoder
from retrievers.dense.vectors import embedded, on_grid
from retrievers.options import checked

Doubles: TypeAlias = NDArray[np.float64]

KEPT = 2**25
"""Scores that are kept between two calls of `rank_with`: 256 MB."""


@checked
class Content(Recommender):
    """Items whose texts are near to those of the history: the score is the dot product with the sum of its vectors.

    It learns from no event, so that it finds every item with a text, new ones too. `rank_with` ranks again with the
    text of one item changed, exactly and without a new index: that text is no part of the history of anyone who is
    asked about, so that the change moves one score of each user.

    Args:
        catalog: What is recommended.
        encoder: What makes vectors of texts, a part of its own: {type: hashing}, or {type: sentence_transformers, ...}.
        field: The field of the catalog that is embedded; "texts" is the default text of each item.
        store: The folder that keeps embeddings; "auto" is the folder of RECR1_CACHE, or ~/.cache/recr1. None keeps
            nothing.
    """

    def __init__(
        self, catalog: Catalog, *, encoder: dict[str, Any], field: str = "texts", store: str | None = "auto"
    ) -> None:
        self._encoder: Encoder = PARTS.build("encoder", encoder)
        super().__init__(catalog, np.ones(len(catalog), np.bool_))
        self._index(embedded(catalog, field, self._encoder, store).astype(np.float64))

    def _index(self, vectors_ND: Doubles) -> None:
        self._vectors_ND, self._known_N = vectors_ND, np.asarray(vectors_ND.any(axis=1))
        self._kept: dict[History, tuple[Doubles, Doubles]] = {}

    def item_vectors(self) -> Floats:
        """(N, dim) the vectors of items' texts; zeros for a text without a word."""
        vectors: Floats = self._vectors_ND.astype(np.float32)
        return vectors

    def _scores(self, histories: Sequence[History]) -> Floats:
        sums_QD = histories_matrix(histories, len(self._vectors_ND)) @ self._vectors_ND
        scores_QN: Floats = (sums_QD @ self._vectors_ND.T).astype(np.float32)
        scores_QN[:, ~self._known_N] = -np.inf
        return scores_QN

    def rank_with(self, row: int, texts: Sequence[str | None], histories: Sequence[History]) -> NDArray[np.int32]:
        """(T, H) the rank of one item for each history, if its text alone were each of these; None is its own text.

        The item is left out of the histories that have it, and other items of a history are not ranked. 0 where
        it is not found: a text without a word, or a history without another item. A search of an index with that text
        finds the item at this rank. All scores of a history are kept, so that a text costs one vector, and one dot
        product and one count for each history.
        """
        own_TD = np.repeat(self._vectors_ND[[row]], len(texts), axis=0)
        changed = [place for place, text in enumerate(texts) if text is not None]
        own_TD[changed] = on_grid(self._encoder.encode_items([text for text in texts if text is not None]))
        sums_HD, scores_HN = (np.stack(each) for each in zip(*self._of(histories), strict=True))
        holds_H1 = np.array([[row in history] for history in histories])
        sums_HD -= holds_H1 * self._vectors_ND[row]
        others_HN = (scores_HN - holds_H1 * (self._vectors_ND @ self._vectors_ND[row])).astype(np.float32)
        seen_HN = histories_matrix(histories, len(self._vectors_ND))
        others_HN[seen_HN.nonzero()] = -np.inf
        others_HN[:, ~self._known_N] = others_HN[:, [row]] = -np.inf
        own_TH = (own_TD @ sums_HD.T).astype(np.float32)
        asks_H = (seen_HN @ self._known_N) > holds_H1[:, 0] * self._known_N[row]
        ranks_TH = np.zeros(own_TH.shape, np.int32)
        for place in np.flatnonzero(own_TD.any(axis=1)):
            own_H1 = own_TH[place][:, None]
            above_H = np.count_nonzero(others_HN > own_H1, axis=1)
            before_H = np.count_nonzero(others_HN[:, :row] == own_H1, axis=1)
            ranks_TH[place] = np.where(asks_H, 1 + above_H + before_H, 0)
        return ranks_TH

    def _of(self, histories: Sequence[History]) -> list[tuple[Doubles, Doubles]]:
        """The sum of the vectors of each history, and the scores of all items."""
        if (len(self._kept) + len(histories)) * len(self._vectors_ND) > KEPT:
            self._kept.clear()
        if new := [history for history in dict.fromkeys(histories) if history not in self._kept]:
            sums_HD = histories_matrix(new, len(self._vectors_ND)) @ self._vectors_ND
            self._kept.update(zip(new, zip(sums_HD, sums_HD @ self._vectors_ND.T, strict=True), strict=True))
        return [self._kept[history] for history in histories]

    def with_texts(self, texts: Mapping[int, str]) -> Content:
        """The recommender of a catalog in which these rows have other texts: an index of its own."""
        other, vectors_ND = copy(self), self._vectors_ND.copy()
        vectors_ND[list(texts)] = on_grid(self._encoder.encode_items(list(texts.values())))
        other._index(vectors_ND)
        return other
