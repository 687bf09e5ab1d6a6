"""GRPO on TRL's `GRPOTrainer`.

Group Relative Policy Optimization (Shao et al. 2024, arXiv 2402.03300): G completions of a need are searched and
rewarded, and each is made more or less likely by how its reward differs from its group's mean. Which loss, clipping
and scaling, TRL's own keys say.
"""

from __future__ import annotations

from typing import ClassVar

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
    """

    name: ClassVar[str] = "grpo"
    config: ClassVar[str] = "GRPOConfig"
    trainer: ClassVar[str] = "GRPOTrainer"
