"""The contract is worth what it catches: each of these retrievers is wrong in one way, and one test says so."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from retrievers import Hits
from retrievers.bm25.bm25 import BM25
from retrievers.testing import RetrieverContract, check_hits
from retrievers.topk import no_hits
from tests.retrievers.bm25.formulas import lucene, words


class Wrong:
    """A correct retriever for a subclass to spoil."""

    def __init__(self, catalog):
        self.catalog, self.right = catalog, BM25(catalog, backend="numpy")

    def search(self, queries, k):
        return self.right.search(queries, k)


class FindsSomethingForNothing(Wrong):
    def search(self, queries, k):
        rows, scores = super().search(queries, k)
        return Hits(np.where(rows < 0, np.int32(0), rows), np.where(rows < 0, np.float32(0), scores))


class GivesTiesToTheHigherRow(Wrong):
    def search(self, queries, k):
        rows, scores = self.right.search(queries, len(self.catalog))
        order = np.lexsort((-rows, -scores))
        wide = Hits(np.take_along_axis(rows, order, 1), np.take_along_axis(scores, order, 1))
        pad = ((0, 0), (0, max(0, k - len(self.catalog))))
        return Hits(
            np.pad(wide[0], pad, constant_values=-1)[:, :k], np.pad(wide[1], pad, constant_values=-np.inf)[:, :k]
        )


class HasOneColumnTooFew(Wrong):
    def search(self, queries, k):
        return self.right.search(queries, max(1, min(k, len(self.catalog) - 1)))


class ForgetsTheBestWhenKIsSmall(Wrong):
    def search(self, queries, k):
        if k >= 20:
            return super().search(queries, k)
        rows, scores = self.right.search(queries, k + 1)
        return Hits(rows[:, 1:], scores[:, 1:])


class ScalesByTheBatch(Wrong):
    def search(self, queries, k):
        rows, scores = super().search(queries, k)
        return Hits(rows, (scores / max(1, len(queries))).astype(np.float32))


class CountsLettersToo(Wrong):
    def search(self, queries, k):
        return self.right.search([query[:3] for query in queries], k)


class LooksAtIds(Wrong):
    def __init__(self, catalog):
        super().__init__(catalog)
        self.bonus = np.array([*(float(item.startswith("item")) for item in catalog.ids), 0], np.float32)

    def search(self, queries, k):
        rows, scores = super().search(queries, k)
        return Hits(rows, scores + self.bonus[rows])


class ChokesOnSurrogates(Wrong):
    def search(self, queries, k):
        for query in queries:
            query.encode()
        return super().search(queries, k)


class WantsTwoItems(Wrong):
    def search(self, queries, k):
        return super().search(queries, k) if len(self.catalog) > 1 else no_hits(len(queries), k)


class AcceptsAnyK(Wrong):
    def search(self, queries, k):
        return super().search(queries, max(k, 1))


class HoldsALock(Wrong):
    def __init__(self, catalog):
        super().__init__(catalog)
        self.lock = threading.Lock()


class KeepsItsQueriesOnItself(Wrong):
    def search(self, queries, k):
        self.queries = queries
        time.sleep(0.002)
        return super().search(self.queries, k)


class HasAnotherFormula(Wrong):
    def __init__(self, catalog):
        super().__init__(catalog)
        self.right = BM25(catalog, k1=1.21, backend="numpy")


class LosesAnItem(Wrong):
    def search(self, queries, k):
        rows, scores = self.right.search(queries, k + 1)
        return Hits(np.delete(rows, min(2, k), 1), np.delete(scores, min(2, k), 1))


SPOILED = {
    FindsSomethingForNothing: "test_a_query_that_matches_nothing_finds_nothing",
    GivesTiesToTheHigherRow: "test_equal_scores_stand_in_the_order_of_rows",
    HasOneColumnTooFew: "test_hits_have_a_row_for_each_query_and_k_columns",
    ForgetsTheBestWhenKIsSmall: "test_a_shorter_search_is_the_beginning_of_a_longer_one",
    ScalesByTheBatch: "test_queries_do_not_see_each_other",
    CountsLettersToo: "test_an_item_finds_itself",
    LooksAtIds: "test_ids_do_not_matter",
    ChokesOnSurrogates: "test_odd_queries_are_queries",
    WantsTwoItems: "test_a_catalog_of_one_item_is_searched",
    AcceptsAnyK: "test_a_k_below_one_is_refused",
    HoldsALock: "test_a_pickled_retriever_finds_the_same",
    KeepsItsQueriesOnItself: "test_threads_find_the_same",
    HasAnotherFormula: "test_it_agrees_with_brute_force",
    LosesAnItem: "test_it_agrees_with_brute_force",
}


class Contract(RetrieverContract):
    def __init__(self, cls):
        self.cls = cls

    def build(self, catalog):
        return self.cls(catalog)

    def brute_force(self, catalog, query):
        return lucene([words(text) for text in catalog.texts], words(query), k1=1.2, b=0.75)


@pytest.mark.parametrize(("cls", "test"), SPOILED.items(), ids=lambda value: getattr(value, "__name__", value))
def test_the_contract_catches_a_retriever_that(cls, test):
    getattr(Contract(Wrong), test)()
    with pytest.raises((AssertionError, UnicodeEncodeError, TypeError)):
        getattr(Contract(cls), test)()


def test_every_test_of_the_contract_has_a_retriever_that_fails_it():
    assert {name for name in vars(RetrieverContract) if name.startswith("test_")} == set(SPOILED.values())


def test_a_declared_capability_is_tested_as_declared():
    class Dense(Contract):
        matches_everything = True

    with pytest.raises(AssertionError, match="found rows"):
        Dense(Wrong).test_a_query_that_matches_nothing_finds_nothing()


def test_a_lower_recall_is_accepted_where_it_is_declared():
    class Approximate(Contract):
        least_recall = 0.5

    Approximate(LosesAnItem).test_it_agrees_with_brute_force()


def test_a_contract_without_its_two_methods_says_what_is_missing():
    with pytest.raises(NotImplementedError, match="RetrieverContract must say how to build"):
        RetrieverContract().test_threads_find_the_same()
    with pytest.raises(NotImplementedError, match="must say what the true scores are"):
        RetrieverContract().brute_force(None, "query")


@pytest.mark.parametrize(
    ("rows", "scores", "message"),
    [
        ([[2, 0]], [[2, 1]], "not"),
        ([[2, 9, -1]], [[2, 1, -np.inf]], "a row is not in the catalog"),
        ([[2, 0, -1]], [[2, np.nan, -np.inf]], "a score is NaN"),
        ([[2, 0, -1]], [[2, 1, 0]], "are not in the same places"),
        ([[2, -1, 0]], [[2, -np.inf, -np.inf]], "are not in the same places"),
        ([[-1, 0, 2]], [[-np.inf, 1, 0]], "after an empty place"),
        ([[2, 0, 1]], [[1, 2, 0]], "scores increase"),
        ([[2, 0, -1]], [[1, 1, -np.inf]], "order of their rows"),
        ([[0, 1, 0]], [[3, 2, 1]], "found twice"),
    ],
)
def test_check_hits_says_what_is_wrong(rows, scores, message):
    with pytest.raises(AssertionError, match=message):
        check_hits(Hits(np.array(rows, np.int32), np.array(scores, np.float32)), 1, 3, 4)
