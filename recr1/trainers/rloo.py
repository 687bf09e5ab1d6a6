"""RLOO on TRL's `RLOOTrainer`.

REINFORCE with a leave-one-out baseline (Ahmadian et al. 2024, arXiv 2402.14740; Kool et al. 2019): G completions of a
need are searched and rewarded, and each is made more or less likely, as a whole, by how its reward differs from the
mean of the others. The distance to the policy at the start is part of the reward.
"""

from __future__ import annotations

from typing import ClassVar

from recr1.trainers.groups import Groups


class RLOO(Groups):
    """REINFORCE with the mean reward of a need's other completions as baseline.

    The options are those of `Groups`; `trl` takes the keys of TRL's `RLOOConfig`, such as num_generations,
    learning_rate, beta and normalize_advantages.
    """

    name: ClassVar[str] = "rloo"
    config: ClassVar[str] = "RLOOConfig"
    trainer: ClassVar[str] = "RLOOTrainer"
