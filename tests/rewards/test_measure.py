from __future__ import annotations

import numpy as np
import pytest

from rewards.measures import parse_measure
from rewards.measures.reward import MeasureReward
from rewards.testing import batch_of, random_batch


def test_name_and_cutoff_are_those_of_the_measure():
    reward = MeasureReward(measure="R(rel=2)@100")
    assert reward.name == "R(rel=2)@100" and reward.cutoff == 100


def test_the_name_is_the_canonical_one():
    assert MeasureReward(measure="R(rel=1)@100").name == "R@100"


def test_pays_what_the_measure_of_that_name_gives():
    batch = random_batch(seed=0, size=40, k=20)
    for name in ("nDCG@20", "nDCG(gain=exp)@10", "AP@5"):
        expected_B = parse_measure(name)(batch.hits.rows_QK, batch.qrels)
        np.testing.assert_array_equal(MeasureReward(measure=name)(batch), expected_B)


def test_an_invalid_rollout_earns_nothing():
    batch = batch_of([None, "tent"], [[-1, -1], [3, 4]], [{3: 1}] * 2)
    assert MeasureReward(measure="RR@2")(batch).tolist() == [0.0, 1.0]


def test_an_unknown_measure_is_refused_when_the_recipe_is_read():
    with pytest.raises(ValueError, match=r"no measure 'ndcg@10'; did you mean 'nDCG@10'\?"):
        MeasureReward(measure="ndcg@10")


def test_hits_too_shallow_for_the_cutoff_are_refused():
    batch = batch_of(["tent"], [[3, 4]], [{3: 1}])
    with pytest.raises(ValueError, match="nDCG@100 needs k >= 100, got k=2: set k to 100 or more, or lower the cutoff"):
        MeasureReward(measure="nDCG@100")(batch)
