"""The interface of a retriever as tests, for ours and for yours.

    from retrievers.testing import RetrieverContract

    class TestMyEngine(RetrieverContract):
        def build(self, catalog): return MyEngine(catalog)
        def brute_force(self, catalog, query): return {row: score for row, score in ...}

Inherited by a class that pytest collects, it runs as a dozen tests. What differs from the rule is declared in class
attributes and tested as declared; nothing is skipped.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar

import numpy as np
from numpy.random import Generator, default_rng

from retrievers.base import Catalog, Hits, Query, Retriever

WORDS = (*"a b c d e f g h i j k l m n Red red shoe shoes 4k the of".split(), "na\u00efve", "caf\u00e9", "\u65e5\u672c")
"""Few, so that random items share words, repeat them, and tie."""


class RetrieverContract:
    """Inherit, and write `build` and `brute_force`; a retriever whose queries are not text also writes the hooks."""

    matches_everything: ClassVar[bool] = False
    """True where every item has a score for every query (dense vectors)."""
    tolerance: ClassVar[float] = 1e-5
    """How far a score may be from the brute force's, as a share of the query's highest (of 1, if that is lower)."""
    least_recall: ClassVar[float] = 1.0
    """The share of the true best k that is found, averaged over the queries; below 1 for approximate search."""

    def build(self, catalog: Catalog) -> Retriever:
        """The retriever under test."""
        raise NotImplementedError(f"{type(self).__name__} must say how to build the retriever")

    def brute_force(self, catalog: Catalog, query: Query) -> Mapping[int, float]:
        """The score of every item that matches, by the retriever's documented formula, in the simplest code."""
        raise NotImplementedError(f"{type(self).__name__} must say what the true scores are")

    # Hooks: catalogs and queries. `texts` is always title and body.

    def random_catalog(self, rng: Generator, items: int) -> Catalog:
        """A catalog of this many items; some alike, some without a word."""
        return _catalog([(_random_text(rng, 5), _random_text(rng, 5)) for _ in range(items)])

    def distinct_catalog(self, items: int) -> Catalog:
        """A catalog in which each item is the one best answer to its own query."""
        return _catalog([(f"only{row}", "common word") for row in range(items)])

    def alike_catalog(self, items: int) -> Catalog:
        """A catalog whose items are the same but for their id."""
        return _catalog([("red", "shoe")] * items)

    def random_query(self, rng: Generator, catalog: Catalog) -> Query:
        """A query that finds some of the items of a random catalog, or none."""
        return _random_text(rng, 8)

    def query_for(self, catalog: Catalog, row: int) -> Query:
        """The query that asks for one item of a distinct or alike catalog."""
        return catalog.texts[row]

    def no_match_queries(self) -> Sequence[Query]:
        """Queries that match no item of a random catalog."""
        return ["", " \n\t", "zzqqy unheard", "\x00", "\ud800", "!?;()[]{}^~*:\\\"'"]

    def odd_queries(self) -> Sequence[Query]:
        """Queries that nobody should send and some model will."""
        return [
            *self.no_match_queries(),
            "red\x00shoe \udfff \uffff \U0010ffff",
            'title:red AND NOT (shoe^2 OR "a b"~3) +c -d e*',
            "<query>red</query> \u202e\ufeff\u200b{json: [",
            "cafe\u0301 NAI\u0308VE \ufb01 \u1e9e \u0130 \u65e5\u672c\u8a9e",
            "\u0939\u093f\u0928 \u0e44\u0e17\u0e22 \U0001f45f",
            "a\u0315\u0300" * 100_000,
            "red " * 100_000,
            "x" * 1_000_000,
            " ".join(f"w{word}" for word in range(100_000)) + " shoe",
        ]

    def test_hits_have_a_row_for_each_query_and_k_columns(self) -> None:
        """No queries, one, many; k of 1, up to and beyond the catalog."""
        catalog = self.random_catalog(default_rng(1), 12)
        retriever = self.build(catalog)
        for queries in ([], self._queries(catalog, 1), self._queries(catalog, 40)):
            for k in (1, 3, 12, 50):
                check_hits(retriever.search(queries, k), len(queries), k, len(catalog))

    def test_a_query_that_matches_nothing_finds_nothing(self) -> None:
        """Or, where every item matches, as many as there are."""
        catalog = self.random_catalog(default_rng(2), 30)
        nothing, something = self.no_match_queries(), self._queries(catalog, 3)
        asked = [*nothing, *something, *nothing]
        for place, rows in enumerate(self.build(catalog).search(asked, 7).rows_QK):
            if not len(nothing) <= place < len(nothing) + 3:
                expected = 7 if self.matches_everything else 0
                assert (rows >= 0).sum() == expected, f"{asked[place]!r} found rows {rows.tolist()}"

    def test_equal_scores_stand_in_the_order_of_rows(self) -> None:
        """Items that are the same item but for their id, at every k."""
        alike = self.alike_catalog(200)
        retriever = self.build(alike)
        for k in (1, 2, 9, 150, 300):
            rows = retriever.search([self.query_for(alike, 0)], k).rows_QK[0]
            expected = np.pad(np.arange(min(k, 200)), (0, max(0, k - 200)), constant_values=-1)
            assert np.array_equal(rows, expected), f"200 equal items at k={k} came as {rows.tolist()}"

    def test_a_shorter_search_is_the_beginning_of_a_longer_one(self) -> None:
        """Whatever k."""
        catalog = self.random_catalog(default_rng(4), 80)
        retriever, queries = self.build(catalog), self._queries(catalog, 20)
        longest = retriever.search(queries, 100)
        for k in (1, 2, 5, 20, 79, 80):
            self._assert_same(retriever.search(queries, k), Hits(longest.rows_QK[:, :k], longest.scores_QK[:, :k]))

    def test_queries_do_not_see_each_other(self) -> None:
        """A batch finds what its queries find one by one, in any batch and order."""
        catalog = self.random_catalog(default_rng(5), 60)
        retriever, queries = self.build(catalog), self._queries(catalog, 40)
        batch = retriever.search(queries, 10)
        self._assert_same(_joined([retriever.search([query], 10) for query in queries]), batch)
        backwards = retriever.search([*queries[::-1], *queries], 10)
        self._assert_same(Hits(backwards.rows_QK[39::-1], backwards.scores_QK[39::-1]), batch)
        self._assert_same(Hits(backwards.rows_QK[40:], backwards.scores_QK[40:]), batch)

    def test_an_item_finds_itself(self) -> None:
        """First, when no other item is like it."""
        catalog = self.distinct_catalog(40)
        retriever = self.build(catalog)
        rows = retriever.search([self.query_for(catalog, row) for row in range(40)], 1).rows_QK[:, 0]
        assert np.array_equal(rows, np.arange(40)), f"items 0 to 39 found {rows.tolist()}"

    def test_ids_do_not_matter(self) -> None:
        """Only rows do: renamed items are found as before."""
        catalog = self.random_catalog(default_rng(7), 50)
        ids = [f"{row * 7919 % 50:02d}" for row in range(50)]
        renamed = Catalog(ids, catalog.texts, catalog.fields, catalog.interactions)
        queries = self._queries(catalog, 20)
        self._assert_same(self.build(renamed).search(queries, 20), self.build(catalog).search(queries, 20))

    def test_odd_queries_are_queries(self) -> None:
        """Unicode, markup, lone surrogates, control characters, a megabyte: hits or none, the same each time."""
        catalog = self.random_catalog(default_rng(8), 20)
        retriever, odd = self.build(catalog), self.odd_queries()
        hits = retriever.search(odd, 25)
        check_hits(hits, len(odd), 25, len(catalog))
        self._assert_same(retriever.search(odd, 25), hits)

    def test_a_catalog_of_one_item_is_searched(self) -> None:
        """It finds its item, once."""
        catalog = self.distinct_catalog(1)
        hits = self.build(catalog).search([self.query_for(catalog, 0)], 3)
        assert hits.rows_QK.tolist() == [[0, -1, -1]], f"one item was found as {hits.rows_QK.tolist()}"

    def test_a_k_below_one_is_refused(self) -> None:
        """With a `ValueError` that says so."""
        retriever = self.build(self.random_catalog(default_rng(10), 5))
        for k in (0, -3):
            try:
                retriever.search([], k)
            except ValueError as error:
                assert f"{k}" in str(error), f"the message does not name the value {k}: {error}"
            else:
                raise AssertionError(f"k={k} was accepted")

    def test_a_pickled_retriever_finds_the_same(self) -> None:
        """So that worker processes can be handed one."""
        catalog = self.random_catalog(default_rng(11), 30)
        retriever, queries = self.build(catalog), self._queries(catalog, 20)
        before = retriever.search(queries, 10)
        self._assert_same(pickle.loads(pickle.dumps(retriever)).search(queries, 10), before)

    def test_threads_find_the_same(self) -> None:
        """Many searches at once, on one retriever."""
        catalog = self.random_catalog(default_rng(12), 60)
        retriever, queries = self.build(catalog), self._queries(catalog, 64)
        with ThreadPoolExecutor(8) as threads:
            parts = list(threads.map(lambda first: retriever.search(queries[first : first + 4], 10), range(0, 64, 4)))
        self._assert_same(_joined(parts), retriever.search(queries, 10))

    def test_it_agrees_with_brute_force(self) -> None:
        """On 200 random queries of 10 random catalogs of 1 to 60 items, at random k."""
        rng = default_rng(13)
        recalls = []
        for items in (1, 2, 3, 60, *rng.integers(4, 60, 6).tolist()):
            catalog = self.random_catalog(rng, items)
            queries, k = [self.random_query(rng, catalog) for _ in range(20)], int(rng.integers(1, items + 5))
            hits = self.build(catalog).search(queries, k)
            check_hits(hits, 20, k, items)
            for query, rows_K, scores_K in zip(queries, *hits, strict=True):
                found = {int(row): float(score) for row, score in zip(rows_K, scores_K, strict=True) if row >= 0}
                recalls.append(self._recall(query, found, self.brute_force(catalog, query), k))
        assert np.mean(recalls) >= self.least_recall, f"recall is {np.mean(recalls):.4f}, not {self.least_recall}"

    def _recall(self, query: Query, found: Mapping[int, float], truth: Mapping[int, float], k: int) -> float:
        """The share of the k best scores that were reached; fails for a score that is not the brute force's."""
        best = sorted(truth.values(), reverse=True)[:k]
        slack = self.tolerance * max([1.0, *map(abs, best)])
        for row, score in found.items():
            assert row in truth, f"{query!r} found row {row}, which does not match"
            assert abs(score - truth[row]) <= slack, f"{query!r} gave row {row} {score}, and it is {truth[row]}"
        reached = sum(truth[row] >= score - slack for row, score in zip(found, best, strict=False))
        return reached / len(best) if best else 1.0

    def _assert_same(self, hits: Hits, expected: Hits) -> None:
        assert np.array_equal(hits.rows_QK, expected.rows_QK), f"{hits.rows_QK} is not {expected.rows_QK}"
        close = np.isclose(hits.scores_QK, expected.scores_QK, rtol=self.tolerance, atol=0)
        assert close.all(), f"{hits.scores_QK[~close]} is not {expected.scores_QK[~close]}"

    def _queries(self, catalog: Catalog, count: int) -> list[Query]:
        rng = default_rng(count)
        return [self.random_query(rng, catalog) for _ in range(count)]


