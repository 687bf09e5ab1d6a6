"""What TRL is given: the needs as prompts, and one reward function."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from recr1.env import Environment, chat_with, metrics, words
from recr1.runs import Run
from recr1.trainers.launch import FailureBudget, Ranks
from rewards.base import Action, Chat, Graded, Need, Search


class RewardFunction:
    """The one function that TRL calls with each batch of completions: needs by id, one step, rewards.

    A rollout whose search had no answer has the reward None: TRL leaves it out of its group's mean and of the update.
    Where that happens more often than the budget allows, and for any other error of the retriever or of a reward, every
    rank raises.
    """

    def __init__(self, env: Environment, run: Run, ranks: Ranks, budget: FailureBudget, *, rollouts_every: int) -> None:
        self.env, self._run, self._ranks = env, run, ranks
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
        *,
        variant: Sequence[Need] = (),
        **_columns: Any,
    ) -> list[float | None]:
        """The rewards of a batch; `replacement` if its groups only replace some of the step's batch.

        `variant` has the needs as the prompts have them, where members of a group read different ones.
        """
        with self._ranks.together():
            texts = [completion[0]["content"] for completion in completions]
            chats = [chat_with(prompt, text) for prompt, text in zip(prompts, texts, strict=True)]
            needs = variant or [self.env.need(name) for name in need_id]
            step = self.env.step(needs, chats, training_step=int(trainer_state.global_step))
            self._budget.spend(step, alone=not replacement[0])
        for name, value in metrics(step).items():
            if name != "reward" and math.isfinite(value):  # TRL logs the total under this name itself
                log_metric(name, value)
        number = trainer_state.global_step + 1
        if self._rollouts_every and (number == 1 or number % self._rollouts_every == 0):
            self._run.log_rollouts(number, step)
        if not replacement[0]:
            actions = [rollout.action for rollout in step.batch.rollouts]
            self._run.log_histograms(number, histograms("train", step.batch.graded, actions))
        return [float(value) if math.isfinite(value) else None for value in step.rewards]


def histograms(under: str, graded: Graded, actions: Sequence[Action]) -> dict[str, list[int]]:
    """What is shown as histograms: ranks of the first relevant items that were found, and words of valid queries."""
    ranks_B = graded.first_relevant
    lengths = [words(action.query) for action in actions if isinstance(action, Search)]
    return {f"{under}/histogram/rank": ranks_B[ranks_B > 0].tolist(), f"{under}/histogram/words": lengths}


def training_data(env: Environment) -> Any:
    """The training needs as TRL reads them: a prompt and the id by which the reward function finds the need."""
    from datasets import Dataset

    needs = env.task.needs("train")
    prompts = [[dict(message) for message in chat] for chat in env.prompts(needs)]
    return Dataset.from_dict({"prompt": prompts, "need_id": [need.id for need in needs]})
