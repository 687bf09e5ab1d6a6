"""The interface of a recommender as tests, for ours and for yours: `RetrieverContract` with histories as queries.

from retrievers.behaviour.testing import BehaviourContract

class TestMyRecommender(BehaviourContract):
    def build(self, catalog): return MyRecommender(catalog)
    def brute_force(self, catalog, query): return {row: score for row, score in ...}
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.random import Generator, default_rng

from retrievers.abilities import reads_histories, stats_of
from retrievers.base import Catalog, Query
from retrievers.behaviour.base import EVENT
from retrievers.testing import WORDS, RetrieverContract, check_hits

ALIKE = "red shoe"
"""The text of items that are alike."""
SIDE = 12
"""Items of each of the two blocks that have no user in common."""


class BehaviourContract(RetrieverContract):
    """Inherit, and write `build` and `brute_force`; what differs from the rule is declared here too."""

    finds_without_history: ClassVar[bool] = False
    """True where an empty history finds items (popularity)."""
    personal: ClassVar[bool] = True
    """False where all histories find the same items, but for their own."""
    learns: ClassVar[bool] = True
    """False where nothing is learned from interactions, and so a catalog may have none."""
    alike_tie: ClassVar[bool] = True
    """False where items with the same users can have different scores: vectors learned from a random start."""

    def random_catalog(self, rng: Generator, items: int) -> Catalog:
        """Users with up to eight items each, low rows more often; some items that nobody took."""
        users = [(rng.random(rng.integers(1, 9)) ** 1.5 * items).astype(int) for _ in range(2 * items + 3)]
        return behaviour_catalog(items, [user.tolist() for user in users])

    def distinct_catalog(self, items: int) -> Catalog:
        """Pairs of items that the same five users took: each is the best answer to the other alone."""
        pairs = [[row + items, row] for row in range(items) for _ in range(5)]
        words = [f"pair{row % items}" for row in range(2 * items)]
        return behaviour_catalog(2 * items, pairs, words)

    def alike_catalog(self, items: int) -> Catalog:
        """Four users who took everything, and one item more at the end, which is the history to ask with."""
        return behaviour_catalog(items + 1, [[items, *range(items)]] * 4, [ALIKE] * (items + 1))

    def random_query(self, rng: Generator, catalog: Catalog) -> Query:
        """Up to six items, known or not, some of them twice."""
        return tuple(rng.integers(0, len(catalog), rng.integers(0, 7)).tolist())

    def query_for(self, catalog: Catalog, row: int) -> Query:
        """The partner of an item in a distinct catalog, the last item of an alike one."""
        if catalog.texts[0] == ALIKE:
            return (len(catalog) - 1,)
        return ((row + len(catalog) // 2) % len(catalog),) if self.personal else everything_but(row, catalog)

    def no_match_queries(self) -> Sequence[Query]:
        """No history."""
        return [()]

    def odd_queries(self) -> Sequence[Query]:
        """Histories as long as a catalog of 20 items, and much longer, with items many times."""
        every = tuple(range(20))
        return [(), (0,) * 100_000, every, every[::-1], every * 1_000, (19,), tuple(np.arange(3)), (0, 0, 1, 1, 0)]

    def test_a_query_that_matches_nothing_finds_nothing(self) -> None:
        """An empty history, or where that finds items, as many as there are."""
        catalog = self.random_catalog(default_rng(2), 30)
        asked = [(), (0, 1), ()]
        found = (self.build(catalog).search(asked, 7).rows_QK[[0, 2]] >= 0).sum(axis=1)
        assert found.tolist() == ([7, 7] if self.finds_without_history else [0, 0]), f"no history found {found} items"

    def test_equal_scores_stand_in_the_order_of_rows(self) -> None:
        """Items with the same users; where a random start tells them apart, all of them are found, in some order."""
        if self.alike_tie:
            super().test_equal_scores_stand_in_the_order_of_rows()
            return
        alike = self.alike_catalog(200)
        hits = self.build(alike).search([self.query_for(alike, 0)], 300)
        check_hits(hits, 1, 300, 201)
        assert sorted(hits.rows_QK[0].tolist()) == [*[-1] * 100, *range(200)], f"200 items came as {hits.rows_QK[0]}"

    def test_it_says_that_it_reads_histories(self) -> None:
        """By the ability `reads_histories`."""
        assert reads_histories(self.build(self.random_catalog(default_rng(20), 10)))

    def test_items_of_the_history_are_not_found(self) -> None:
        """Known or unknown, once or more often, at every k."""
        rng = default_rng(21)
        catalog = self.random_catalog(rng, 40)
        queries = [tuple(rng.integers(0, 40, count).tolist()) for count in (1, 2, 5, 20, 39) for _ in range(5)]
        retriever = self.build(catalog)
        for k in (3, 40):
            for query, rows in zip(queries, retriever.search(queries, k).rows_QK, strict=True):
                assert not set(query) & set(rows.tolist()), f"{query} found {rows.tolist()}: some of it again"

    def test_nothing_is_found_across_two_groups_of_users(self) -> None:
        """Who took items of one block gets the rest of it first; items of the other block share no user with it."""
        catalog = blocks_catalog()
        queries = [tuple(range(first, first + 3)) for first in (0, 4, SIDE, SIDE + 7)]
        for query, rows in zip(queries, self.build(catalog).search(queries, SIDE - 3).rows_QK, strict=True):
            across = [row for row in rows.tolist() if row >= 0 and row // SIDE != query[0] // SIDE]
            assert bool(across) != self.personal, f"{query} found {rows.tolist()}; blocks are of {SIDE} items"
            assert self.personal is False or (rows >= 0).any(), f"{query} found nothing"

    def test_only_the_interactions_of_the_catalog_are_learned(self) -> None:
        """A held-out pair changes nothing when it is in a field of the catalog; among the interactions it does."""
        catalog = blocks_catalog()
        query, held_out = (0, 1), SIDE + 2
        told = [f"user 0 takes item-{held_out} next"] * len(catalog)
        in_a_field = Catalog(catalog.ids, catalog.texts, {**catalog.fields, "held_out": told}, catalog.interactions)
        planted = np.array([(user, held_out, 1, 9) for user in range(8)], EVENT)
        events = np.sort(np.concatenate([catalog.interactions, planted]), order=["user", "time"])
        seen = Catalog(catalog.ids, catalog.texts, catalog.fields, events)
        before, hidden, shown = (self.build(one).search([query], 30) for one in (catalog, in_a_field, seen))
        self._assert_same(hidden, before)
        changed = not np.array_equal(before.scores_QK, shown.scores_QK)
        assert changed == self.learns, "eight planted events changed nothing" if self.learns else "events were learned"

    def test_items_that_nobody_took_are_ignored_and_counted(self) -> None:
        """In a history: with them it finds what it finds without, and they are in the numbers for the log."""
        catalog = behaviour_catalog(6, [[0, 1, 2], [0, 1], [2, 3, 0]] * 3, ["a", "b", "c", "d", "", ""])
        retriever = self.build(catalog)
        with_unknown, without = retriever.search([(0, 4, 1, 5), (4, 5)], 6), retriever.search([(0, 1), ()], 6)
        self._assert_same(with_unknown, without)
        assert not {4, 5} & set(with_unknown.rows_QK.ravel().tolist()), "an item that nobody took was found"
        assert stats_of(retriever)["history/unknown"] == 0.5, "4 of the 8 items asked with are unknown"

    def test_what_is_no_history_is_refused(self) -> None:
        """With a `ValueError` that shows the query; in any batch."""
        retriever = self.build(behaviour_catalog(3, [[0, 1], [1, 2]]))
        wrong: list[Query] = ["0 1", 7, None, (0.5,), ("0",), (-1,), (0, 3), frozenset({1})]
        for query in wrong:
            try:
                retriever.search([(0,), query], 2)
            except ValueError as error:
                assert "history" in str(error), f"the message does not speak of a history: {error}"
            else:
                raise AssertionError(f"{query!r} was taken for a history")

    def test_a_catalog_without_interactions_is_refused(self) -> None:
        """With a `ValueError` that says which tasks have them; not where nothing is learned from them."""
        for events in (None, np.empty(0, EVENT)):
            try:
                self.build(Catalog(["a", "b"], ["red shoe", "shoe"], {}, events))
            except ValueError as error:
                assert self.learns and "interactions" in str(error), str(error)
            else:
                assert not self.learns, "a catalog without interactions was accepted"


def behaviour_catalog(items: int, users: Sequence[Sequence[int]], texts: Sequence[str] | None = None) -> Catalog:
    """A catalog with events: the rows that each user took, a second apart. The texts are the contract's few words."""
    rng = default_rng(items)
    texts = texts or [" ".join(rng.choice(WORDS, 3).tolist()) for _ in range(items)]
    events = [(user, row, 1, time) for user, rows in enumerate(users) for time, row in enumerate(rows)]
    fields = {"title": texts, "body": [""] * items}
    return Catalog([f"item-{row}" for row in range(items)], texts, fields, np.array(events, EVENT))


def blocks_catalog() -> Catalog:
    """Two blocks of `SIDE` items, each with 30 users of its own who took six of them, and with words of its own."""
    rng = default_rng(22)
    users = [rng.permutation(SIDE)[:6] + SIDE * (user % 2) for user in range(60)]
    words = ["left hand" if row < SIDE else "right foot" for row in range(2 * SIDE)]
    return behaviour_catalog(2 * SIDE, [user.tolist() for user in users], words)


def everything_but(row: int, catalog: Catalog) -> Query:
    """The history of a user who took every item but one."""
    return tuple(other for other in range(len(catalog)) if other != row)
