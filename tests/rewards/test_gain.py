from __future__ import annotations

import numpy as np
import pytest

from rewards.measures.reward import GainReward
from rewards.testing import batch_of


def test_name_and_cutoff():
    reward = GainReward(measure="nDCG@10")
    assert reward.name == "gain(nDCG@10)" and reward.cutoff == 10


def test_declares_that_it_needs_the_raw_hits():
    assert GainReward.needs_raw_hits is True


def test_pays_the_improvement_over_the_raw_need():
    wanted = [{1: 1, 2: 1}] * 4
    batch = batch_of(["a", "b", "c", "d"], [[1, 2], [1, 9], [8, 9], [9, 1]], wanted, [[9, 2]] * 4)
    assert GainReward(measure="R@2")(batch).tolist() == [0.5, 0.0, -0.5, 0.0]
    assert GainReward(measure="RR@2")(batch).tolist() == [0.5, 0.5, -0.5, 0.0]


def test_a_query_that_finds_what_the_raw_need_found_gains_exactly_nothing():
    rows_BK = [[5, 1, 2]] * 3
    batch = batch_of(["a", "b", "c"], rows_BK, [{1: 3, 2: 1, 4: 2}] * 3, rows_BK)
    np.testing.assert_array_equal(GainReward(measure="nDCG(gain=exp)@3")(batch), np.zeros(3, np.float32))


def test_an_invalid_rollout_loses_what_the_raw_need_found():
    batch = batch_of([None, None], [[-1, -1]] * 2, [{1: 1}, {2: 1}], [[1, 9], [8, 9]])
    assert GainReward(measure="RR@2")(batch).tolist() == [-1.0, 0.0]


def test_a_batch_without_raw_hits_is_refused():
    batch = batch_of(["a"], [[1, 2]], [{1: 1}])
    with pytest.raises(ValueError, match=r"gain\(R@2\) compares with the raw need's hits, and this batch has none"):
        GainReward(measure="R@2")(batch)


def test_raw_hits_too_shallow_for_the_cutoff_are_refused():
    batch = batch_of(["a"], [[1, 2]], [{1: 1}], [[1]])
    with pytest.raises(ValueError, match="R@2 needs k >= 2, got k=1"):
        GainReward(measure="R@2")(batch)


def test_an_unknown_measure_is_refused():
    with pytest.raises(ValueError, match="did you mean 'RR@10'"):
        GainReward(measure="MRR@10")
