from __future__ import annotations

import pytest

from rewards.shaping import AcrossReward
from rewards.testing import batch_of

MEASURE = {"type": "measure", "measure": "RR@3"}


def found():
    """Three rollouts: the item stands at 1, 2 and nowhere for one retriever, at 3, 1 and 1 for the other."""
    own, other = [[7, 1, 2], [1, 7, 2], [-1, -1, -1]], [[1, 2, 7], [7, 1, 2], [7, 1, 2]]
    return batch_of(["a", "b", "c"], own, [{7: 1}] * 3, elsewhere={"rank_bm25": other})


def test_the_mean_is_over_the_recipes_retriever_and_the_others():
    paid = AcrossReward(reward=MEASURE, retrievers=[{"type": "rank_bm25"}])(found())
    assert paid.tolist() == pytest.approx([(1 + 1 / 3) / 2, 0.75, 0.5])


def test_the_worst_is_the_least_of_all():
    paid = AcrossReward(reward=MEASURE, retrievers=[{"type": "rank_bm25"}], how="worst")(found())
    assert paid.tolist() == pytest.approx([1 / 3, 0.5, 0])


def test_the_name_holds_reward_and_retrievers():
    others = [{"type": "rank_bm25"}, {"type": "bm25", "k1": 1.5}]
    reward = AcrossReward(reward=MEASURE, retrievers=others, how="worst")
    assert reward.name == 'worst(RR@3;rank_bm25,bm25{"k1": 1.5})'
    assert list(reward.elsewhere.values()) == others and reward.cutoff == 3


def test_what_the_reward_needs_is_declared_for_it():
    gain = AcrossReward(reward={"type": "gain", "measure": "R@2"}, retrievers=[{"type": "rank_bm25"}])
    assert gain.needs_raw_hits and gain.cutoff == 2
    plain = AcrossReward(reward=MEASURE, retrievers=[{"type": "rank_bm25"}])
    assert not plain.needs_raw_hits and not plain.needs_groups
    assert AcrossReward(reward={"type": "group_length"}, retrievers=[{"type": "bm25"}]).needs_groups


def test_hits_that_are_missing_are_refused():
    with pytest.raises(ValueError, match="reads the hits of bm25, and this batch has none: set elsewhere"):
        AcrossReward(reward=MEASURE, retrievers=[{"type": "bm25"}])(found())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"retrievers": []},
            r"retrievers: must be a list of mappings with at least 1 item",
        ),
        ({"retrievers": [{"type": "bm25"}, {"type": "bm25"}]}, "retrievers: one of them is listed twice"),
        ({"how": "best"}, "how: must be one of 'mean', 'worst', got 'best'"),
        ({"reward": {"type": "measure", "measure": "nDCG"}}, r"reward\.measure: no measure 'nDCG'"),
        (
            {"reward": {"type": "across", "reward": MEASURE, "retrievers": [{"type": "bm25"}]}},
            "reward: must not be .across. itself",
        ),
    ],
)
def test_an_option_that_cannot_be_used_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        AcrossReward(**{"reward": MEASURE, "retrievers": [{"type": "rank_bm25"}], **options})
