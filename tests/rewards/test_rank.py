from __future__ import annotations

from dataclasses import replace
from math import log

import pytest

from rewards.measures.reward import AnnealedReward
from rewards.shaping import LogRankReward, RankTiersReward
from rewards.testing import batch_of


def ranked(*places, depth=10, grade=1):
    """A batch of one relevant item a need, at these places; 0 for one that is not found."""
    rows = [[99 if place == at else at for at in range(1, depth + 1)] for place in places]
    return batch_of(["q"] * len(places), rows, [{99: grade, 1000 + i: 0} for i in range(len(places))])


def test_log_rank_falls_by_the_logarithm_of_the_place():
    paid = LogRankReward(cutoff=7)(ranked(1, 2, 4, 7, 8, 0))
    assert paid.tolist() == pytest.approx([1, 2 / 3, 1 / 3, 1 - log(7) / log(8), 0, 0])


def test_the_first_of_several_relevant_items_counts():
    batch = batch_of(["q"], [[3, 4, 5, 6]], [{4: 1, 6: 3}])
    assert LogRankReward(cutoff=3)(batch).tolist() == pytest.approx([0.5])
    assert LogRankReward(cutoff=4, rel=2)(batch).tolist() == pytest.approx([1 - log(4) / log(5)])


def test_tiers_pay_by_the_place():
    reward = RankTiersReward(places=[1, 3, 6], pays=[1.0, 0.5, 0.25])
    assert reward(ranked(1, 2, 3, 4, 6, 7, 0)).tolist() == [1, 0.5, 0.5, 0.25, 0.25, 0, 0]
    assert reward.name == "rank_tiers(1:1.0,3:0.5,6:0.25)@6" and reward.cutoff == 6


def test_tiers_ask_for_the_grade_that_is_named():
    reward = RankTiersReward(places=[2], pays=[1.0], rel=2)
    assert reward(ranked(1)).tolist() == [0] and reward(ranked(1, grade=2)).tolist() == [1]
    assert reward.name == "rank_tiers(2:1.0,rel=2)@2"


def test_the_cutoff_falls_by_one_factor_a_step_to_that_of_the_measure():
    reward = AnnealedReward(measure="Success@1", start=16, steps=4)
    assert [reward.cutoff_at(step) for step in (0, 1, 2, 3, 4, 5, 1000, None)] == [16, 8, 4, 2, 1, 1, 1, 1]


def test_the_measure_is_taken_at_the_cutoff_of_the_step():
    reward = AnnealedReward(measure="Success@1", start=16, steps=4)
    batch = ranked(1, 2, 5, 16, 0, depth=16)
    assert reward(replace(batch, training_step=0)).tolist() == [1, 1, 1, 1, 0]
    assert reward(replace(batch, training_step=1)).tolist() == [1, 1, 1, 0, 0]
    assert reward(replace(batch, training_step=3)).tolist() == [1, 1, 0, 0, 0]
    assert reward(replace(batch, training_step=4)).tolist() == [1, 0, 0, 0, 0]


def test_a_batch_of_no_training_has_the_cutoff_of_the_end():
    reward = AnnealedReward(measure="Success@1", start=10, steps=4)
    assert reward(ranked(1, 2)).tolist() == [1, 0]


def test_hits_must_be_as_deep_as_the_deepest_cutoff_at_any_step():
    reward = AnnealedReward(measure="Success@1", start=11, steps=4)
    for step in (None, 0, 99):
        with pytest.raises(ValueError, match="Success@11 needs k >= 11, got k=10"):
            reward(replace(ranked(1), training_step=step))


def test_names_hold_what_makes_the_number():
    assert LogRankReward().name == "log_rank@100" and LogRankReward(rel=2, cutoff=9).name == "log_rank(rel=2)@9"
    assert AnnealedReward(measure="nDCG@10").name == "annealed(nDCG@10,start=100,steps=50)"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LogRankReward(cutoff=0), "cutoff: must be an integer >= 1, got 0"),
        (lambda: LogRankReward(rel=0), "rel: must be an integer >= 1, got 0"),
        (lambda: RankTiersReward(places=[1], pays=[1.0], rel=0), "rel: must be an integer >= 1, got 0"),
        (
            lambda: RankTiersReward(places=[], pays=[]),
            r"places: must be a list of integers >= 1 with at least 1 item",
        ),
        (lambda: RankTiersReward(places=[1, 2], pays=[1.0]), "pays: must be one for each of the 2 places, got 1"),
        (lambda: RankTiersReward(places=[0], pays=[1.0]), "places.0: must be an integer >= 1, got 0"),
        (lambda: RankTiersReward(places=[3, 3], pays=[1.0, 0.5]), r"places: must rise, got \[3, 3\]"),
        (lambda: RankTiersReward(places=[1, 3], pays=[0.5, 1.0]), "pays: a lower place must not earn more"),
        (lambda: RankTiersReward(places=[1], pays=[-0.5]), "pays.0: must be a number >= 0, got"),
        (lambda: RankTiersReward(places=[1], pays=[float("nan")]), "pays.0: must be a number >= 0, got"),
        (lambda: AnnealedReward(measure="nDCG@10", start=10), "start: must be deeper than the 10 of nDCG@10, got 10"),
        (lambda: AnnealedReward(measure="nDCG@10", steps=0), "steps: must be an integer >= 1, got 0"),
        (lambda: AnnealedReward(measure="nDCG"), "no measure 'nDCG'"),
    ],
)
def test_an_option_that_cannot_be_used_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
