"""Search that forgives typos: a retriever by shared trigrams, in a file of your own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from retrievers import Catalog, Hits, Query
from retrievers.testing import RetrieverContract
from retrievers.topk import topk


def trigrams(text: str) -> set[str]:
    """All runs of three letters within words, a blank before and after each word counting as letters."""
    words = [f" {word} " for word in text.lower().split()]
    return {word[place : place + 3] for word in words for place in range(len(word) - 2)}


class Trigrams:
    """Scores an item by the trigrams that it shares with the query, as a share of those that either has.

    Args:
        catalog: What is searched.
        field: The field of the catalog to search, or "texts".
    """

    def __init__(self, catalog: Catalog, *, field: str = "texts") -> None:
        items = [trigrams(text) for text in catalog.column(field)]
        holders: dict[str, list[int]] = {}
        for row, item in enumerate(items):
            for trigram in item:
                holders.setdefault(trigram, []).append(row)
        self._rows_of = {trigram: np.array(rows) for trigram, rows in holders.items()}
        self._sizes_N = np.array([len(item) for item in items])

    def search(self, queries: Sequence[Query], k: int) -> Hits:
        """Hits of shape (len(queries), k); a query without a known trigram finds nothing."""
        scores_QN = np.zeros((len(queries), len(self._sizes_N)))
        for place, query in enumerate(queries):
            asked = trigrams(str(query))
            shared_N = np.zeros(len(self._sizes_N))
            for trigram in asked & self._rows_of.keys():
                shared_N[self._rows_of[trigram]] += 1
            scores_QN[place] = shared_N / np.maximum(len(asked) + self._sizes_N - shared_N, 1)
        return topk(scores_QN, k, matched_QN=scores_QN > 0)


class TestTrigrams(RetrieverContract):
    def build(self, catalog: Catalog) -> Trigrams:
        return Trigrams(catalog)

    def brute_force(self, catalog: Catalog, query: Query) -> dict[int, float]:
        pairs = [(trigrams(str(query)), trigrams(text)) for text in catalog.texts]
        return {row: len(q & d) / len(q | d) for row, (q, d) in enumerate(pairs) if q & d}
