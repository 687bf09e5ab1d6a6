"""The control: what is paid belongs to other needs, and to each distinct completion the same."""

import numpy as np

from rewards.measures import parse_measure
from rewards.measures.reward import ShuffledReward
from rewards.testing import batch_of, random_batch


def test_no_rollout_is_paid_for_its_own_need():
    """Where one need alone finds anything, its rollouts are paid nothing."""
    for seed in range(20):
        batch = random_batch(seed=seed, size=32, group=8)
        earned_B = parse_measure("nDCG@10").of(batch.graded)
        paid_B = ShuffledReward(measure="nDCG@10")(batch)
        for need in {rollout.need.id for rollout in batch.rollouts}:
            own_B = np.array([rollout.need.id == need for rollout in batch.rollouts])
            others = set(earned_B[~own_B].tolist())
            assert set(paid_B[own_B].tolist()) <= others


def test_what_is_paid_says_nothing_about_what_was_earned():
    """Within a need, over many batches: no correlation, where the measure itself has one of 1."""
    earned, paid = [], []
    for seed in range(300):
        batch = random_batch(seed=seed, size=32, group=8)
        earned_B, paid_B = parse_measure("nDCG@10").of(batch.graded), ShuffledReward(measure="nDCG@10")(batch)
        for start in range(0, 32, 8):
            group = slice(start, start + 8)
            earned.append(earned_B[group] - earned_B[group].mean())
            paid.append(paid_B[group] - paid_B[group].mean())
    assert abs(np.corrcoef(np.concatenate(earned), np.concatenate(paid))[0, 1]) < 0.03


def test_equal_completions_of_a_need_are_paid_alike():
    wanted = [{1: 1}] * 3 + [{2: 1}] * 3
    batch = batch_of(["a", "b", "a", "c", "d", "e"], [[1], [3], [1], [2], [4], [5]], wanted)
    paid_B = ShuffledReward(measure="P@1")(batch)
    assert paid_B[0] == paid_B[2]
    backwards = np.arange(6)[::-1]
    np.testing.assert_array_equal(ShuffledReward(measure="P@1")(batch.of(backwards)), paid_B[backwards])


def test_a_need_with_more_completions_than_the_next_goes_round():
    wanted = [{1: 1}] * 4 + [{2: 1}]
    batch = batch_of(["a", "b", "c", "d", "e"], [[3], [4], [5], [6], [2]], wanted)
    assert ShuffledReward(measure="P@1")(batch).tolist() == [1, 1, 1, 1, 0]
