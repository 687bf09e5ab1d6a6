"""Lucene, the engine of OpenSearch, Elasticsearch and Solr, in this process: through pyserini's jar."""

from __future__ import annotations

import re
import shutil
import weakref
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from tempfile import mkdtemp
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le

from retrievers.abilities import CAPABILITIES
from retrievers.analyzer import K1, Analyzer, FieldWeights, searched_fields
from retrievers.base import Catalog, Hits, Query, text_of
from retrievers.errors import shown
from retrievers.lucene import jvm
from retrievers.lucene.index import Analysis, java_text, lucene_name, open_searcher, stemmers, write_index
from retrievers.lucene.jvm import java
from retrievers.lucene.search import Parser, Ranker, RM3Expansion
from retrievers.options import NonNegativeInt, PositiveFloat, PositiveInt, Share, checked
from retrievers.store import Store
from retrievers.topk import check_k, no_hits

MOST_NAMED = 8
"""Fields that a prompt lists, at most."""


@checked
class Lucene:
    """Lucene's own analysis, index and ranking.

    With the similarity `bm25`, the score of an item is that of `BM25`, with two differences. N and the mean length
    count only the items that have a term in the field. The length of a field is one byte: exact up to 40 terms, then
    rounded down by at most a ninth, so that scores differ by usually less than 2%, at most about 4%, of the best.
    With `query_likelihood` (Dirichlet smoothing), the score is

        sum over t in q that are in d:  max(0, ln(1 + tf / (mu * p(t))) + ln(mu / (|d| + mu)))

    where p(t) is the share of t among all terms of the field, each count plus one. Either way an item matches if it
    holds a term of the query. With `fields`, the score is the sum over the fields of weight * the score in the field.

    With the syntax `bag`, a query is words only: the text goes to Lucene's analyzer, and operators do nothing. With
    `lucene` it goes to Lucene's classic query parser: AND, OR, NOT, +, -, parentheses, "phrases", field:word, word^2,
    prefix* and so on. Every field of the catalog is then indexed, and can be named in a query; `texts` is called
    `contents` there. A query that does not parse finds nothing, and `unparsed` counts it.

    RM3 adds terms to a query from the first items that it finds, and searches again (Abdul-Jaleel et al., "UMass at
    TREC 2004"). As in Anserini, only terms of 2 to 20 letters a to z and digits that at most a tenth of the items
    hold are added.

    Needs the extra `lucene` and Java 21 or newer. All retrievers of a process share one Java; a process that is forked
    afterwards cannot search (`ForkedJava`). An unpickled retriever opens its index again. Searching is safe from
    several threads.

    Args:
        catalog: What is searched.
        similarity: The formula.
        k1: How slowly a repeated term stops counting; 0 counts presence only. Of `bm25`.
        b: How much the length of a text counts, from 0 to 1. Of `bm25`.
        mu: How much the catalog's own frequencies count, in terms. Of `query_likelihood`.
        fields: Fields of the catalog to search, with their weights; None searches its `texts`.
        syntax: How a query is read.
        lowercase: Whether case is ignored.
        stopwords: The name of a list ("english"), the words, or None; see `Analyzer`.
        stemmer: A Snowball language ("english"), or None.
        rm3_items: From how many items RM3 takes terms; 0 leaves RM3 out, 10 is usual.
        rm3_terms: How many terms it adds.
        rm3_weight: The share of the query's own terms in the new query, from 0 to 1.
        threads: How many queries are searched at the same time.
        store: The folder that keeps the index; "auto" is the folder of RECR1_CACHE, or ~/.cache/recr1. None keeps it in
            a temporary folder.

    Raises `ValueError` if pyserini or Java is missing, with what to install.
    """

    def __init__(
        self,
        catalog: Catalog,
        *,
        similarity: Literal["bm25", "query_likelihood"] = "bm25",
        k1: K1 = 1.2,
        b: Share = 0.75,
        mu: Annotated[PositiveFloat, "1000 is usual"] = 1000.0,
        fields: FieldWeights | None = None,
        syntax: Literal["bag", "lucene"] = "bag",
        lowercase: bool = True,
        stopwords: str | list[str] | None = None,
        stemmer: str | None = None,
        rm3_items: NonNegativeInt = 0,
        rm3_terms: PositiveInt = 10,
        rm3_weight: Share = 0.5,
        threads: Annotated[int, Ge(1), Le(jvm.MOST_WORKERS)] = 4,
        store: str | None = "auto",
    ) -> None:
        options = {name: value for name, value in locals().items() if name not in ("self", "catalog")}
        searched_fields(catalog, fields)  # raises for one that the catalog does not have
        names = _indexed_fields(catalog, fields, syntax)
        self._catalog, self._options, self._threads = catalog, options, threads
        self.syntax = {} if syntax == "bag" else _field_syntax(catalog, fields, names)
        self.capabilities = frozenset({"boolean", "phrases", *self.syntax} if syntax == "lucene" else ())
        stops = tuple(sorted(Analyzer(lowercase=lowercase, stopwords=stopwords).stopwords))
        analysis = Analysis(lowercase, stops, stemmer)
        kept: dict[str, Any] = {"positions": syntax == "lucene", "vectors": rm3_items > 0}
        weights = {lucene_name(name): weight for name, weight in (fields or {"texts": 1.0}).items()}
        jvm.start()
        with jvm.alone:
            analyzer = analysis.analyzer()
            key: dict[str, Any] = {"catalog": catalog.fingerprint, "fields": names, "analysis": analysis._asdict()}
            key |= {**kept, "lucene": java("org.apache.lucene.util.Version").LATEST.toString()}
            write = partial(write_index, catalog=catalog, fields=names, analyzer=analyzer, **kept)
            if store is None:
                store = mkdtemp(prefix="recr1-lucene-")
                weakref.finalize(self, shutil.rmtree, store, ignore_errors=True)
            self._entry = Store(store).open("lucene", key, write)
            searcher = open_searcher(self._entry.folder, _similarity(similarity, k1, b, mu))
            ranker = Ranker(searcher, analyzer, weights)
            self._parser = Parser(ranker, analyzer, weights) if syntax == "lucene" else None
            rm3 = RM3Expansion(ranker, searcher, analyzer, rm3_items, rm3_terms, rm3_weight) if rm3_items else None
        self._engine = self._parser or rm3 or ranker

    @staticmethod
    def check_options(options: Mapping[str, Any]) -> list[str]:
        """What is wrong with the options, and what is not installed: pyserini, or Java."""
        problems = Analyzer.check_options({"stopwords": options.get("stopwords")})
        if options.get("rm3_items") and (options.get("fields") is not None or options.get("syntax") == "lucene"):
            problems.append("rm3_items: RM3 searches words of texts only; leave out fields and syntax, or RM3")
        try:
            jvm.find_jar()
            jvm.find_java()
        except ValueError as error:
            return [*problems, str(error)]
        stemmer = options.get("stemmer")
        if stemmer is not None and stemmer not in stemmers():
            problems.append(f"stemmer: must be a language, got {shown(stemmer)}; there are: {', '.join(stemmers())}")
        return problems

    def search(self, queries: Sequence[Query], k: int) -> Hits:
        """Hits of shape (len(queries), k).

        Raises `ValueError` for a query that is not text or a k below 1, and `ForkedJava` in a forked process.
        """
        check_k(k)
        texts = [java_text(text_of(query, "a lexical retriever")) for query in queries]
        jvm.check_process()
        hits = no_hits(len(texts), k)
        shares = [slice(first, None, self._threads) for first in range(min(self._threads, len(texts)))]
        search = partial(self._engine.search, k=min(k, len(self._catalog)))
        for share, found in zip(shares, jvm.workers().map(search, [texts[share] for share in shares]), strict=True):
            for rows_K, scores_K, best in zip(hits.rows_QK[share], hits.scores_QK[share], found, strict=True):
                rows_K[: len(best)] = best["row"]
                scores_K[: len(best)] = best["score"]
        return hits

    @property
    def unparsed(self) -> int:
        """How many queries could not be parsed; none with the syntax `bag`."""
        return self._parser.unparsed if self._parser else 0

    def __reduce__(self) -> tuple[Callable[[Catalog], Lucene], tuple[Catalog]]:
        return partial(type(self), **self._options), (self._catalog,)


