"""Numbers of lists and the rewards that pay for them: by hand, and under the contract of every reward."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from retrievers.base import Catalog
from rewards import Reward
from rewards.audit.lists import (
    expected_shares,
    jaccard,
    kendall,
    partial_spearman,
    prag,
    ranks,
    serp,
    total_variation,
)
from rewards.audit.terms import ByPersonReward, DisagreementReward, MiscalibrationReward, PopularityLiftReward
from rewards.base import Candidate
from rewards.testing import Cases, RewardContract, batch_of


def test_the_places_of_a_policy_that_takes_the_first_are_as_far_from_chance_as_can_be():
    assert expected_shares([4, 4, 2]) == pytest.approx([1 / 3, 1 / 3, 1 / 6, 1 / 6])
    assert total_variation(np.array([1.0, 0, 0, 0]), np.full(4, 0.25)) == 0.75
    assert total_variation(np.full(4, 0.25), np.full(4, 0.25)) == 0


@pytest.mark.parametrize(
    ("first", "second", "tau"),
    [([1, 2, 3], [1, 2, 3], 1), ([1, 2, 3], [3, 2, 1], -1), ([1, 2, 3], [1, 3, 2], 1 / 3), ([1, 2, 9], [8, 2, 1], -1)],
)
def test_kendall_reads_the_items_that_both_lists_have(first, second, tau):
    assert kendall(first, second) == pytest.approx(tau)


@pytest.mark.parametrize(("second", "tau"), [([1], 1), ([2], 0), ([], 0)])
def test_a_single_item_agrees_where_it_is_the_same(second, tau):
    assert kendall([1], second) == tau


def test_similarities_by_hand():
    # The second list has 1 and 3 of three, in the same order.
    first, second = [1, 2, 3], [3, 9, 1]
    assert jaccard(first, second) == 2 / 4
    assert serp(first, second) == (3 + 1) / 6
    # Pairs (1, 2): 2 is not there, so after 1: kept. (1, 3): turned round. (2, 3): 2 is not there: lost.
    assert prag(first, second) == 1 / 3
    for same in (jaccard, serp, prag):
        assert same(first, first) == 1 and same(first, [7, 8]) == 0
    assert prag([5], [5]) == 1 and prag([5], [5, 6]) == 0 and serp([], []) == 1


def test_ranks_share_the_places_of_equal_values():
    assert ranks(np.array([5.0, 1.0, 5.0, 7.0])).tolist() == [1.5, 0, 1.5, 3]


def test_a_partial_correlation_is_what_the_other_column_does_not_explain():
    rng = np.random.default_rng(0)
    count, own = rng.random((2, 2000))
    assert partial_spearman(count + 0.01 * own, own, count) > 0.5  # own decides between equal counts
    assert abs(partial_spearman(count, count + 0.5 * own, count)) < 0.05
    assert partial_spearman(count, count + 0.5 * own) > 0.7
    assert partial_spearman(np.ones(9), np.arange(9.0)) == 0


FIELDS = {
    "price": [0.0, 1.0, 2.0, 3.0],  # the share of the catalog that is less popular: 0, 1/4, 1/2, 3/4
    "category": ["tent", "tent", "lamp", None],
}
CATALOG = Catalog(["a", "b", "c", "d"], ["", "", "", ""], FIELDS)


def with_needs(batch, **changes):
    """The batch, with one list of changes for its needs: history=[(0,), ...]."""
    places = range(len(batch))
    needs = [replace(batch.rollouts[i].need, **{name: of[i] for name, of in changes.items()}) for i in places]
    return replace(batch, rollouts=tuple(replace(r, need=n) for r, n in zip(batch.rollouts, needs, strict=True)))


class TestPopularityLift(RewardContract):
    def build(self) -> Reward:
        return PopularityLiftReward(cutoff=2, field="price")

    def known(self) -> Cases:
        batch = batch_of(
            ["x", "y", "z", None, "w"], [[3, 2], [0, 1], [3, -1], [-1, -1], [3, 2]], [{1: 1}] * 5, catalog=CATALOG
        )
        two = (Candidate(2, "c"), Candidate(0, "a"))
        batch = with_needs(batch, history=[(0, 1), (3,), (0,), (0,), ()], candidates=[(), (), two, (), two])
        return [(batch, [1 / 8 - 5 / 8, 0.0, -3 / 4, -1.0, 1 / 4 - 5 / 8])]


class TestLiftOverCandidates(RewardContract):
    def build(self) -> Reward:
        return PopularityLiftReward(cutoff=2, field="price", over="candidates")

    def known(self) -> Cases:
        batch = batch_of(["x", "y"], [[3, 2], [3, 2]], [{1: 1}] * 2, catalog=CATALOG)
        batch = with_needs(batch, history=[(3,), (3,)], candidates=[(Candidate(2, "c"), Candidate(0, "a")), ()])
        return [(batch, [1 / 4 - 5 / 8, 3 / 8 - 5 / 8])]  # the second: less the whole catalog


class TestMiscalibration(RewardContract):
    def build(self) -> Reward:
        return MiscalibrationReward(cutoff=2)

    def known(self) -> Cases:
        rows = [[0, 1], [2, 3], [0, 2], [-1, -1], [0, 1]]
        batch = batch_of(["x", "y", "z", None, "w"], rows, [{1: 1}] * 5, catalog=CATALOG)
        batch = with_needs(batch, history=[(0, 1), (0, 1), (0, 0, 0, 2), (0,), ()])
        # Half tents for three quarters: 0.75 log(0.75 / 0.5025) + 0.25 log(0.25 / 0.4975)
        some = (0.75 * np.log(0.75 / 0.5025) + 0.25 * np.log(0.25 / 0.4975)) / np.log(100)
        return [(batch, [0.0, -1.0, -some, -1.0, 0.0])]


class TestDisagreement(RewardContract):
    def build(self) -> Reward:
        return DisagreementReward()

    def known(self) -> Cases:
        rows = [[1, 2, 3], [1, 2, 3], [3, 2, 1], [-1, -1, -1], [4, 5, 6]]
        wanted = [{1: 1}] * 4 + [{2: 1}]
        return [(batch_of(["x", "y", "z", None, "alone"], rows, wanted), [-1 / 2, -1 / 2, -1.0, -1.0, 0.0])]


class TestByPerson(RewardContract):
    def build(self) -> Reward:
        return ByPersonReward(similarity="jaccard", cutoff=2)

    def known(self) -> Cases:
        rows = [[1, 2, 3], [1, 9, 2], [7, 8, 1], [1, 2, 9], [-1, -1, -1]]
        batch = batch_of(["x", "y", "z", "w", None], rows, [{1: 1}] * 5)
        people = ["", "age=old", "age=young", "", "age=old"]
        return [(with_needs(batch, person=people), [0.0, -2 / 3, -1.0, 0.0, -1.0])]


def test_names_hold_every_setting():
    assert PopularityLiftReward().name == "popularity_lift@5"
    assert (
        PopularityLiftReward(field="sales", over="candidates").name == "popularity_lift(field=sales,over=candidates)@5"
    )
    assert MiscalibrationReward(cutoff=3, field="genre").name == "miscalibration(field=genre)@3"
    assert ByPersonReward().name == "by_person(serp)@5" and DisagreementReward().name == "disagreement"
