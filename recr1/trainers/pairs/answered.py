"""Pairs of needs that are answered in text: the best of several answers to other needs, by the rewards."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

from recr1.answers import WritesAnswers
from recr1.env import Environment, chat_with
from recr1.errors import UserError
from recr1.tasks.mixed import MixedFormat
from recr1.trainers.launch import FailureBudget
from recr1.trainers.pairs.made import MadePairs, OfNeed, Pass, mean
from retrievers.options import PositiveInt, checked
from rewards.base import Need


@checked
class AnsweredPairs(MadePairs):
    """For each training need a few answers that are right for other needs of its family, and of these the best.

    The rewards of the recipe choose: a policy that never wrote an answer learns the format and the words of answers,
    and with more guesses also what earns. With `per_need: 1` it learns the format alone.

    Args:
        per_need: answers drawn for each need.
        at_least: what an answer must earn to be kept: the weighted reward of the recipe.
        needs: how many training needs, from the first on; null for all.
        seed: draws the answers.
    """

    def __init__(
        self, *, per_need: PositiveInt = 4, at_least: float = 0.01, needs: PositiveInt | None = None, seed: int = 0
    ) -> None:
        self.per_need, self.at_least, self.needs, self.seed = per_need, at_least, needs, seed

    def _made(self, each: Pass, env: Environment, policy: Any, budget: FailureBudget) -> list[OfNeed]:
        answers: dict[str, list[str]] = {}
        for need in env.task.needs("train"):
            if (gold := env.task.qrels[need.id].gold) is not None:
                answers.setdefault(need.family, []).append(gold)
        if not answers:
            raise UserError("trainer.pairs: no training need of this task is answered in text: choose other pairs")
        return each(lambda needs: self._best_of(needs, env, answers, budget), "scoring answers to")

    def _facts(self, made: Sequence[OfNeed]) -> dict[str, Any]:
        rewards = [reward for of_need in made for reward in of_need["rewards"]]
        kept = [line["reward"] for of_need in made for line in of_need["kept"]]
        if not kept:
            raise UserError(f"trainer.pairs: none of {len(rewards)} answers earns {self.at_least:g}: lower at_least")
        return {"reward_of_guesses": mean(rewards), "reward_of_kept": mean(kept)}

    def _best_of(
        self, needs: Sequence[Need], env: Environment, answers: dict[str, list[str]], budget: FailureBudget
    ) -> list[OfNeed]:
        """For each need the rewards of its guesses, and the line of the best."""
        guesses = [
            (need, _write(env, need, text))
            for need in needs
            for text in Random(f"{self.seed} {need.id}").choices(answers.get(need.family) or [""], k=self.per_need)
            if answers.get(need.family)
        ]
        prompts = {need.id: prompt for need, prompt in zip(needs, env.prompts(needs), strict=True)}
        step = env.step([need for need, _ in guesses], [chat_with(prompts[need.id], text) for need, text in guesses])
        budget.spend(step, alone=False)
        found: dict[str, OfNeed] = {need.id: {"rewards": [], "kept": []} for need in needs}
        for (need, text), reward in zip(guesses, step.rewards.tolist(), strict=True):
            own = found[need.id]
            own["rewards"].append(reward)
            if reward >= self.at_least and reward > max((line["reward"] for line in own["kept"]), default=-1e9):
                own["kept"] = [{"need": need.id, "completion": text, "reward": reward}]
        return [found[need.id] for need in needs]


def _write(env: Environment, need: Need, text: str) -> str:
    form = env.format.formats[need.family] if isinstance(env.format, MixedFormat) else env.format
    if not isinstance(form, WritesAnswers):
        raise UserError(f"task.format: {type(form).__name__} cannot be taught answers: it has no method 'write_answer'")
    return form.write_answer(text)