def _indexed_fields(catalog: Catalog, fields: Mapping[str, float] | None, syntax: str) -> list[str]:
    """The fields that are indexed: those that are searched, and all if a query can name them."""
    names = dict.fromkeys(["texts"] if fields is None else fields)
    if syntax == "lucene":
        names |= dict.fromkeys(sorted(catalog.fields))
    if len(set(map(lucene_name, names))) < len(names):
        raise ValueError("Lucene's name of the field 'texts' is 'contents', and this catalog has both: rename one")
    return list(names)


def _field_syntax(catalog: Catalog, fields: Mapping[str, float] | None, indexed: Sequence[str]) -> dict[str, str]:
    """How a query names a field, with the fields that are searched if there are several, else all that can be named."""
    names = [name for name in indexed if name in catalog.fields and re.fullmatch(r"\w+", name)]
    searched = [name for name in names if name in (fields or ())]
    named = (searched if len(searched) > 1 else names)[:MOST_NAMED]
    usual = CAPABILITIES["fields"].partition(",")[0]
    return {"fields": f"{usual} (the fields are {', '.join(named)}), as in {named[0]}:tent"} if named else {}


def _similarity(name: str, k1: float, b: float, mu: float) -> Any:
    package = "org.apache.lucene.search.similarities"
    if name == "bm25":
        return java(f"{package}.BM25Similarity")(float(k1), float(b))
    return java(f"{package}.LMDirichletSimilarity")(float(mu))
