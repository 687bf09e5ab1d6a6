"""PPO: a critic foresees the reward at each token, and tokens after which more came are made more likely.

Proximal Policy Optimization (Schulman et al. 2017, arXiv 1707.06347), on TRL's `GRPOTrainer`: its generation, and its
clipped loss of the policy with an advantage for each token. The formulas are here: what each token is paid
(`token_rewards`), generalized advantage estimation (`gae`), and the clipped loss of values (`value_losses`).

Tensors of shape (B, T) hold a number for each token of each completion. A mask is 1 on the tokens of a completion,
which begin at the left without a gap, and 0 behind its end and on all of a rollout that is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeAlias

from recr1.runs import Run
from recr1.trainers.grpo import EPSILON
from recr1.trainers.layers.critic import Kind
from recr1.trainers.layers.curriculum import DrawnNeeds
from recr1.trainers.trl.additions import Addition
from recr1.trainers.trl.online import OnlineTrainer
from retrievers.options import NonNegativeFloat, PositiveFloat, PositiveInt, Share, checked

if TYPE_CHECKING:
    import torch

    Total: TypeAlias = Callable[[torch.Tensor], torch.Tensor]
    """Sums a tensor over the processes of a launch."""

GROUPS = "PPO compares with its critic, not with a group"
BOUNDS = {
    "num_generations": PositiveInt,
    "loss_type": Annotated[Literal["grpo", "bnpo", "dr_grpo", "dapo"], "TRL's losses that clip as PPO does"],
    "importance_sampling_level": Annotated[Literal["token"], "PPO has an advantage for each token"],
}
"""Keys of `GRPOConfig` with other bounds. The losses differ in how tokens and completions are weighed."""

MEANINGLESS = {
    "scale_rewards": f"{GROUPS}; see trainer.whiten",
    "multi_objective_aggregation": f"{GROUPS}; give each reward of the recipe its weight",
    "fp16": "values do not fit into its range; use bf16",
}
"""Keys of `GRPOConfig` that mean nothing to PPO, and why."""


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
    """The share of the variance of returns that the values predict: 1 all, 0 no more than a constant, below 0 worse.

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


@checked
@dataclass(kw_only=True)
class PPO(OnlineTrainer):
    """Proximal policy optimization with a critic.

    `trl` takes the keys of TRL's `GRPOConfig`, such as learning_rate, epsilon, num_iterations, beta and use_vllm. One
    more value is allowed: `num_generations: 1`.
    """

    name: ClassVar[str] = "ppo"
    config: ClassVar[str] = "GRPOConfig"
    trainer: ClassVar[str] = "PPOTrainer"
    meaningless: ClassVar[Mapping[str, str]] = MEANINGLESS
    bounds: ClassVar[Mapping[str, Any]] = BOUNDS

    critic: Kind = "head"
    """"head", a linear map of the policy's own hidden states, which costs no memory; or "model", a second model that
    begins as a copy of the policy."""
    critic_learning_rate: PositiveFloat = 1e-5
    """Learning rate of the critic's weights; it follows the schedule of the policy's."""
    gamma: Share = 1.0
    """What a reward is worth one token earlier."""
    gae_lambda: Share = 0.95
    """1 pays tokens for what really came after them, 0 for what the critic expects after them."""
    value_clip: PositiveFloat | None = 0.2
    """How far a value may move towards a lower loss from what it was when the batch was generated; null for any."""
    value_weight: NonNegativeFloat = 0.1
    """Share of the critic's gradient that moves the policy's own hidden states, 0 for none; for "head" only."""
    whiten: bool = True
    """Give the advantages of a batch of completions mean 0 and standard deviation 1."""
    kl: Literal["loss", "reward"] = "loss"
    """Where the distance to the starting policy counts, `trl.beta` times: in the "loss", as in GRPO, or in the "reward"
    of each token, as in the first PPO of language models."""

    @classmethod
    def config_keys(cls, trl: Mapping[str, Any]) -> Mapping[str, Any]:
        """The keys of a recipe as TRL's config takes them.

        TRL's trainer can sample each need once; its config, made for GRPO, refuses that. It gets the batch of a
        process instead, which divides every batch.
        """
        if trl.get("num_generations") != 1:
            return trl
        return {**trl, "num_generations": max(2, trl.get("per_device_train_batch_size", 2))}

    def _algorithm(self, learner: Any, curriculum: DrawnNeeds | None) -> list[Addition]:
        from recr1.trainers.layers.actor_critic import ActorCritic

        return [ActorCritic(learner.model, self)]

    def _arguments(self, run: Run, seed: int, learner: Any) -> Any:
        args = super()._arguments(run, seed, learner)
        args.num_generations = self.trl.get("num_generations", args.num_generations)
        return args
