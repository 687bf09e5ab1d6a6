"""What every contract of `lucene` shares: whether Java is here, and Lucene's formulas as plain loops."""

from __future__ import annotations

import math
from tempfile import TemporaryDirectory

import pytest

from retrievers import Catalog
from retrievers.lucene.lucene import Lucene
from retrievers.testing import RetrieverContract
from tests.retrievers.bm25.formulas import lucene, over_fields, words

STORE = TemporaryDirectory()


def missing():
    """What Lucene needs and is not here; None where it can run."""
    return next(iter(Lucene.check_options({})), None)


needs_java = pytest.mark.skipif(missing() is not None, reason=missing() or "")


def bm25(texts, query, k1=1.2, b=0.75):
    """The formula of `BM25`, among the items that have a term."""
    rows = [row for row, text in enumerate(texts) if text]
    scores = lucene([texts[row] for row in rows], query, k1, b) if rows else {}
    return {rows[place]: score for place, score in scores.items()}


def query_likelihood(texts, query, mu):
    everything = [term for text in texts for term in text]
    scores = {}
    for row, text in enumerate(texts):
        for term in query:
            if term in text:
                share = (everything.count(term) + 1) / (len(everything) + 1)
                part = math.log(1 + text.count(term) / (mu * share)) + math.log(mu / (len(text) + mu))
                scores[row] = scores.get(row, 0) + max(0, part)
    return scores


class LuceneContract(RetrieverContract):
    def build(self, catalog):
        return Lucene(catalog, store=STORE.name)

    def brute_force(self, catalog, query):
        return bm25([words(text) for text in catalog.texts], words(query))


class LuceneOverFieldsContract(RetrieverContract):
    def build(self, catalog):
        return Lucene(catalog, k1=0.9, b=0.4, fields={"title": 2.5, "body": 1}, store=STORE.name)

    def brute_force(self, catalog, query):
        fields = [(catalog.column("title"), 2.5), (catalog.column("body"), 1)]
        return over_fields(lambda texts: bm25(texts, words(query), k1=0.9, b=0.4), fields)


class QueryLikelihoodContract(RetrieverContract):
    def build(self, catalog):
        return Lucene(catalog, similarity="query_likelihood", mu=20, store=STORE.name)

    def brute_force(self, catalog, query):
        return query_likelihood([words(text) for text in catalog.texts], words(query), mu=20)


class LuceneSyntaxContract(LuceneContract):
    """Words without operators are searched as they are in a bag."""

    def build(self, catalog):
        return Lucene(catalog, syntax="lucene", store=STORE.name)

    def odd_queries(self):
        return [query[:50_000] for query in super().odd_queries()]  # Lucene's parser takes seconds for a megabyte


class LongTextsContract(LuceneContract):
    """Against the formula with true lengths: Lucene's are rounded, and this is what its documentation says of it."""

    tolerance = 0.05

    def random_catalog(self, rng, items):
        texts = [" ".join(f"w{word}" for word in rng.zipf(1.3, rng.integers(0, 300)) % 500) for _ in range(items)]
        return Catalog([str(row) for row in range(items)], texts)

    def random_query(self, rng, catalog):
        return " ".join(f"w{word}" for word in rng.zipf(1.3, 6) % 500)


def ask(retriever, *queries, k=10):
    """The rows that each query finds."""
    return [[row for row in rows if row >= 0] for rows in retriever.search(queries, k).rows_QK.tolist()]


def scores(retriever, query, k=10):
    """Row -> score of what a query finds."""
    hits = retriever.search([query], k)
    found = hits.rows_QK[0] >= 0
    return dict(zip(hits.rows_QK[0][found].tolist(), hits.scores_QK[0][found].tolist(), strict=True))


def rounded(length):
    """A length as Lucene keeps it: exact up to 40, then four significant bits of what goes beyond 24."""
    beyond = length - 24
    shift = max(0, beyond.bit_length() - 4) if beyond > 0 else 0
    return 24 + (beyond >> shift << shift) if beyond > 0 else length
