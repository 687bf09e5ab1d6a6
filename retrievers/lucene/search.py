"""Searches in Lucene: of the words of a text, of a text in the syntax of its query parser, and with RM3.

Read through pyjnius, each hit costs a Python object and several calls, ten times as long as the search. So the steps
from a query to the bytes of its hits are a chain of Java's method handles, which Python calls once. It holds Python's
lock only while the bytes are copied: threads search at the same time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from retrievers.lucene.index import DEFAULT_FIELD, weight_map
from retrievers.lucene.jvm import alone, in_this_thread, java

Found: TypeAlias = NDArray[np.void]
"""The hits of one query, best first, with the columns `row` and `score`."""
HIT = np.dtype([("row", ">i4"), ("score", ">f4")])
NOTHING: Found = np.empty(0, HIT)
_LUCENE = "Lorg/apache/lucene/search/"


class Ranker:
    """Searches an index whose document numbers are catalog rows, in the fields `weights`, by their names in Lucene."""

    def __init__(self, searcher: Any, analyzer: Any, weights: Mapping[str, float]) -> None:
        handles = java("java.lang.invoke.MethodHandles")
        search = _method("org.apache.lucene.search.IndexSearcher", "search", f"({_LUCENE}Query;I){_LUCENE}TopDocs;")
        ranked = handles.filterReturnValue(search.bindTo(searcher), _hits_to_bytes())
        number = _method("java.lang.Integer", "parseInt", "(Ljava/lang/String;)I", static=True)
        self._of_query = handles.filterArguments(ranked, 1, number)
        self._of_text = handles.filterArguments(self._of_query, 0, _query_of_text(analyzer, weights))
        self._here = threading.local()

    def search(self, texts: Sequence[str], k: int) -> list[Found]:
        """The k best rows for each text, read as words only. Raises `ValueError` for a score that is not finite."""
        call = self._calls()[0]
        found = [_read(call(text, str(k))) for text in texts]
        if not all(np.isfinite(best["score"]).all() for best in found):
            raise ValueError("a score is not finite: lower the weights of option fields")
        return found

    def query(self, query: Any, k: int) -> Found:
        """The k best rows for Lucene's Query."""
        return _read(self._calls()[1](query, str(k)))

    def _calls(self) -> tuple[Callable[..., Any], Callable[..., Any]]:
        """The two chains as functions of this thread."""
        if "calls" not in self._here.__dict__:
            self._here.calls = in_this_thread(self._of_text), in_this_thread(self._of_query)
        calls: tuple[Callable[..., Any], Callable[..., Any]] = self._here.calls
        return calls


def _read(found: Any) -> Found:
    return np.frombuffer(found.tostring(), HIT)


def _query_of_text(analyzer: Any, weights: Mapping[str, float]) -> Any:
    """(String) -> Query: the terms of a text, by Anserini, each as often as it occurs, in each field."""
    signature = f"(Ljava/util/Map;Lorg/apache/lucene/analysis/Analyzer;Ljava/lang/String;){_LUCENE}Query;"
    generator = java("io.anserini.search.query.BagOfWordsQueryGenerator")()
    build = _method("io.anserini.search.query.BagOfWordsQueryGenerator", "buildQuery", signature)
    arguments = [generator, weight_map(weights), analyzer]
    return java("java.lang.invoke.MethodHandles").insertArguments(build, 0, *arguments)


def _hits_to_bytes() -> Any:
    """(TopDocs) -> byte[]: allocates 8 bytes per hit, puts row and score of each, returns the array."""
    handles, hit = java("java.lang.invoke.MethodHandles"), "org.apache.lucene.search.ScoreDoc"
    hits = _getter("org.apache.lucene.search.TopDocs", "scoreDocs", f"[L{hit};")

    allocate = _method("java.nio.ByteBuffer", "allocate", "(I)Ljava/nio/ByteBuffer;", static=True)
    times = _method("java.lang.Math", "multiplyExact", "(II)I", static=True)
    # An Integer, not an int: pyjnius would hand over int[] where Java expects Object[], which ends the process.
    bytes_of = handles.insertArguments(times, 1, java("java.lang.Integer")(HIT.itemsize))
    length = handles.arrayLength(_class(f"[L{hit};"))
    buffer = _then(hits, length, bytes_of, allocate)

    items = _method("java.util.Arrays", "asList", "([Ljava/lang/Object;)Ljava/util/List;", static=True)
    items = items.asFixedArity().asType(_type(f"([L{hit.replace('.', '/')};)Ljava/util/List;"))
    iterator = _then(hits, items, _method("java.util.List", "iterator", "()Ljava/util/Iterator;"))

    put_int = _method("java.nio.ByteBuffer", "putInt", "(I)Ljava/nio/ByteBuffer;")
    put_float = _method("java.nio.ByteBuffer", "putFloat", "(F)Ljava/nio/ByteBuffer;")
    put_row = handles.filterArguments(put_int, 1, _getter(hit, "doc", "int"))
    put_score = handles.filterArguments(put_float, 1, _getter(hit, "score", "float"))
    put_twice = handles.collectArguments(put_score, 0, put_row)
    put_both = _type(f"(Ljava/nio/ByteBuffer;L{hit.replace('.', '/')};)Ljava/nio/ByteBuffer;")
    put = handles.permuteArguments(put_twice, put_both, 0, 1, 1)

    filled = handles.iteratedLoop(iterator, buffer, put)
    return _then(filled, _method("java.nio.ByteBuffer", "array", "()[B"))


