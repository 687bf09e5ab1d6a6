"""PPO's formulas against numbers that were computed by hand."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch", reason="pip install 'recr1[train]'")

from recr1.trainers.ppo import (  # noqa: E402
    explained_variance,
    gae,
    moments,
    token_rewards,
    value_losses,
    whitened,
)


def alone(tensor):
    """The sum over the processes of a launch with one."""
    return tensor


def rows(*numbers):
    return torch.tensor(numbers, dtype=torch.float32)


def close(tensor, *numbers):
    torch.testing.assert_close(tensor, rows(*numbers), rtol=0, atol=1e-6)


WHOLE, SHORT, LOST = [1, 1, 1], [1, 1, 0], [0, 0, 0]


def test_a_reward_is_paid_at_the_last_token_and_a_lost_rollout_is_paid_nothing():
    paid = token_rewards(torch.tensor([2.0, 3.0, math.nan]), rows(WHOLE, SHORT, LOST), None)
    close(paid, [0, 0, 2], [0, 3, 0], [0, 0, 0])


def test_penalties_are_taken_from_the_tokens_of_the_completion_alone():
    penalties = rows([0.1, 0.2, 0.3], [0.1, 0.2, 99.0])
    close(token_rewards(torch.tensor([2.0, 3.0]), rows(WHOLE, SHORT), penalties), [-0.1, -0.2, 1.7], [-0.1, 2.8, 0])


def test_advantages_are_those_computed_by_hand():
    """Gamma 0.9, lambda 0.5, values .5 .4 .6, reward 1 at the end, nothing after it.

    Surprises: 0 + .9*.4 - .5 = -.14; 0 + .9*.6 - .4 = .14; 1 - .6 = .4.
    Advantages, from the end: .4; .14 + .45*.4 = .32; -.14 + .45*.32 = .004.
    """
    found = gae(rows([0, 0, 1]), rows([0.5, 0.4, 0.6]), rows(WHOLE), gamma=0.9, lam=0.5)
    close(found, [0.004, 0.32, 0.4])


def test_no_value_bootstraps_behind_the_end():
    """Values there are noise of padding: .9*7 would be seen at once. The surprises are -.14 and 1 - .4."""
    found = gae(rows([0, 1, 0]), rows([0.5, 0.4, 7.0]), rows(SHORT), gamma=0.9, lam=0.5)
    close(found, [-0.14 + 0.45 * 0.6, 0.6, 0])


def test_lambda_1_is_the_discounted_reward_to_come_less_the_value():
    found = gae(rows([1, 0, 2]), rows([0.5, 0.4, 0.6]), rows(WHOLE), gamma=0.5, lam=1.0)
    close(found, [1 + 0.25 * 2 - 0.5, 0.5 * 2 - 0.4, 2 - 0.6])


def test_lambda_0_is_the_surprise_of_one_token():
    found = gae(rows([0, 0, 1]), rows([0.5, 0.4, 0.6]), rows(WHOLE), gamma=1.0, lam=0.0)
    close(found, [-0.1, 0.2, 0.4])


def test_whitening_counts_the_tokens_of_completions_alone():
    """Of 1, 2, 3 and 6: mean 3, variance (4 + 1 + 0 + 9) / 4 = 3.5; the 99s belong to nobody."""
    found = whitened(rows([1, 2, 3], [6, 99, 99], [99, 99, 99]), rows(WHOLE, [1, 0, 0], LOST), alone)
    deviation = math.sqrt(3.5) + 1e-4
    close(found, [-2 / deviation, -1 / deviation, 0], [3 / deviation, 0, 0], [0, 0, 0])


def test_equal_advantages_are_whitened_to_nothing():
    close(whitened(rows([2, 2, 2]), rows(WHOLE), alone), [0, 0, 0])


def test_a_batch_without_a_token_is_no_division_by_zero():
    assert [number.item() for number in moments(rows(WHOLE), rows(LOST), alone)] == [0, 0]
    close(whitened(rows(WHOLE), rows(LOST), alone), [0, 0, 0])


def test_moments_are_of_all_processes():
    """This process has 1 and 3, another 5 and 7: mean 4, variance 5."""
    others = iter([2.0, 12.0, 10.0])  # what the other process adds: count, sum, squares around the mean
    mean, variance = moments(rows([1, 3]), rows([1, 1]), lambda here: here + next(others))
    assert (mean.item(), variance.item()) == (4, 5)


@pytest.mark.parametrize(
    ("values", "share"),
    [([1, 2, 3], 1), ([2, 2, 2], 0), ([11, 12, 13], 1), ([3, 2, 1], -3), ([1, 2, 2], 2 / 3)],
)
def test_explained_variance_is_what_is_left_of_the_variance(values, share):
    """Returns 1, 2, 3 have variance 2/3; what is left of it with 3, 2, 1 is 8/3, with 1, 2, 2 it is 2/9."""
    assert explained_variance(rows([1, 2, 3]), rows(values), rows(WHOLE), alone).item() == pytest.approx(share)


def test_explained_variance_of_equal_returns_is_no_number():
    assert math.isnan(explained_variance(rows([1, 1, 1]), rows([1, 2, 3]), rows(WHOLE), alone).item())


def test_a_values_loss_is_the_larger_of_the_clipped_and_the_unclipped():
    """Old value 0, clip .2. A value of .5 pays as .2 does where the return is 1, and as it is where it is .1.

    From .5 to 1: .25 is less than .64. From .1: .81 alone. From .5 to .1: .16 is more than the .01 of .2.
    """
    losses, clipped = value_losses(rows([0.5, 0.1, 0.5]), rows([0, 0, 0]), rows([1, 1, 0.1]), 0.2)
    close(losses, [0.32, 0.405, 0.08])
    close(clipped, [1, 0, 0])


def test_without_a_clip_it_is_half_the_squared_error():
    losses, clipped = value_losses(rows([0.5, 0.1, 0.5]), rows([0, 0, 0]), rows([1, 1, 0.1]), None)
    close(losses, [0.125, 0.405, 0.08])
    close(clipped, [0, 0, 0])


def test_a_clipped_value_has_no_gradient():
    values = rows([0.5, 0.1]).requires_grad_()
    value_losses(values, rows([0, 0]), rows([1, 1]), 0.2)[0].sum().backward()
    close(values.grad, [0, -0.9])
