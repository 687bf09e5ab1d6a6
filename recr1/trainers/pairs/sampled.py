"""Pairs that the policy wrote itself: the best of several completions of each training need.

Rejection-sampled fine-tuning (RAFT, Dong et al. 2023, arXiv 2304.06767; the "RFT" of Yuan et al. 2023, arXiv
2308.01825): sample, keep what earned most, and learn it by heart.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from recr1.env import Environment, chat_with
from recr1.errors import UserError
from recr1.trainers.launch import FailureBudget
from recr1.trainers.pairs.made import MadePairs, OfNeed, Pass, mean
from recr1.trainers.pairs.pairs import answer_ids
from retrievers.options import PositiveInt, checked
from rewards.base import Invalid, Need


@checked
class SampledPairs(MadePairs):
    """The best of several completions of each training need, by the rewards of the recipe.

    Only completions that are a query or a list, end within `policy.max_new_tokens`, and earn the bound or more are
    kept; of equal ones the first. They are sampled by the starting policy at `policy.temperature`, before the first
    step, and written to `pairs.jsonl` in the run folder.

    Args:
        per_need: completions sampled for each need.
        keep: the most different completions that are kept of a need, those with the highest reward.
        at_least: what a completion must earn to be kept: the weighted reward of the recipe.
        needs: how many training needs, from the first on; null for all.
    """

    def __init__(
        self,
        *,
        per_need: PositiveInt = 8,
        keep: PositiveInt = 1,
        at_least: float = 0.01,
        needs: PositiveInt | None = None,
    ) -> None:
        self.per_need, self.keep, self.at_least, self.needs = per_need, keep, at_least, needs

    @staticmethod
    def check_options(options: Mapping[str, Any]) -> list[str]:
        """Problems that show before anything is loaded."""
        keep, per_need = options.get("keep", 1), options.get("per_need", 8)
        return [f"keep: {keep} of {per_need} completions: raise per_need"] if keep > per_need else []

    def _made(self, each: Pass, env: Environment, policy: Any, budget: FailureBudget) -> list[OfNeed]:
        return each(lambda needs: self._best_of(needs, env, policy, budget), "sampling completions of")

    def _facts(self, made: Sequence[OfNeed]) -> dict[str, Any]:
        rewards = [reward for of_need in made for reward in of_need["rewards"]]
        kept = [line["reward"] for of_need in made for line in of_need["kept"]]
        if not kept:
            raise UserError(
                f"trainer.pairs: none of {self.per_need * len(made)} completions of the starting policy earns "
                f"{self.at_least:g}: lower at_least, sample more per_need, or teach it from a file first"
            )
        return {"sampled": len(rewards), "reward_of_sampled": mean(rewards), "reward_of_kept": mean(kept)}

    def _best_of(self, needs: Sequence[Need], env: Environment, policy: Any, budget: FailureBudget) -> list[OfNeed]:
        """For each need the rewards of its completions, and the lines of those that are kept."""
        prompts = env.prompts(needs)
        answers = policy.generate(prompts, self.per_need)
        each = [need for need in needs for _ in range(self.per_need)]
        chats = [chat_with(prompt, text) for prompt, texts in zip(prompts, answers, strict=True) for text in texts]
        step = env.step(each, chats)
        budget.spend(step, alone=False)
        found = []
        for order, need in enumerate(needs):
            rows = range(order * self.per_need, (order + 1) * self.per_need)
            rewards = {row: float(step.rewards[row]) for row in rows if math.isfinite(step.rewards[row])}
            best: dict[str, float] = {}
            for row in sorted(rewards, key=lambda row: -rewards[row]):
                action, text = step.batch.rollouts[row].action, step.batch.rollouts[row].completion
                taught = rewards[row] >= self.at_least and not isinstance(action, Invalid)
                if taught and len(answer_ids(policy.tokenizer, text)) <= policy.max_new_tokens:
                    best.setdefault(text, rewards[row])
            kept = [{"need": need.id, "completion": text, "reward": best[text]} for text in list(best)[: self.keep]]
            found.append({"rewards": list(rewards.values()), "kept": kept})
        return found
