"""What TRL is given: the needs as prompts, and one reward function."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from recr1.env import Environment, Step, chat_with, metrics, words
from recr1.runs import Run
from recr1.trainers.launch.ranks import FailureBudget, Ranks
from rewards.base import Chat, Search


class RewardFunction:
    """The one function that TRL calls with each batch of completions: needs by id, one step, rewards.

    A rollout whose search had no answer has the reward None: TRL leaves it out of its group's mean and of the update.
    Where that happens more often than the budget allows, and for any other error of the retriever or of a reward, every
    rank raises.
    """

    def __init__(self, env: Environment, run: Run, ranks: Ranks, budget: FailureBudget, *, rollouts_every: int) -> None:
        self._env, self._run, self._ranks = env, run, ranks
        self._budget, self._rollouts_every = budget, rollouts_every
        self.__name__ = "recr1"  # TRL calls its metrics after it

    def __call__(
        self,
        prompts: Sequence[Chat],
        completions: Sequence[Any],
        need_id: Sequence[str],
        log_metric: Callable[[str, float], None],
        trainer_state: Any,
        replacement: Sequence[bool] = (False,),
        **_columns: Any,
    ) -> list[float | None]:
        """The rewards of a batch; `replacement` where its groups only come in for others of a batch that is there."""
        with self._ranks.together():
            done = int(trainer_state.global_step)
            step = self._step(prompts, completions, need_id, done, alone=not replacement[0])
        for name, value in metrics(step).items():
            if name != "reward" and math.isfinite(value):  # TRL logs the total under this name itself
                log_metric(name, value)
        number = trainer_state.global_step + 1
        if self._rollouts_every and (number == 1 or number % self._rollouts_every == 0):
            self._run.log_rollouts(number, step)
        if not replacement[0]:
            self._run.log_histograms(number, spread(step))
        return [float(value) if math.isfinite(value) else None for value in step.rewards]

    def _step(
        self, prompts: Sequence[Chat], completions: Sequence[Any], need_id: Sequence[str], done: int, *, alone: bool
    ) -> Step:
        needs = [self._env.need(name) for name in need_id]
        chats = [
            chat_with(prompt, completion[0]["content"]) for prompt, completion in zip(prompts, completions, strict=True)
        ]
        step = self._env.step(needs, chats, training_step=done)
        self._budget.spend(step, alone=alone)
        return step


def spread(step: Step) -> dict[str, list[int]]:
    """What is shown as histograms: ranks of the first relevant items that were found, and words of valid queries."""
    ranks_B = step.batch.graded.first_relevant
    lengths = [words(rollout.action.query) for rollout in step.batch.rollouts if isinstance(rollout.action, Search)]
    return {"train/histogram/rank": ranks_B[ranks_B > 0].tolist(), "train/histogram/words": lengths}


def training_data(env: Environment) -> Any:
    """The training needs as TRL reads them: a prompt and the id by which the reward function finds the need."""
    from datasets import Dataset

    needs = env.task.needs("train")
    prompts = [[dict(message) for message in chat] for chat in env.prompts(needs)]
    return Dataset.from_dict({"prompt": prompts, "need_id": [need.id for need in needs]})
