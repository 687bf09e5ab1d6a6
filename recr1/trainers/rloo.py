"""RLOO on TRL's `RLOOTrainer`.

REINFORCE with a leave-one-out baseline (Ahmadian et al. 2024, arXiv 2402.14740; Kool et al. 2019): G completions of a
need are searched and rewarded, and each is made more or less likely, as a whole, by how its reward differs from the
mean of the others. The distance to the policy at the start is part of the reward.
"""

from __future__ import annotations

from typing import ClassVar

from recr1.trainers.online import Online


class RLOO(Online):
    """REINFORCE with the mean reward of a need's other completions as baseline.

    Args:
        steps: optimizer steps.
        trl: keys of TRL's `RLOOConfig`, as they are: num_generations, learning_rate, beta, normalize_advantages, ...
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

    name: ClassVar[str] = "rloo"
    config: ClassVar[str] = "RLOOConfig"
    trainer: ClassVar[str] = "RLOOTrainer"
