"""GRPO on TRL's `GRPOTrainer`.

Group Relative Policy Optimization (Shao et al. 2024, arXiv 2402.03300): G completions of a need are searched and
rewarded, and each is made more or less likely by how its reward differs from its group's mean. Which loss, clipping
and scaling, TRL's own keys say.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from recr1.trainers.online import Online


class GRPO(Online):
    """Group relative policy optimization.

    Args:
        steps: optimizer steps.
        trl: keys of TRL's `GRPOConfig`, as they are: num_generations, learning_rate, beta, loss_type, use_vllm, ...
        rollouts_every: steps between two records of all rollouts in `rollouts.jsonl`; 0 for none.
        failure_budget: share of the last 1,000 rollouts that may be without a reward because the retriever had no
            answer to their query, after all its attempts. Past it, or when a whole batch is without, the run saves its
            state and stops.
        resample: rounds in which groups whose rewards are all the same are replaced by those of other needs, generated
            and rewarded in the same step; 0 for none.
        resample_tolerance: the spread of a group's rewards up to which they are the same.
        curriculum: "learnability" draws those needs more often whose completions differ most in what they earn, by what
            their last groups earned; "none" draws all alike.
        curriculum_uniform: share of the draws in which all needs are alike, so that each is seen again.
        curriculum_rate: how far the last group of a need moves what is known of it; 1 forgets all before.
        curriculum_start: the folder that `recr1 headroom --out` wrote, to know needs before training.
    """

    name: ClassVar[str] = "grpo"
    config: ClassVar[str] = "GRPOConfig"
    trainer: ClassVar[str] = "GRPOTrainer"

    @classmethod
    def check_options(cls, options: Mapping[str, Any]) -> list[str]:
        """Problems that show before anything is loaded, and keys of TRL that mean something else than they seem to."""
        keys = options.get("trl") or {}
        problems = super().check_options(options)
        if keys.get("loss_type") == "cispo" and keys.get("epsilon_high") is None:
            # TRL falls back on epsilon, and 0.2 is a bound of the ratio itself here: every weight would be 0.2.
            problems.append("trl.epsilon_high: the loss cispo needs it, as the bound of a token's weight; try 5.0")
        if keys.get("loss_type") == "luspo" and keys.get("importance_sampling_level") != "sequence":
            problems.append("trl.importance_sampling_level: the loss luspo is one of whole completions; say sequence")
        return problems
