"""GRPO on TRL's `GRPOTrainer`.

Group Relative Policy Optimization (Shao et al. 2024, arXiv 2402.03300): G completions of a need are searched and
rewarded, and each is made more or less likely by how its reward differs from its group's mean. Which loss, clipping
and scaling, TRL's own keys say.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from recr1.trainers.groups import Groups


class GRPO(Groups):
    """Group relative policy optimization.

    The options are those of `Groups`; `trl` takes the keys of TRL's `GRPOConfig`, such as num_generations,
    learning_rate, beta, loss_type and use_vllm.
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
