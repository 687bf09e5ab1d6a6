"""PPO with a critic on TRL's `GRPOTrainer`: its generation, its clipped loss, and advantages for each token.

Proximal Policy Optimization (Schulman et al. 2017, arXiv 1707.06347): a critic learns what reward is to be expected at
each token, and the policy makes tokens after which more came than that more likely. The formulas are in `gae.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from recr1.runs import Run
from recr1.trainers.layers.actor_critic import ActorCritic, Settings
from recr1.trainers.layers.critic import Kind
from recr1.trainers.layers.curriculum import RATE, UNIFORM, Curriculum, DrawnNeeds
from recr1.trainers.online import Online
from recr1.trainers.trl.additions import Addition

GROUPS = "PPO compares with its critic, not with a group"
OBJECTIVES = ("grpo", "bnpo", "dr_grpo", "dapo")
"""TRL's losses that clip as PPO does; they differ in how tokens and completions are weighed."""

MEANINGLESS = {
    "scale_rewards": f"{GROUPS}; see trainer.whiten",
    "multi_objective_aggregation": f"{GROUPS}; give each reward of the recipe its weight",
    "fp16": "values do not fit into its range; use bf16",
}
"""Keys of `GRPOConfig` that mean nothing to PPO, and why."""


class PPO(Online):
    """Proximal policy optimization with a critic.

    Args:
        steps: optimizer steps.
        trl: keys of TRL's `GRPOConfig`, as they are: learning_rate, epsilon, num_iterations, beta, use_vllm, ... One
            more value is good: `num_generations: 1`.
        rollouts_every: steps between two records of all rollouts in `rollouts.jsonl`; 0 for none.
        failure_budget: share of the last 1,000 rollouts that may be without a reward because the retriever had no
            answer to their query, after all its attempts. Past it, or when a whole batch is without, the run saves its
            state and stops.
        curriculum: "learnability" draws those needs more often whose completions differ most in what they earn, by what
            their last ones earned; "none" draws all alike. It needs `trl.num_generations` of 2 or more.
        curriculum_uniform: share of the draws in which all needs are alike, so that each is seen again.
        curriculum_rate: how far the last completions of a need move what is known of it; 1 forgets all before.
        curriculum_start: the folder that `recr1 headroom --out` wrote, to know needs before training.
        critic: "head", a linear map of the policy's own hidden states, which costs no memory; or "model", a second one
            that begins as a copy of the policy.
        critic_learning_rate: of the critic's weights; it moves over the run as the policy's does.
        gamma: what a reward is worth one token earlier.
        gae_lambda: 1 pays tokens for what really came after them, 0 for what the critic expects after them.
        value_clip: how far a value may move, at its own profit, from what it was when the batch was generated; null for
            any.
        value_weight: of the critic's loss in what moves the policy's own hidden states; for "head" only.
        whiten: give the advantages of a batch of completions mean 0 and standard deviation 1.
        kl: where the distance to the starting policy counts, `trl.beta` times: in the "loss", as in GRPO, or in the
            "reward" of each token, as in the first PPO of language models.
    """

    name: ClassVar[str] = "ppo"
    config: ClassVar[str] = "GRPOConfig"
    trainer: ClassVar[str] = "PPOTrainer"
    meaningless: ClassVar[Mapping[str, str]] = MEANINGLESS

    def __init__(
        self,
        *,
        steps: int,
        trl: dict[str, Any] | None = None,
        rollouts_every: int = 10,
        failure_budget: float = 0.0,
        curriculum: Curriculum = "none",
        curriculum_uniform: float = UNIFORM,
        curriculum_rate: float = RATE,
        curriculum_start: str | None = None,
        critic: Kind = "head",
        critic_learning_rate: float = 1e-5,
        gamma: float = 1.0,
        gae_lambda: float = 0.95,
        value_clip: float | None = 0.2,
        value_weight: float = 0.1,
        whiten: bool = True,
        kl: Literal["loss", "reward"] = "loss",
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
        self.settings = Settings(critic, critic_learning_rate, gamma, gae_lambda, value_clip, value_weight, whiten, kl)
        self._check(vars(self.settings))

    @classmethod
    def check_options(cls, options: Mapping[str, Any]) -> list[str]:
        """Problems that show before anything is loaded."""
        keys = options.get("trl") or {}
        problems = super().check_options(options)
        if keys.get("loss_type", "dapo") not in OBJECTIVES:
            known = ", ".join(OBJECTIVES)
            problems.append(f"trl.loss_type: {keys['loss_type']!r} does not clip as PPO does; use one of {known}")
        if keys.get("importance_sampling_level", "token") != "token":
            problems.append("trl.importance_sampling_level: PPO has an advantage for each token; use token")
        problems += [f"{name}: must be from 0 to 1, got {options[name]}" for name in _outside_one(options)]
        if options.get("critic_learning_rate", 1) <= 0:
            problems.append(f"critic_learning_rate: must be above 0, got {options['critic_learning_rate']}")
        if (options.get("value_clip") or 1) < 0 or options.get("value_clip") == 0:
            problems.append(f"value_clip: must be above 0, or null for none, got {options['value_clip']}")
        if options.get("value_weight", 0) < 0:
            problems.append(
                f"value_weight: must be 0 (values move their head alone) or more, got {options['value_weight']}"
            )
        return problems

    def _algorithm(self, learner: Any, curriculum: DrawnNeeds | None) -> list[Addition]:
        return [ActorCritic(learner.model, self.settings)]

    def _arguments(self, run: Run, seed: int, learner: Any) -> Any:
        if self.trl.get("num_generations") != 1:
            return super()._arguments(run, seed, learner)
        # TRL's trainer can sample each need once; its config does not know that this is no GRPO.
        given, self.trl = self.trl, {**self.trl, "num_generations": 2}
        args = super()._arguments(run, seed, learner)
        self.trl, args.num_generations = given, 1
        return args


def _outside_one(options: Mapping[str, Any]) -> list[str]:
    return [name for name in ("gamma", "gae_lambda") if not 0 <= options.get(name, 1) <= 1]
