"""BM25 as the library rank-bm25 computes it: another idf, for telling shopping skill from the quirks of one engine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrievers.analyzer import K1, Analyzer, FieldWeights, searched_fields
from retrievers.base import Catalog, Hits, Query, Rows
from retrievers.options import NonNegativeFloat, Share, checked
from retrievers.topk import check_k, no_hits, topk


@checked
class RankBM25:
    """BM25 with the "Okapi" formula of the library rank-bm25.

    The score of an item with terms d for a query with terms q is

        sum over t in q:  idf(t) * tf * (k1 + 1) / (tf + k1 * (1 - b + b * |d| / mean |d|)),
        idf(t) = ln((N - df + 0.5) / (df + 0.5)), or where that is negative, epsilon * the mean of idf over all terms

    where tf counts t in d, df counts the items with t, and a term that the query repeats counts as often as it occurs.
    The mean is taken before the negative values are replaced. So a term that half of the items have adds nothing, and
    in a small catalog scores can be negative: an item matches if it has a term of the query, whatever its score. With
    `fields`, the score is the sum over the fields of weight * the score in that field, as in `BM25`.

    It scores item by item in Python, for thousands of items (`BM25` is for more). Searching is safe from several
    threads.

    Args:
        catalog: What is searched.
        k1: How slowly a repeated term stops counting; 0 counts presence only.
        b: How much the length of a text counts, from 0 to 1.
        epsilon: The share of the mean idf that a term in more than half of the items gets.
        fields: Fields of the catalog to search, with their weights; None searches its `texts`.
        lowercase: See `Analyzer`, as for the next two.
        stopwords: The name of a list ("english"), the words, or None.
        stemmer: A Snowball language ("english"), or None.
    """

    def __init__(
        self,
        catalog: Catalog,
        *,
        k1: K1 = 1.5,
        b: Share = 0.75,
        epsilon: NonNegativeFloat = 0.25,
        fields: FieldWeights | None = None,
        lowercase: bool = True,
        stopwords: str | list[str] | None = None,
        stemmer: str | None = None,
    ) -> None:
        self._items = len(catalog)
        self._analyzer = Analyzer(lowercase=lowercase, stopwords=stopwords, stemmer=stemmer)
        self.normal_query = self._analyzer.normal_query
        self._fields = [
            (_Field(map(self._analyzer.terms, texts), k1, b, epsilon), weight)
            for texts, weight in searched_fields(catalog, fields)
        ]

    check_options = staticmethod(Analyzer.check_options)

    def search(self, queries: Sequence[Query], k: int) -> Hits:
        """Hits of shape (len(queries), k). Raises `ValueError` for a query that is not text or a k below 1."""
        check_k(k)
        hits = no_hits(len(queries), k)
        for place, query in enumerate(queries):
            counts = self._analyzer.query_terms(query)
            scores_N, matched_N = np.zeros(self._items), np.zeros(self._items, np.bool_)
            for field, weight in self._fields:
                rows = field.rows_with(counts)
                scores_N[rows] += weight * field.scores(counts, rows)
                matched_N[rows] = True
            hits.rows_QK[place], hits.scores_QK[place] = topk(scores_N[None], k, matched_N[None])
        return hits


class _Field:
    """One field of all items in rank-bm25, and which items hold which term."""

    def __init__(self, terms_N: Iterable[list[str]], k1: float, b: float, epsilon: float) -> None:
        from rank_bm25 import BM25Okapi

        corpus = list(terms_N)
        holders: dict[str, list[int]] = {}
        for row, terms in enumerate(corpus):
            for term in set(terms):
                holders.setdefault(term, []).append(row)
        self._rows: dict[str, Rows] = {term: np.array(rows, np.int32) for term, rows in holders.items()}
        self._okapi: Any = None
        if holders:  # the library divides by the number of terms; a field that is empty everywhere is never scored
            self._okapi = BM25Okapi(corpus, k1=k1, b=b, epsilon=epsilon)
            self._okapi.doc_len = np.array(self._okapi.doc_len)  # else it converts a whole list for each query

    def rows_with(self, terms: Iterable[str]) -> Rows:
        """The rows of the items that hold one of the terms, ascending."""
        rows = [self._rows[term] for term in terms if term in self._rows]
        return np.unique(np.concatenate(rows)) if rows else np.empty(0, np.int32)

    def scores(self, counts: Mapping[str, int], rows: Rows) -> NDArray[np.float64]:
        """The scores of some rows for the terms of a query and how often it holds each."""
        scores = np.zeros(len(rows))
        # In a fixed order, so that the order of the words cannot show in the last bit of a sum.
        known = sorted((count, term) for term, count in counts.items() if term in self._rows)
        for count, group in groupby(known, key=itemgetter(0)):
            scores += count * np.array(self._okapi.get_batch_scores([term for _, term in group], rows.tolist()))
        return scores
