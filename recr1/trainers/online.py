"""Training on samples of the policy with the rewards of the environment, whatever is made of those rewards."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from recr1.env import Environment
from recr1.runs import Run
from recr1.trainers.launch.failures import FailureBudget
from recr1.trainers.launch.ranks import Ranks
from recr1.trainers.layers.clock import TimedGeneration
from recr1.trainers.layers.curriculum import RATE, UNIFORM, Curriculum, DrawnNeeds, curriculum_problems, settings_of
from recr1.trainers.layers.sampling import FiniteCheck
from recr1.trainers.layers.shared_prompts import SharedPrompts, pays
from recr1.trainers.trl.additions import Addition
from recr1.trainers.trl.on_trl import OnTRL
from recr1.trainers.trl.reward import RewardFunction, training_data

if TYPE_CHECKING:
    from recr1.trainers.watch.monitor import Monitor


class Online(OnTRL):
    """Samples completions of the policy, and makes those that earn more than others more likely.

    Args:
        steps: optimizer steps.
        trl: keys of TRL's config, as they are: num_generations, learning_rate, beta, use_vllm, ...
        rollouts_every: steps between two records of all rollouts in `rollouts.jsonl`; 0 for none.
        failure_budget: share of the last 1,000 rollouts that may be without a reward because the retriever had no
            answer to their query, after all its attempts. Past it, or when a whole batch is without, the run saves its
            state and stops.
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
        curriculum: Curriculum = "none",
        curriculum_uniform: float = UNIFORM,
        curriculum_rate: float = RATE,
        curriculum_start: str | None = None,
    ) -> None:
        super().__init__(steps=steps, trl=trl, failure_budget=failure_budget)
        given = {"trl": self.trl, "rollouts_every": rollouts_every, "curriculum": curriculum}
        given |= {"curriculum_uniform": curriculum_uniform, "curriculum_rate": curriculum_rate}
        given |= {"curriculum_start": curriculum_start}
        self._check(given)
        self.rollouts_every = rollouts_every
        self.curriculum = settings_of(curriculum, curriculum_uniform, curriculum_rate, curriculum_start)

    @classmethod
    def check_options(cls, options: Mapping[str, Any]) -> list[str]:
        """Problems that show before anything is loaded."""
        problems = super().check_options(options)
        if options.get("rollouts_every", 0) < 0:
            problems.append(f"rollouts_every: must be 0 (never) or more, got {options['rollouts_every']}")
        return problems + curriculum_problems(options)

    def _material(self, learner: Any, env: Environment, run: Run, ranks: Ranks) -> dict[str, Any]:
        budget = FailureBudget(self.failure_budget)
        reward = RewardFunction(env, run, ranks, budget, rollouts_every=self.rollouts_every)
        return {"reward_funcs": reward, "train_dataset": training_data(env)}

    def _additions(self, learner: Any, monitor: Monitor) -> list[Addition]:
        shared = [SharedPrompts()] if pays(learner.model) else []
        curriculum = DrawnNeeds(self.curriculum) if self.curriculum else None
        drawn = [curriculum] if curriculum else []
        algorithm = self._algorithm(learner, curriculum)
        return [*shared, *algorithm, *drawn, FiniteCheck(), TimedGeneration(monitor.clock)]

    @abstractmethod
    def _algorithm(self, learner: Any, curriculum: DrawnNeeds | None) -> list[Addition]:
        """The additions that make this algorithm of TRL's trainer."""

    def _callbacks(self, learner: Any, monitor: Monitor) -> list[Any]:
        from recr1.trainers.trl.classes import TruncationWatch

        if not self.trl.get("mask_truncated_completions"):
            return []
        return [TruncationWatch(monitor.view.say, learner.max_new_tokens)]

    def _lengths(self, learner: Any) -> dict[str, Any]:
        return {"max_completion_length": learner.max_new_tokens}
