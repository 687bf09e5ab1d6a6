"""GRPO: the advantage of a completion is how far its reward is from the mean of its group.

Group Relative Policy Optimization (Shao et al. 2024, arXiv 2402.03300), on TRL's `GRPOTrainer`: G completions of a need
are searched and rewarded, and each is made more or less likely by its advantage (`group_advantages`). Loss, clipping
and scaling are TRL's own keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from recr1.env import Environment
from recr1.errors import UserError
from recr1.ranking import MarksPlaces
from recr1.runs import Run
from recr1.trainers.launch import Ranks
from recr1.trainers.layers.curriculum import DrawnNeeds
from recr1.trainers.layers.list_credit import Credit, ListCredit
from recr1.trainers.trl.additions import Addition
from recr1.trainers.trl.online import GroupTrainer
from retrievers.options import checked

if TYPE_CHECKING:
    from torch import Tensor

EPSILON = 1e-4
"""Added to a standard deviation before advantages are divided by it: where all rewards are equal they are 0."""


def group_advantages(rewards_B: Tensor, size: int, scale: Literal["group", "batch", "none"]) -> Tensor:
    """Advantages (B,): each reward less the mean of its group, divided by a standard deviation.

        A_i = (r_i - mean(group)) / (std(group) + 0.0001)

    Args:
        rewards_B: Rewards, group after group; NaN where there is none: that completion counts in no mean, and its
            advantage is 0.
        size: Completions of a group, G.
        scale: The standard deviation of each "group", of the whole "batch", or "none".
    """
    groups = rewards_B.view(-1, size)
    advantages = groups - groups.nanmean(1, keepdim=True)
    if scale == "group":
        advantages = advantages / (deviation(groups, 1) + EPSILON)
    elif scale == "batch":
        advantages = advantages / (deviation(rewards_B) + EPSILON)
    return advantages.view(-1).nan_to_num(nan=0.0)


def deviation(numbers: Tensor, dim: int | None = None) -> Tensor:
    """The standard deviation (with n - 1) of the numbers that are there; NaN where there are fewer than two."""
    count = (~numbers.isnan()).sum(dim, keepdim=True)
    variance = ((numbers - numbers.nanmean(dim, keepdim=True)) ** 2).nanmean(dim, keepdim=True)
    variance *= (count / (count - 1)).where(count > 1, float("nan"))
    return variance.sqrt()


class GroupAdvantages(Addition):
    """Gives a batch the advantages of groups."""

    def after_scoring(self, batch: dict[str, Any], rewards_B: Any) -> None:
        """Compute them over all processes, and take this process's part.

        TRL's "normalize_then_sum" normalizes twice where there is one reward function, as here: it is left to TRL.
        """
        trainer = self.trainer
        if trainer.multi_objective_aggregation == "sum_then_normalize":
            advantages_B = group_advantages(rewards_B, trainer.num_generations, trainer.scale_rewards)
            batch["advantages"] = trainer.own(advantages_B)


@checked
@dataclass(kw_only=True)
class GRPO(GroupTrainer):
    """Group relative policy optimization.

    `trl` takes the keys of TRL's `GRPOConfig`, such as num_generations, learning_rate, beta, loss_type and use_vllm.
    """

    name: ClassVar[str] = "grpo"
    config: ClassVar[str] = "GRPOConfig"
    trainer: ClassVar[str] = "GRPOTrainer"

    list_credit: Credit = "whole"
    """What a token of a list of candidates is paid for: the whole list; its place and all later ones (to_go); or its
    place alone (own). See `recr1.trainers.layers.list_credit`."""

    @classmethod
    def check_options(cls, options: Mapping[str, Any]) -> list[str]:
        """Problems that show before anything is loaded, and keys of TRL that mean something else than they seem to."""
        keys = options.get("trl") or {}
        problems = super().check_options(options)
        if keys.get("loss_type") == "cispo" and keys.get("epsilon_high") is None:
            # TRL falls back on epsilon, and 0.2 is a bound of the ratio itself here: every weight would be 0.2.
            problems.append("trl.epsilon_high: the loss cispo needs it, as the bound of a token's weight; try 5.0")
        if options.get("list_credit", "whole") != "whole" and keys.get("multi_objective_aggregation"):
            problems.append("trl.multi_objective_aggregation: not with list_credit, which makes its own advantages")
        if keys.get("loss_type") == "luspo" and keys.get("importance_sampling_level") != "sequence":
            problems.append("trl.importance_sampling_level: the loss luspo is one of whole completions; use sequence")
        return problems

    def _material(self, learner: Any, env: Environment, run: Run, ranks: Ranks) -> dict[str, Any]:
        if self.list_credit != "whole" and not isinstance(env.format, MarksPlaces):
            who = type(env.format).__name__
            raise UserError(f"trainer.list_credit: is for lists, as of the format ranking, and the format is {who}")
        return super()._material(learner, env, run, ranks)

    def _algorithm(self, learner: Any, curriculum: DrawnNeeds | None) -> list[Addition]:
        whole = self.list_credit == "whole"
        advantages = GroupAdvantages() if whole else ListCredit(self.list_credit, group_advantages)
        return [*super()._algorithm(learner, curriculum), advantages]