def _then(first: Any, *more: Any) -> Any:
    """A handle that calls each of these on the result of the one before."""
    for handle in more:
        first = java("java.lang.invoke.MethodHandles").filterReturnValue(first, handle)
    return first


def _method(owner: str, name: str, signature: str, *, static: bool = False) -> Any:
    lookup = java("java.lang.invoke.MethodHandles").publicLookup()
    find = lookup.findStatic if static else lookup.findVirtual
    return find(_class(owner), name, _type(signature))


def _getter(owner: str, field: str, of: str) -> Any:
    primitive = {"int": "java.lang.Integer", "float": "java.lang.Float"}.get(of)
    kind = java(primitive).TYPE if primitive else _class(of)
    return java("java.lang.invoke.MethodHandles").publicLookup().findGetter(_class(owner), field, kind)


def _class(name: str) -> Any:
    return java("java.lang.Class").forName(name)


def _type(signature: str) -> Any:
    return java("java.lang.invoke.MethodType").fromMethodDescriptorString(signature, None)


ENGINE_FAULTS = ("java.io.", "java.lang.OutOfMemoryError", "org.apache.lucene.index.", "org.apache.lucene.store.")
"""The beginnings of names of Java's exceptions that no text can cause: the engine failed, and so does the search."""


class Parser:
    """Searches texts as Lucene's classic query parser reads them. Used by several threads.

    A model's text can be wrong in more ways than syntax: parentheses nested deeper than Java's stack, a fuzzy word too
    long to expand, a weight beyond the largest number. A text that cannot be searched finds nothing, and is counted.
    """

    def __init__(self, ranker: Ranker, analyzer: Any, weights: Mapping[str, float]) -> None:
        self._ranker, self._analyzer, self._weights = ranker, analyzer, weights
        self._lock = threading.Lock()
        self.unparsed = 0
        """How many texts could not be parsed. Blank ones are not counted."""

    def search(self, texts: Sequence[str], k: int) -> list[Found]:
        """The k best rows for each text."""
        return [self._search(text, k) if text.strip() else NOTHING for text in texts]

    def _search(self, text: str, k: int) -> Found:
        from jnius import JavaException

        try:
            with alone:
                query = self._parser().parse(text)
            found = self._ranker.query(query, k)
            if np.isfinite(found["score"]).all():
                return found
        except JavaException as error:
            if str(error.classname).startswith(ENGINE_FAULTS):
                raise
        with self._lock:
            self.unparsed += 1
        return NOTHING

    def _parser(self) -> Any:
        package, names = "org.apache.lucene.queryparser.classic", list(self._weights)
        if list(self._weights.values()) == [1.0]:
            return java(f"{package}.QueryParser")(names[0], self._analyzer)
        return java(f"{package}.MultiFieldQueryParser")(names, self._analyzer, weight_map(self._weights))


class RM3Expansion:
    """RM3: `terms` terms of the first `items` items are added to a query. Used by several threads.

    Anserini chooses the terms, in an index that keeps the terms of each item; `weight` is the share of the query's own.
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
        """The k best rows for each text, with the added terms."""
        return [self._search(text, k) for text in texts]

    def _search(self, text: str, k: int) -> Found:
        with alone:
            query = self._generator.buildQuery(DEFAULT_FIELD, self._analyzer, text)
            first = self._searcher.search(query, self._items)
            found = java("io.anserini.search.ScoredDocs").fromTopDocs(first, self._searcher)
            if not found.lucene_docids:
                return NOTHING
            terms = java("io.anserini.analysis.AnalyzerUtils").analyze(self._analyzer, text)
            arguments = self._searcher, None, query, None, text, terms, None, self._options
            context = java("io.anserini.rerank.RerankerContext")(*arguments)
            self._rm3.rerank(found, context)
            longer = self._generator.buildQuery(DEFAULT_FIELD, context.feedbackTerms)
        return self._ranker.query(longer, k)
