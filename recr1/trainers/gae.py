"""The formulas of PPO's critic: who is paid when, generalized advantage estimation, and the clipped loss of values.

Tensors of shape (B, T) hold a number for each token of each completion. A mask is 1 on the tokens of a completion, that
begin at the left and have no gap, and 0 behind its end and on all of a rollout that is left out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import torch

    Total: TypeAlias = Callable[[torch.Tensor], torch.Tensor]
    """Sums a tensor over the processes of a launch."""

EPSILON = 1e-4
"""Added to the standard deviation that advantages are divided by, as TRL's GRPO does: equal ones become 0."""


def token_rewards(rewards_B: torch.Tensor, mask_BT: torch.Tensor, penalties_BT: torch.Tensor | None) -> torch.Tensor:
    """What each token is paid (B, T): the rollout's reward at its last token, less a penalty at each.

    Args:
        rewards_B: Rewards of rollouts; NaN where one has none, whose mask is 0 everywhere.
        mask_BT: The tokens of completions.
        penalties_BT: What each token costs, such as its share of the distance to a reference; None for nothing.
    """
    after_BT = mask_BT.roll(-1, dims=1)
    after_BT[:, -1] = 0
    last_BT = mask_BT * (1 - after_BT)
    paid_BT = last_BT * rewards_B.nan_to_num(nan=0.0).unsqueeze(1)
    return paid_BT if penalties_BT is None else paid_BT - penalties_BT * mask_BT


def gae(
    rewards_BT: torch.Tensor, values_BT: torch.Tensor, mask_BT: torch.Tensor, gamma: float, lam: float
) -> torch.Tensor:
    """Advantages (B, T) by generalized advantage estimation (Schulman et al. 2016, arXiv 1506.02438, equation 16).

    The value behind the last token is 0, whether the policy ended there or was cut off: what was written so far is
    searched and paid, and nothing follows.

    Args:
        rewards_BT: What each token is paid.
        values_BT: What was expected before each token was written.
        mask_BT: The tokens of completions.
        gamma: What a reward is worth one token earlier.
        lam: 0 trusts the next value, 1 what was really paid.
    """
    advantages_BT = values_BT.new_zeros(values_BT.shape)
    advantage_B = next_value_B = values_BT.new_zeros(len(values_BT))
    for token in reversed(range(values_BT.shape[1])):
        surprise_B = rewards_BT[:, token] + gamma * next_value_B - values_BT[:, token]
        advantage_B = (surprise_B + gamma * lam * advantage_B) * mask_BT[:, token]
        next_value_B = values_BT[:, token] * mask_BT[:, token]
        advantages_BT[:, token] = advantage_B
    return advantages_BT


def whitened(numbers_BT: torch.Tensor, mask_BT: torch.Tensor, total: Total) -> torch.Tensor:
    """The numbers with mean 0 and standard deviation 1 over the tokens of all processes; 0 outside of the mask."""
    mean, variance = moments(numbers_BT, mask_BT, total)
    return (numbers_BT - mean) * mask_BT / (variance.sqrt() + EPSILON)


def moments(numbers_BT: torch.Tensor, mask_BT: torch.Tensor, total: Total) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and variance over the tokens of all processes; 0 and 0 where there is none."""
    count = total(mask_BT.sum().float()).clamp(min=1)
    mean = total((numbers_BT * mask_BT).sum()) / count
    return mean, total(((numbers_BT - mean).square() * mask_BT).sum()) / count


def explained_variance(
    returns_BT: torch.Tensor, values_BT: torch.Tensor, mask_BT: torch.Tensor, total: Total
) -> torch.Tensor:
    """The share of what returns differ that the values foretold: 1 all, 0 no more than a constant, below 0 worse.

    NaN where all returns are the same.
    """
    _, unexplained = moments(returns_BT - values_BT, mask_BT, total)
    _, variance = moments(returns_BT, mask_BT, total)
    return (1 - unexplained / variance).where(variance > 0, variance.new_tensor(float("nan")))


def value_losses(
    values_BT: torch.Tensor, old_values_BT: torch.Tensor, returns_BT: torch.Tensor, clip: float | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Half the squared error of each token's value, and where clipping holds it (both (B, T)).

    As in the PPO of Dhariwal et al. 2017 (openai/baselines): the larger error of the value and of the value clipped to
    `clip` around what it was when the batch was generated.
    """
    errors_BT = (values_BT - returns_BT).square()
    if clip is None:
        return errors_BT / 2, errors_BT.new_zeros(errors_BT.shape)
    near_BT = old_values_BT + (values_BT - old_values_BT).clamp(-clip, clip)
    clipped_BT = (near_BT - returns_BT).square()
    return errors_BT.maximum(clipped_BT) / 2, (clipped_BT > errors_BT).float()
