"""Every retriever that a recipe can name keeps the contract, in each of its ways to work."""

from __future__ import annotations

from importlib import import_module
from statistics import pstdev
from typing import ClassVar

import numpy as np
import pytest

from retrievers import BUILTIN, PARTS, Catalog, Hits
from retrievers.behaviour.content import Content
from retrievers.behaviour.ease import EASE
from retrievers.behaviour.testing import BehaviourContract
from retrievers.bm25.bm25 import BM25
from retrievers.bm25.rank_bm25 import RankBM25
from retrievers.combine.hybrid import Hybrid
from retrievers.combine.rerank import Rerank
from retrievers.dense.dense import Dense
from retrievers.dense.encoders import Hashing
from retrievers.testing import RetrieverContract
from tests.retrievers.behaviour.behaviour_contracts import (
    ALSContract,
    EASEContract,
    HistoryTextContract,
    ItemKNNContract,
    MultDAEContract,
    MultVAEContract,
    PersonasContract,
    PopularityContract,
    VQRecContract,
)
from tests.retrievers.bm25.formulas import lucene, okapi, over_fields, words
from tests.retrievers.dense.dense_contracts import STORE, ApproximateContract, DenseContract
from tests.retrievers.lucene.lucene_contracts import (
    LongTextsContract,
    LuceneContract,
    LuceneOverFieldsContract,
    LuceneSyntaxContract,
    QueryLikelihoodContract,
    needs_java,
)
from tests.retrievers.remote.milvus_contracts import MilvusContract, MilvusOnGraphContract, needs_milvus
from tests.retrievers.remote.postgres_server import missing as missing_postgres
from tests.retrievers.remote.remote_contracts import (
    ElasticsearchContract,
    HTTPContract,
    OpenSearchContract,
    PostgresContract,
)
from tests.retrievers.service.service_contracts import (
    CachedContract,
    CachedOnDiskContract,
    CachedServiceContract,
    ServiceContract,
    needs_service,
)


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


class TestBM25InAStore(TestBM25OverFields):
    def build(self, catalog):
        fields = {"title": 2.5, "body": 1}
        return BM25(catalog, k1=0.9, b=0.4, fields=fields, backend="numba", store=STORE.name)


class TestRankBM25(RetrieverContract):
    def build(self, catalog):
        return RankBM25(catalog)

    def brute_force(self, catalog, query):
        return okapi([words(text) for text in catalog.texts], words(query), k1=1.5, b=0.75, epsilon=0.25)


@pytest.mark.slow
class TestRankBM25OverFields(RetrieverContract):
    def build(self, catalog):
        return RankBM25(catalog, k1=1.2, b=0.3, epsilon=0, fields={"title": 0.5, "texts": 2})

    def brute_force(self, catalog, query):
        fields = [(catalog.column("title"), 0.5), (catalog.texts, 2)]
        return over_fields(lambda texts: okapi(texts, words(query), k1=1.2, b=0.3, epsilon=0), fields)


class TestHybridOfRanks(RetrieverContract):
    parts: ClassVar = [{"type": "bm25", "backend": "numpy"}, {"type": "rank_bm25", "fields": {"title": 1}}]

    def build(self, catalog):
        return Hybrid(catalog, parts=self.parts, weights=[1, 0.7])

    def brute_force(self, catalog, query):
        fused = {}
        for ranking, weight in zip(rankings(self.parts, catalog, query), [1, 0.7], strict=True):
            for place, row in enumerate(ranking, start=1):
                fused[row] = fused.get(row, 0) + weight / (60 + place)
        return fused


class TestHybridOfScores(TestHybridOfRanks):
    def build(self, catalog):
        return Hybrid(catalog, parts=self.parts, method="sum")

    def brute_force(self, catalog, query):
        fused = {}
        for ranking in rankings(self.parts, catalog, query):
            low, high = min(ranking.values(), default=0), max(ranking.values(), default=0)
            for row, score in ranking.items():
                fused[row] = fused.get(row, 0) + ((score - low) / (high - low) if high > low else 1)
        return fused


@pytest.mark.slow
class TestHybridOfDeviations(TestHybridOfRanks):
    def build(self, catalog):
        return Hybrid(catalog, parts=self.parts, method="sum", normalise="zscore", weights=[0.2, 3])

    def brute_force(self, catalog, query):
        fused = {}
        for ranking, weight in zip(rankings(self.parts, catalog, query), [0.2, 3], strict=True):
            scores = list(ranking.values())
            for row, score in ranking.items():
                part = (score - min(scores)) / pstdev(scores) if len(set(scores)) > 1 else 1
                fused[row] = fused.get(row, 0) + weight * part
        return fused


class Letters:
    """A scorer: how many different letters of the query a text has, from -1 on."""

    def score(self, query, texts):
        return np.array([len(set(query) & set(text)) - 1 for text in texts], np.float32)


