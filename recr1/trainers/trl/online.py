"""Training on completions of the policy, with the rewards of the environment: what GRPO, RLOO and PPO share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from annotated_types import MinLen

from recr1.env import Environment
from recr1.runs import Run
from recr1.trainers.base import TRLTrainer
from recr1.trainers.launch import FailureBudget, Ranks
from recr1.trainers.layers.curriculum import Curriculum, DrawnNeeds, curriculum_problems, known_variances
from recr1.trainers.layers.dynamic_sampling import DynamicSampling
from recr1.trainers.layers.generation import FiniteCheck, FromCopy
from recr1.trainers.layers.shared_prompts import SharedPrompts, pays
from recr1.trainers.layers.variants import Variants, variant_problems
from recr1.trainers.trl.additions import Addition
from recr1.trainers.trl.reward import RewardFunction, training_data
from retrievers.options import NonNegativeFloat, NonNegativeInt, PositiveShare

if TYPE_CHECKING:
    from recr1.trainers.watch.monitor import Monitor


@dataclass(kw_only=True)
class OnlineTrainer(TRLTrainer):
    """Samples completions of the policy, and makes those that earn more than others more likely."""

    rollouts_every: NonNegativeInt = 10
    """Steps between two records of all rollouts in `rollouts.jsonl`; 0 for none."""
    curriculum: Curriculum = "none"
    """"learnability" draws those needs more often whose completions differ most in reward, by the rewards of their last
    groups; "none" draws all alike. It needs `trl.num_generations` of 2 or more."""
    curriculum_uniform: PositiveShare = 0.25
    """Share of the draws in which all needs are alike, so that each is seen again."""
    curriculum_rate: PositiveShare = 0.5
    """How far the last group of a need moves what is known of it; 1 forgets all before."""
    curriculum_start: str | None = None
    """The folder that `recr1 headroom --out` wrote, to know needs before training."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._start = known_variances(self.curriculum_start) if self.curriculum != "none" else {}

    @classmethod
    def check_options(cls, options: Mapping[str, Any]) -> list[str]:
        """Problems that show before anything is loaded."""
        return super().check_options(options) + curriculum_problems(options)

    def _material(self, learner: Any, env: Environment, run: Run, ranks: Ranks) -> dict[str, Any]:
        budget = FailureBudget(self.failure_budget)
        reward = RewardFunction(env, run, ranks, budget, rollouts_every=self.rollouts_every)
        return {"reward_funcs": reward, "train_dataset": training_data(env)}

    def _additions(self, learner: Any, monitor: Monitor) -> list[Addition]:
        drawn = None
        if self.curriculum != "none":
            drawn = DrawnNeeds(self.curriculum_uniform, self.curriculum_rate, self._start)
        # RLOO's addition reads the log-probabilities that shared prompts give, so that it comes before them.
        return [
            *self._algorithm(learner, drawn),
            *([FromCopy(learner.in_bfloat16)] if getattr(learner, "in_bfloat16", None) else []),
            *([SharedPrompts(learner.model)] if pays(learner.model) else []),
            *([drawn] if drawn else []),
            FiniteCheck(),
            monitor.clock,
        ]

    @abstractmethod
    def _algorithm(self, learner: Any, curriculum: DrawnNeeds | None) -> list[Addition]:
        """The additions that make this algorithm of TRL's trainer."""

    def _lengths(self, learner: Any) -> dict[str, Any]:
        return {"max_completion_length": learner.max_new_tokens}


@dataclass(kw_only=True)
class GroupTrainer(OnlineTrainer):
    """Samples a group of completions for each need, and compares each with the others of its group."""

    renamed: ClassVar[Mapping[str, str]] = {
        "resample": "dynamic_sampling",
        "resample_tolerance": "dynamic_sampling_tolerance",
    }

    dynamic_sampling: NonNegativeInt = 0
    """Rounds in which groups whose rewards are all the same are replaced by those of other needs, generated and
    rewarded in the same step; 0 for none."""
    dynamic_sampling_tolerance: NonNegativeFloat = 1e-6
    """The difference between the highest and the lowest reward of a group up to which they are the same."""
    own_order: bool = False
    """Each completion of a group reads the candidates in an order of its own, for the reward `disagreement`."""
    own_word: dict[str, Annotated[list[str], MinLen(1)]] | None = None
    """Attributes of people with words, {gender: [a woman, a man]}: every other completion of a group reads one of them
    in the sentence of the section `audit`'s default, for the reward `by_person`."""

    @classmethod
    def check_options(cls, options: Mapping[str, Any]) -> list[str]:
        """Problems that show before anything is loaded."""
        return super().check_options(options) + variant_problems(options)

    def _algorithm(self, learner: Any, curriculum: DrawnNeeds | None) -> list[Addition]:
        rounds, tolerance = self.dynamic_sampling, self.dynamic_sampling_tolerance
        varied = [Variants(own_order=self.own_order, words=self.own_word)] if self.own_order or self.own_word else []
        return [*([DynamicSampling(rounds, tolerance, curriculum)] if rounds else []), *varied]
