"""The contract of recommenders is worth what it catches: each of these is wrong in one way, and one test says so."""

from __future__ import annotations

import numpy as np
import pytest

from retrievers import Hits
from retrievers.behaviour.ease import EASE
from retrievers.behaviour.popularity import Popularity
from retrievers.topk import topk
from tests.retrievers.behaviour.behaviour_contracts import EASEContract


class Wrong(EASE):
    def __init__(self, catalog):
        super().__init__(catalog, l2=2.5, store=None)
        self.catalog = catalog


class FindsWhatTheUserHas(Wrong):
    def search(self, queries, k):
        hits = super().search(queries, k)
        for place, query in enumerate(queries):
            if query and hits.rows_QK[place, 0] >= 0:
                hits.rows_QK[place, 0] = query[0]
        return hits


class MixesTheUsers(Wrong):
    def _scores(self, histories):
        return np.nan_to_num(super()._scores(histories), neginf=0) + np.arange(len(self.catalog), dtype=np.float32)


class ReadsTheAnswers(Wrong):
    def __init__(self, catalog):
        super().__init__(catalog)
        self.told = [int(text.split("item-")[1].split()[0]) for text in catalog.fields.get("held_out", ())[:1]]

    def _scores(self, histories):
        scores = super()._scores(histories)
        scores[:, self.told] = 9
        return scores


class IgnoresTheEvents(Wrong):
    def _scores(self, histories):
        return np.ones((len(histories), len(self.catalog)), np.float32)


class FindsItemsThatNobodyTook(Wrong):
    def _scores(self, histories):
        return np.maximum(super()._scores(histories), 0)


class TakesAnyRow(Wrong):
    def search(self, queries, k):
        return super().search([(0,) if query == (0, len(self.catalog)) else query for query in queries], k)


class SaysNothing(Wrong):
    reads_histories = False


class NeedsNoEvents(Wrong):
    def __init__(self, catalog):
        if catalog.interactions is not None and len(catalog.interactions):
            super().__init__(catalog)


class LastItemFirst(Wrong):
    def search(self, queries, k):
        hits = super().search(queries, len(self.catalog))
        scores_QN = np.full((len(queries), len(self.catalog)), -np.inf, np.float32)
        for row_N, rows, found in zip(scores_QN, *hits, strict=True):
            row_N[rows[rows >= 0]] = found[rows >= 0]
        turned = topk(scores_QN[:, ::-1], k)
        return Hits(
            np.where(turned.rows_QK < 0, -1, len(self.catalog) - 1 - turned.rows_QK).astype(np.int32), turned[1]
        )


@pytest.mark.parametrize(
    ("recommender", "test"),
    [
        (FindsWhatTheUserHas, "items_of_the_history_are_not_found"),
        (MixesTheUsers, "nothing_is_found_across_two_groups_of_users"),
        (ReadsTheAnswers, "only_the_interactions_of_the_catalog_are_learned"),
        (IgnoresTheEvents, "only_the_interactions_of_the_catalog_are_learned"),
        (Popularity, "a_query_that_matches_nothing_finds_nothing"),
        (FindsItemsThatNobodyTook, "items_that_nobody_took_are_ignored_and_counted"),
        (TakesAnyRow, "what_is_no_history_is_refused"),
        (SaysNothing, "it_says_that_it_reads_histories"),
        (NeedsNoEvents, "a_catalog_without_interactions_is_refused"),
        (LastItemFirst, "equal_scores_stand_in_the_order_of_rows"),
    ],
)
def test_the_contract_catches(recommender, test):
    class Contract(EASEContract):
        def build(self, catalog):
            return recommender(catalog)

    with pytest.raises(AssertionError):
        getattr(Contract(), f"test_{test}")()