class TestRerank(RetrieverContract):
    retriever: ClassVar = {"type": "bm25", "backend": "numpy"}

    def build(self, catalog):
        return Rerank(catalog, retriever=self.retriever, scorer={"type": f"{__name__}:Letters"}, depth=30)

    def brute_force(self, catalog, query):
        (ranking,) = rankings([self.retriever], catalog, query)
        scores = {row: len(set(query) & set(catalog.texts[row])) - 1 for row in list(ranking)[:30]}
        behind = list(ranking)[30:]
        tail = {row: min(scores.values()) - 1 - (ranking[behind[0]] - ranking[row]) for row in behind}
        return scores | tail

    def distinct_catalog(self, items):
        """Alphabets and numbers: the letters of an item's text are in no other."""
        texts = [f"{chr(0x4E00 + 2 * row)} {chr(0x4E01 + 2 * row)}" for row in range(items)]
        return Catalog([str(row) for row in range(items)], texts, {"title": texts, "body": [""] * items})


def rankings(parts, catalog, query):
    """All that each part finds, best first, row -> score; the parts themselves have a contract each."""
    hits = [PARTS.build("retriever", part, catalog).search([query], len(catalog)) for part in parts]
    return [dict(zip(one.rows_QK[0].tolist(), one.scores_QK[0].tolist(), strict=True)) for one in map(cut, hits)]


def cut(hits):
    count = int((hits.rows_QK[0] >= 0).sum())
    return Hits(hits.rows_QK[:, :count], hits.scores_QK[:, :count])


class TestDense(DenseContract):
    pass


@pytest.mark.slow
class TestDenseWithoutStore(DenseContract):
    def build(self, catalog):
        return Dense(catalog, encoder={"type": "hashing", "dim": 64}, store=None)


class TestDenseOnFlat(ApproximateContract):
    index = "flat"


class TestDenseOnGroups(ApproximateContract):
    index = "ivf"


class TestDenseOnGraph(ApproximateContract):
    index = "hnsw"


class TestDenseOnCodes(ApproximateContract):
    index = "pq"


class TestHTTP(HTTPContract):
    pass


class TestOpenSearch(OpenSearchContract):
    pass


@pytest.mark.slow
class TestElasticsearch(ElasticsearchContract):
    pass


@pytest.mark.skipif(missing_postgres() is not None, reason=str(missing_postgres()))
class TestPostgres(PostgresContract):
    pass


@needs_milvus
class TestMilvus(MilvusContract):
    pass


@pytest.mark.slow
@needs_milvus
class TestMilvusOnGraph(MilvusOnGraphContract):
    pass


@needs_java
class TestLucene(LuceneContract):
    pass


@pytest.mark.slow
@needs_java
class TestLuceneOverFields(LuceneOverFieldsContract):
    pass


@pytest.mark.slow
@needs_java
class TestLuceneQueryLikelihood(QueryLikelihoodContract):
    pass


@needs_java
class TestLuceneSyntax(LuceneSyntaxContract):
    pass


@pytest.mark.slow
@needs_java
class TestLuceneOnLongTexts(LongTextsContract):
    pass


class TestCached(CachedContract):
    pass


class TestCachedOnDisk(CachedOnDiskContract):
    pass


@needs_service
class TestService(ServiceContract):
    pass


@pytest.mark.slow
@needs_service
class TestCachedService(CachedServiceContract):
    pass


class TestPopularity(PopularityContract):
    pass


class TestItemKNN(ItemKNNContract):
    pass


class TestALS(ALSContract):
    pass


class TestMultVAE(MultVAEContract):
    pass


class TestMultDAE(MultDAEContract):
    pass


class TestPersonas(PersonasContract):
    pass


class TestVQRec(VQRecContract):
    pass


class TestHistoryText(HistoryTextContract):
    pass


class TestEASE(EASEContract):
    pass


class TestEASEWithoutStore(EASEContract):
    def build(self, catalog):
        return EASE(catalog, l2=2.5, store=None)


class TestContent(BehaviourContract):
    learns = False

    def build(self, catalog):
        return Content(catalog, encoder={"type": "hashing", "dim": 4096}, store=STORE.name)

    def brute_force(self, catalog, query):
        vectors = Hashing(dim=4096).encode_items(catalog.texts).astype(np.float64)
        known = [row for row in set(query) if vectors[row].any()]
        scores = {row: float(sum(vectors[row] @ vectors[one] for one in known)) for row in range(len(catalog))}
        return {row: scores[row] for row in scores if known and vectors[row].any() and row not in query}


def is_skipped(contract):
    return any(mark.args[0] for mark in getattr(contract, "pytestmark", []) if mark.name == "skipif")


@pytest.mark.parametrize("name", BUILTIN)
def test_every_builtin_retriever_has_a_contract_test(name):
    module, _, cls = BUILTIN[name].partition(":")
    retriever = getattr(import_module(module), cls)
    contracts = [value for key, value in globals().items() if key.startswith("Test")]
    if any(is_skipped(contract) and contract.__name__.startswith(f"Test{cls}") for contract in contracts):
        pytest.skip(f"{name} cannot run here: see its contract")
    tested = [
        type(contract().build(contract().distinct_catalog(1))) for contract in contracts if not is_skipped(contract)
    ]
    assert retriever in tested, f"no RetrieverContract in this file builds the retriever {name!r}"
