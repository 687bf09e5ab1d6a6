"""RLOO: the baseline of a completion is the mean reward of the others of its group.

REINFORCE with a leave-one-out baseline (Ahmadian et al. 2024, arXiv 2402.14740; Kool et al. 2019), on TRL's
`RLOOTrainer`: G completions of a need are searched and rewarded, and each is made more or less likely, as a whole, by
its advantage (`leave_one_out`). The distance to the policy at the start is part of the reward.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from recr1.trainers.grpo import EPSILON, deviation
from recr1.trainers.layers.curriculum import DrawnNeeds
from recr1.trainers.trl.additions import Addition
from recr1.trainers.trl.online import GroupTrainer
from retrievers.options import checked

if TYPE_CHECKING:
    from torch import Tensor


def leave_one_out(rewards_B: Tensor, size: int, *, normalize: bool = False) -> Tensor:
    """Advantages (B,): each reward less the mean of the others of its group.

        A_i = r_i - mean(r_j of the group, j != i)

    Args:
        rewards_B: Rewards, group after group; NaN where there is none: that completion counts in no mean, and its
            advantage is 0, as is that of the only completion with a reward.
        size: Completions of a group, G.
        normalize: Give the advantages of the batch mean 0 and standard deviation 1.
    """
    groups = rewards_B.view(-1, size)
    count = (~groups.isnan()).sum(1, keepdim=True)
    others = (groups.nansum(1, keepdim=True) - groups) / (count - 1)
    advantages_B = rewards_B - others.view(-1)
    if normalize:
        advantages_B = (advantages_B - advantages_B.nanmean()) / (deviation(advantages_B) + EPSILON)
    return advantages_B.nan_to_num(nan=0.0)


class LeaveOneOut(Addition):
    """Gives a batch leave-one-out advantages, of rewards less `beta` times the distance to the reference."""

    def __init__(self) -> None:
        self._logps: list[Any] | None = None

    def before_scoring(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Listen to the log-probabilities that TRL computes of the batch: the policy's, then the reference's."""
        self._logps = []
        return rows

    def around_log_probabilities(self, compute: Callable[..., Any], *given: Any, **more: Any) -> Any:
        """Keep those of the batch."""
        found = compute(*given, **more)
        if self._logps is not None:
            self._logps.append(found[0])
        return found

    def after_scoring(self, batch: dict[str, Any], rewards_B: Any) -> None:
        """Compute them over all processes, and take this process's part."""
        trainer, logps, self._logps = self.trainer, self._logps, None
        if trainer.reward_clip_range:
            low, high = trainer.reward_clip_range
            rewards_B = rewards_B.clamp(min=low, max=high)
        if trainer.beta != 0:
            assert logps is not None
            policy_BT, reference_BT = logps
            distance_B = ((policy_BT - reference_BT) * batch["completion_mask"]).sum(-1)
            rewards_B = rewards_B - trainer.beta * trainer.accelerator.gather(distance_B)
        advantages_B = leave_one_out(rewards_B, trainer.num_generations, normalize=trainer.normalize_advantages)
        batch["advantages"] = trainer.own(advantages_B)


@checked
@dataclass(kw_only=True)
class RLOO(GroupTrainer):
    """REINFORCE with the mean reward of a need's other completions as baseline.

    `trl` takes the keys of TRL's `RLOOConfig`, such as num_generations, learning_rate, beta and normalize_advantages.
    """

    name: ClassVar[str] = "rloo"
    config: ClassVar[str] = "RLOOConfig"
    trainer: ClassVar[str] = "RLOOTrainer"
    default_beta: ClassVar[float] = 0.05

    def _algorithm(self, learner: Any, curriculum: DrawnNeeds | None) -> list[Addition]:
        return [*super()._algorithm(learner, curriculum), LeaveOneOut()]
