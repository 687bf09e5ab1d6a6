"""Training on groups, each completion against the others of its need: what GRPO and RLOO share."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from recr1.trainers.layers.curriculum import RATE, UNIFORM, Curriculum, DrawnNeeds
from recr1.trainers.layers.dynamic_sampling import TOLERANCE, DynamicSampling
from recr1.trainers.online import Online
from recr1.trainers.trl.additions import Addition


class Groups(Online):
    """Samples a group of completions for each need, and makes those that earn more than its others more likely.

    Args:
        steps: optimizer steps.
        trl: keys of TRL's config, as they are: num_generations, learning_rate, beta, use_vllm, ...
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

    def __init__(
        self,
        *,
        steps: int,
        trl: dict[str, Any] | None = None,
        rollouts_every: int = 10,
        failure_budget: float = 0.0,
        resample: int = 0,
        resample_tolerance: float = TOLERANCE,
        curriculum: Curriculum = "none",
        curriculum_uniform: float = UNIFORM,
        curriculum_rate: float = RATE,
        curriculum_start: str | None = None,
    ) -> None:
        super().__init__(
            steps=steps,
            trl=trl,
            rollouts_every=rollouts_every,
            failure_budget=failure_budget,
            curriculum=curriculum,
            curriculum_uniform=curriculum_uniform,
            curriculum_rate=curriculum_rate,
            curriculum_start=curriculum_start,
        )
        self._check({"resample": resample, "resample_tolerance": resample_tolerance})
        self.resample, self.resample_tolerance = resample, resample_tolerance

    @classmethod
    def check_options(cls, options: Mapping[str, Any]) -> list[str]:
        """Problems that show before anything is loaded."""
        problems = super().check_options(options)
        if options.get("resample", 0) < 0:
            problems.append(f"resample: must be 0 (never) or a number of rounds, got {options['resample']}")
        if not 0 <= options.get("resample_tolerance", 0) < math.inf:
            problems.append(f"resample_tolerance: must be 0 or more, got {options['resample_tolerance']}")
        return problems

    def _algorithm(self, learner: Any, curriculum: DrawnNeeds | None) -> list[Addition]:
        sampling = DynamicSampling(self.resample, self.resample_tolerance, curriculum)
        return [sampling] if self.resample else []