def check_hits(hits: Hits, queries: int, k: int, items: int) -> None:
    """Asserts all that `Hits` promises of its two arrays, for a catalog of that many items."""
    rows_QK, scores_QK = hits
    assert rows_QK.shape == scores_QK.shape == (queries, k), f"{rows_QK.shape} and {scores_QK.shape}: not {queries, k}"
    types = f"{rows_QK.dtype} rows and {scores_QK.dtype} scores"
    assert types == "int32 rows and float32 scores", types
    assert ((rows_QK >= -1) & (rows_QK < items)).all(), "a row is not in the catalog"
    assert not np.isnan(scores_QK).any(), "a score is NaN"
    assert ((rows_QK == -1) == (scores_QK == -np.inf)).all(), "-1 and -inf are not in the same places"
    empty = rows_QK == -1
    assert not (empty[:, :-1] & ~empty[:, 1:]).any(), "an item comes after an empty place"
    higher, lower = scores_QK[:, :-1], scores_QK[:, 1:]
    assert (higher >= lower).all(), "scores increase along a row"
    tied = (higher == lower) & ~empty[:, 1:]
    assert (rows_QK[:, :-1] < rows_QK[:, 1:])[tied].all(), "equal scores are not in the order of their rows"
    for rows_K in rows_QK:
        found = rows_K[rows_K >= 0]
        assert len(np.unique(found)) == len(found), "an item was found twice"


def _catalog(items: Sequence[tuple[str, str]]) -> Catalog:
    titles, bodies = [title for title, _ in items], [body for _, body in items]
    texts = [f"{title} {body}".strip() for title, body in items]
    return Catalog([f"item-{row}" for row in range(len(items))], texts, {"title": titles, "body": bodies})


def _random_text(rng: Generator, longest: int) -> str:
    return " ".join(rng.choice(WORDS, rng.integers(0, longest + 1)).tolist())


def _joined(parts: Sequence[Hits]) -> Hits:
    return Hits(np.concatenate([part.rows_QK for part in parts]), np.concatenate([part.scores_QK for part in parts]))
