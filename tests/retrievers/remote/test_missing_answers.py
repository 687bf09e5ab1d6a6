"""A search that an engine answers in part: whatever stands around the retriever, no answer is lost and none made up."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from retrievers import Catalog
from retrievers.bm25.bm25 import BM25
from retrievers.combine.cached import Cached
from retrievers.combine.hybrid import Hybrid
from retrievers.combine.rerank import Rerank
from retrievers.errors import EngineError, MissingAnswers
from retrievers.service.batching import Batcher
from tests.retrievers.remote.moody import Moody

MOODY = {"type": "tests.retrievers.remote.moody:Moody"}
QUERIES = ["red cup", "lost cup", "blue cup", "lost", "red cup"]
LOST = [1, 3]


class Words:
    """The number of words that query and text share."""

    def score(self, query, texts):
        return np.array([len(set(query.split()) & set(text.split())) for text in texts], float)


@pytest.fixture
def catalog():
    return Catalog(list("abcd"), ["red cup", "blue cup", "red pan", "lost thing"])


def answered(retriever, queries=QUERIES, k=3):
    with pytest.raises(MissingAnswers, match="a time-out") as caught:
        retriever.search(queries, k)
    return caught.value


@pytest.mark.parametrize("kind", ["hybrid", "rerank", "cached"])
def test_what_a_part_does_not_answer_has_no_answer_and_the_rest_has_its_own(catalog, kind):
    def made(inner):
        if kind == "hybrid":
            return Hybrid(catalog, parts=[inner, {"type": "bm25", "b": 0.1}], depth=4)
        if kind == "cached":
            return Cached(catalog, retriever=inner)
        return Rerank(
            catalog, retriever=inner, scorer={"type": "tests.retrievers.remote.test_missing_answers:Words"}, depth=2
        )

    error = answered(made(MOODY))
    whole = made({"type": "bm25"}).search(QUERIES, 3)
    kept = [place for place in range(len(QUERIES)) if place not in LOST]
    for got, expected in zip(error.hits, whole, strict=True):
        assert got[kept].tolist() == expected[kept].tolist()
    assert (error.hits.rows_QK[LOST] == -1).all() and np.isneginf(error.hits.scores_QK[LOST]).all()
    assert list(error.faults) == LOST


def test_only_what_was_answered_is_remembered(catalog, tmp_path):
    for options in ({}, {"disk": str(tmp_path)}):
        retriever = Cached(catalog, retriever=MOODY, **options)
        answered(retriever)
        assert retriever.stats["cached"] == 2
        assert retriever.search(["red cup", "blue cup"], 3).rows_QK[:, 0].tolist() == [0, 1]
        assert retriever.stats["searches"] == 1
        answered(retriever)
        assert retriever.stats["searches"] == 2


def test_of_searches_that_are_joined_each_has_its_own_faults(catalog):
    async def both():
        batcher = Batcher(Moody(catalog).search, window=0.01, waiting=9, places=1000)
        work = asyncio.create_task(batcher.run())
        ended = await asyncio.gather(
            batcher.search(["red", "lost"], 2), batcher.search(["blue"], 2), return_exceptions=True
        )
        work.cancel()
        batcher.close()
        return ended

    lost, whole = asyncio.run(both())
    assert isinstance(lost, MissingAnswers) and list(lost.faults) == [1] and lost.hits.rows_QK[0].tolist() == [0, 2]
    assert whole.rows_QK.tolist() == BM25(catalog).search(["blue"], 2).rows_QK.tolist()


def test_faults_of_several_queries_are_one_error_that_counts_them(catalog):
    error = answered(Moody(catalog))
    assert "2 of the search's 5 queries have no answer" in str(error)
    assert all(isinstance(fault, EngineError) for fault in error.faults.values())


def test_whoever_stands_around_a_retriever_that_finds_something_for_anything_says_so(catalog):
    dense = {"type": "dense", "encoder": {"type": "hashing"}}
    scorer = {"type": "tests.retrievers.remote.test_missing_answers:Words"}
    for inner, says in ((dense, True), ({"type": "bm25"}, False)):
        assert Rerank(catalog, retriever=inner, scorer=scorer).matches_everything is says
        assert Hybrid(catalog, parts=[{"type": "bm25"}, inner]).matches_everything is says
        assert Cached(catalog, retriever=inner).matches_everything is says
