"""What every recommender shares: events, histories, items that are not found again."""

import numpy as np
import pytest

from retrievers.abilities import reads_histories, stats_of
from retrievers.base import Catalog
from retrievers.behaviour.base import EVENT, Recommender, events_in, matrix_of


def shop(events, items=5):
    interactions = np.array([(user, row, 1.0, time) for time, (user, row) in enumerate(events)], EVENT)
    return Catalog([f"i{row}" for row in range(items)], [f"thing {row}" for row in range(items)], None, interactions)


class Together(Recommender):
    """How many users took an item together with items of the history."""

    def __init__(self, catalog):
        super().__init__(catalog)
        self._matrix = matrix_of(catalog)

    def _scores(self, histories):
        counts = (self._matrix.T @ self._matrix).toarray()
        return np.array(
            [np.where(counts[list(one)].sum(0) > 0, counts[list(one)].sum(0), -np.inf) for one in histories]
        )


EVENTS = [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2), (2, 3), (1, 2)]


def test_a_pair_of_user_and_item_counts_once():
    assert matrix_of(shop(EVENTS)).toarray().tolist() == [[1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [0, 0, 0, 1, 0]]


def test_items_of_the_history_are_not_found_again_and_unknown_ones_say_nothing():
    retriever = Together(shop(EVENTS))
    hits = retriever.search([(0,), (0, 4), (), (4,), (1, 2)], 3)
    assert hits.rows_QK.tolist() == [[1, 2, -1], [1, 2, -1], [-1, -1, -1], [-1, -1, -1], [0, -1, -1]]
    assert hits.scores_QK[0].tolist() == [2, 1, -np.inf]
    assert stats_of(retriever) == {"history/unknown": 2 / 6} and reads_histories(retriever)


def test_blocks_of_queries_find_what_one_search_finds(monkeypatch):
    retriever, queries = Together(shop(EVENTS)), [(0,), (), (1,), (2,), (3,), (0, 1)]
    whole = retriever.search(queries, 4)
    monkeypatch.setattr("retrievers.behaviour.base.SCORES", 10)
    for array, part in zip(whole, retriever.search(queries, 4), strict=True):
        assert np.array_equal(array, part)


@pytest.mark.parametrize(
    "query, said",
    [
        ("red lamp", "a recommender searches a history, a tuple of catalog rows, not a str: 'red lamp'"),
        ((1, "2"), r"a history must be a tuple of catalog rows, got \(1, '2'\)"),
        ((0, 5), "a history has row 5, and the catalog has 5 items"),
        ((-1,), "a history has row -1"),
    ],
)
def test_a_query_that_is_no_history_is_refused(query, said):
    with pytest.raises(ValueError, match=said):
        Together(shop(EVENTS)).search([(0,), query], 2)


@pytest.mark.parametrize(
    "interactions, said",
    [
        (None, "no interactions, which a recommender learns from: choose a task"),
        (np.array([], EVENT), "no interactions"),
        ([(0, 1)], "must be an array of dtype"),
        (
            np.array([(0, 7, 1, 0)], EVENT),
            r"event 0 of the catalog's interactions is \(0, 7, 1.0, 0\): its row must be",
        ),
        (np.array([(-1, 0, 1, 0)], EVENT), "no number negative"),
    ],
)
def test_interactions_that_cannot_be_learned_from_are_refused(interactions, said):
    with pytest.raises(ValueError, match=said):
        events_in(Catalog(["a"], ["b"], None, interactions))
