"""Queries of Lucene that are more than the words of a text: those of its parser, and those that RM3 makes longer."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from retrievers.lucene.hits import NOTHING, Found, Ranker
from retrievers.lucene.index import DEFAULT_FIELD, weight_map
from retrievers.lucene.jvm import alone, java

ENGINE_FAULTS = ("java.io.", "java.lang.OutOfMemoryError", "org.apache.lucene.index.", "org.apache.lucene.store.")
"""How the names of Java's exceptions begin that no text can cause: the engine fails, and so does the search."""


class Parser:
    """Searches texts as Lucene's classic query parser reads them. Used by several threads.

    What a model writes can be wrong in more ways than syntax: parentheses nested deeper than Java's stack, a fuzzy word
    too long to expand, a weight beyond the largest number. All that the text is to blame for is one thing here: it
    finds nothing, and is counted.

    Args:
        ranker: What searches a Query.
        analyzer: What makes terms of words.
        weights: The fields where a word is searched that names none, as Lucene calls them.
    """

    def __init__(self, ranker: Ranker, analyzer: Any, weights: Mapping[str, float]) -> None:
        self._ranker, self._analyzer, self._weights = ranker, analyzer, weights
        self._lock = threading.Lock()
        self.unparsed = 0
        """How many texts were no queries, so far. Blank ones are not counted."""

    def search(self, texts: Sequence[str], k: int) -> list[Found]:
        """The k best rows for each text."""
        return [self._search(text, k) if text.strip() else NOTHING for text in texts]

    def _search(self, text: str, k: int) -> Found:
        from jnius import JavaException

        try:
            with alone:
                query = self._parser().parse(text)
            found = self._ranker.query(query, k)
        except JavaException as error:
            if str(error.classname).startswith(ENGINE_FAULTS):
                raise
            found = None
        if found is not None and np.isfinite(found["score"]).all():
            return found
        with self._lock:
            self.unparsed += 1
        return NOTHING

    def _parser(self) -> Any:
        package, names = "org.apache.lucene.queryparser.classic", list(self._weights)
        if list(self._weights.values()) == [1.0]:
            return java(f"{package}.QueryParser")(names[0], self._analyzer)
        return java(f"{package}.MultiFieldQueryParser")(names, self._analyzer, weight_map(self._weights))


class Feedback:
    """RM3: a query grows by the terms of the items that it finds first. Used by several threads.

    The terms are chosen by Anserini, in an index that keeps the terms of each item.

    Args:
        ranker: What searches a Query.
        searcher: Lucene's IndexSearcher.
        analyzer: What makes terms of a text.
        items: From how many items terms are taken.
        terms: How many.
        weight: The share of the query's own terms, from 0 to 1.
    """

    def __init__(self, ranker: Ranker, searcher: Any, analyzer: Any, items: int, terms: int, weight: float) -> None:
        self._ranker, self._searcher, self._analyzer, self._items = ranker, searcher, analyzer, items
        self._generator = java("io.anserini.search.query.BagOfWordsQueryGenerator")()
        rm3 = java("io.anserini.rerank.lib.Rm3Reranker")
        logs, drops_common_terms = False, True
        self._rm3 = rm3(analyzer, None, DEFAULT_FIELD, terms, items, weight, logs, drops_common_terms)
        # The reranker also searches, through slower code than ours: let it find one item.
        self._options = java("io.anserini.search.SearchCollection$Args")()
        self._options.hits, self._options.arbitraryScoreTieBreak = 1, True

    def search(self, texts: Sequence[str], k: int) -> list[Found]:
        """The k best rows for each text, made longer."""
        return [self._search(text, k) for text in texts]

    def _search(self, text: str, k: int) -> Found:
        with alone:
            query = self._query(text)
        return NOTHING if query is None else self._ranker.query(query, k)

    def _query(self, text: str) -> Any | None:
        """The longer Query, or None where the text finds nothing to learn from."""
        query = self._generator.buildQuery(DEFAULT_FIELD, self._analyzer, text)
        first = self._searcher.search(query, self._items)
        found = java("io.anserini.search.ScoredDocs").fromTopDocs(first, self._searcher)
        if not found.lucene_docids:
            return None
        terms = java("io.anserini.analysis.AnalyzerUtils").analyze(self._analyzer, text)
        context = java("io.anserini.rerank.RerankerContext")(
            self._searcher, None, query, None, text, terms, None, self._options
        )
        self._rm3.rerank(found, context)
        return self._generator.buildQuery(DEFAULT_FIELD, context.feedbackTerms)
