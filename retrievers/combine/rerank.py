"""Reranking: a slow and careful scorer over what a fast retriever found first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrievers import PARTS
from retrievers.abilities import Delegate
from retrievers.base import Catalog, Hits, Query, Retriever, Rows
from retrievers.combine.scorers import Scorer
from retrievers.errors import MissingAnswers
from retrievers.topk import check_k, topk_of


class Rerank(Delegate):
    """The first `depth` items of another retriever, ordered anew by a scorer that reads query and item together.

    An item among them has the scorer's number as its score. A search for more items gets those that the retriever found
    behind them too, in its order and below all others: the lowest number of the scorer, less 1, less how far the
    retriever's score is under that of the first item behind. (Nogueira and Cho, "Passage Re-ranking with BERT", 2019.)

    The scorer sees each query on its own and each different text once, so that items with one text tie.

    Args:
        catalog: What is searched.
        retriever: What finds the items, as a recipe writes it: `{type: bm25, k1: 0.9}`.
        scorer: What orders them: `{type: cross_encoder, model: cross-encoder/ms-marco-MiniLM-L6-v2}`.
        depth: How many items are ordered anew for each query. They are most of the cost.
        field: The field of the catalog that the scorer reads; "texts" is the text that is searched by default.

    Raises:
        ValueError: For an option that cannot be used, with what can; for a part, with its place.
    """

    def __init__(
        self,
        catalog: Catalog,
        *,
        retriever: dict[str, Any],
        scorer: dict[str, Any],
        depth: int = 100,
        field: str = "texts",
    ) -> None:
        problems = self.check_options({"depth": depth})
        if problems:
            raise ValueError(problems[0])
        self._texts = catalog.column(field)
        self._depth = min(depth, len(catalog))
        self._inner: Retriever = PARTS.build("retriever", retriever, catalog)
        if self.max_k is not None and self.max_k < self._depth:
            raise ValueError(
                f"depth: the retriever finds at most {self.max_k} items; set depth to {self.max_k} or less"
            )
        self._scorer: Scorer = PARTS.build("scorer", scorer)

    @staticmethod
    def check_options(options: Mapping[str, Any]) -> list[str]:
        """What is wrong with the options, before anything is built."""
        depth = options.get("depth", 1)
        return [] if depth >= 1 else [f"depth: must be at least 1, got {depth}"]

    def search(self, queries: Sequence[Query], k: int) -> Hits:
        """Hits of shape (len(queries), k).

        Raises:
            ValueError: For a query that is not text or a k below 1.
            MissingAnswers: For queries that the retriever has no answer to.
        """
        check_k(k)
        try:
            first = self._inner.search(queries, max(k, self._depth))
        except MissingAnswers as error:
            raise MissingAnswers(self._reranked(queries, error.hits, k), error.faults) from error
        return self._reranked(queries, first, k)

    def _reranked(self, queries: Sequence[Query], first: Hits, k: int) -> Hits:
        scores_QM = np.zeros(first.rows_QK.shape, np.float64)
        for query, rows_M, before_M, scores_M in zip(queries, *first, scores_QM, strict=True):
            found = int((rows_M >= 0).sum())
            head, tail = slice(0, min(found, self._depth)), slice(self._depth, found)
            if found:
                scores_M[head] = self._scored(query, rows_M[head])
            if found > self._depth:
                scores_M[tail] = scores_M[head].min() - 1 - (before_M[self._depth] - before_M[tail])
        return topk_of(first.rows_QK, scores_QM, k)

    def _scored(self, query: Query, rows: Rows) -> NDArray[np.floating[Any]]:
        """The scorer's numbers for some items, which are checked: a scorer that fails has no ranking."""
        if not isinstance(query, str):
            raise ValueError(f"a scorer reads text, and the query is of type {type(query).__name__}")
        texts = [self._texts[row] for row in rows]
        place_of = {text: place for place, text in enumerate(dict.fromkeys(texts))}
        numbers = np.asarray(self._scorer.score(query, list(place_of)))
        if numbers.shape != (len(place_of),) or not np.isfinite(numbers).all():
            who = type(self._scorer).__name__
            what = f"shape {numbers.shape}" if numbers.shape != (len(place_of),) else "numbers that are not finite"
            raise ValueError(f"scorer {who} returned {what} for {len(place_of)} texts of the query {query[:80]!r}")
        scores: NDArray[np.floating[Any]] = numbers[[place_of[text] for text in texts]]
        return scores
