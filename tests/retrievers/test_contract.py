"""Every retriever that a recipe can name keeps the contract, in each of its ways to work."""

from __future__ import annotations

from importlib import import_module

import pytest

from retrievers import BUILTIN, Catalog
from retrievers.bm25 import BM25
from retrievers.rank_bm25 import RankBM25
from retrievers.testing import RetrieverContract
from tests.retrievers.formulas import lucene, okapi, over_fields, words


class TestBM25OnNumpy(RetrieverContract):
    def build(self, catalog):
        return BM25(catalog, backend="numpy")

    def brute_force(self, catalog, query):
        return lucene([words(text) for text in catalog.texts], words(query), k1=1.2, b=0.75)


class TestBM25OnNumba(TestBM25OnNumpy):
    def build(self, catalog):
        return BM25(catalog, backend="numba")


class TestBM25OverFields(RetrieverContract):
    def build(self, catalog):
        return BM25(catalog, k1=0.9, b=0.4, fields={"title": 2.5, "body": 1}, backend="numpy")

    def brute_force(self, catalog, query):
        fields = [(catalog.column("title"), 2.5), (catalog.column("body"), 1)]
        return over_fields(lambda texts: lucene(texts, words(query), k1=0.9, b=0.4), fields)


class TestRankBM25(RetrieverContract):
    def build(self, catalog):
        return RankBM25(catalog)

    def brute_force(self, catalog, query):
        return okapi([words(text) for text in catalog.texts], words(query), k1=1.5, b=0.75, epsilon=0.25)


class TestRankBM25OverFields(RetrieverContract):
    def build(self, catalog):
        return RankBM25(catalog, k1=1.2, b=0.3, epsilon=0, fields={"title": 0.5, "texts": 2})

    def brute_force(self, catalog, query):
        fields = [(catalog.column("title"), 0.5), (catalog.texts, 2)]
        return over_fields(lambda texts: okapi(texts, words(query), k1=1.2, b=0.3, epsilon=0), fields)


@pytest.mark.parametrize("name", BUILTIN)
def test_every_builtin_retriever_has_a_contract_test(name):
    module, _, cls = BUILTIN[name].partition(":")
    retriever = getattr(import_module(module), cls)
    one_item = Catalog(["only"], ["item"], {"title": ["item"], "body": [""]})
    contracts = [value for key, value in globals().items() if key.startswith("Test")]
    tested = [type(contract().build(one_item)) for contract in contracts]
    assert retriever in tested, f"no RetrieverContract in this file builds the retriever {name!r}"
