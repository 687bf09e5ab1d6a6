"""A history as a text query: any retriever of texts, asked with the titles of what the user took."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from retrievers import PARTS
from retrievers.abilities import matches_everything, max_k_of, stats_of
from retrievers.base import Catalog, Hits, Query, Retriever
from retrievers.behaviour.base import history_of
from retrievers.errors import EngineError, MissingAnswers
from retrievers.options import PositiveInt, checked
from retrievers.topk import check_k, topk_of


@checked
class HistoryText:
    """The titles of the last items of a history, one a line and the oldest first, searched as a text.

    Items of the history are not found again. Nothing is learned, so items that nobody took are found too; it is the
    floor for recommenders that read texts. A history without a text finds nothing.

    Args:
        catalog: What is searched.
        retriever: What searches texts, as a recipe writes it: `{type: bm25}`.
        last: Items of the history that are read.
    """

    reads_histories: ClassVar[bool] = True

    def __init__(self, catalog: Catalog, *, retriever: dict[str, Any], last: PositiveInt = 10) -> None:
        self._catalog, self._last = catalog, last
        self._inner: Retriever = PARTS.build("retriever", retriever, catalog)
        self._read = self._unknown = 0
        self.max_k, self.matches_everything = max_k_of(self._inner), matches_everything(self._inner)

    @property
    def stats(self) -> Mapping[str, float]:
        """The retriever's own; `history/unknown`: the share of the items of all histories so far that have no text."""
        return {**stats_of(self._inner), "history/unknown": self._unknown / max(self._read, 1)}

    def search(self, queries: Sequence[Query], k: int) -> Hits:
        """Hits of shape (len(queries), k), fewer where the retriever's largest k is reached.

        Raises `ValueError` for a query that is no history or a k below 1, and the retriever's `MissingAnswers`.
        """
        check_k(k)
        histories = [history_of(query, len(self._catalog)) for query in queries]
        titles = [[self._catalog.title(row) for row in history] for history in histories]
        known = [[title for title in one if title] for one in titles]
        self._read += sum(map(len, titles))
        self._unknown += sum(map(len, titles)) - sum(map(len, known))
        deeper = k + max((len(set(history)) for history in histories), default=0)
        if self.max_k is not None:
            deeper = max(k, min(deeper, self.max_k))
        faults: Mapping[int, EngineError] = {}
        try:
            first = self._inner.search(["\n".join(one[-self._last :]) for one in known], deeper)
        except MissingAnswers as error:
            first, faults = error.hits, error.faults
        rows_QM = first.rows_QK.copy()
        for rows_M, history, read in zip(rows_QM, histories, known, strict=True):
            rows_M[np.isin(rows_M, history) | (not read)] = -1
        hits = topk_of(rows_QM, first.scores_QK, k)
        if faults:
            raise MissingAnswers(hits, faults)
        return hits
