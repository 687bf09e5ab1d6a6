"""Answers in text without a model: what the task itself knows, such as the mean of all ratings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from recr1.baselines.access import ByNeed, Visible
from recr1.env import Environment
from recr1.errors import UserError
from recr1.tasks.base import plain_answers, splits_of
from retrievers.options import checked
from rewards.base import Action, Answer, Chat, Invalid


class PlainFormat(ByNeed):
    """The prompt is the need's id, and the completion the answer, unchanged."""

    def parse(self, completion: str) -> Action:
        """The completion as the answer."""
        return Answer(completion) if completion else Invalid("no plain answer")


@checked
class MeanRating:
    """Rates every item with a mean of ratings in training; in `recr1 compare`, the rival of a policy that rates.

    Needs of a mixed task that are about no rating get an invalid answer.

    Args:
        of: "global", the mean of all ratings; "user", that of the person's past ratings; "item", that of the item's
            ratings in training; or "median", the median of all, the best constant answer for `RatingCloseness`.
    """

    format = PlainFormat()
    sees: tuple[Visible, ...] = ("training rewards",)

    def __init__(self, *, of: Literal["global", "user", "item", "median"] = "global") -> None:
        self._name = of if of == "median" else f"{of} mean"

    def prepare(self, env: Environment) -> None:
        """Keep the task; raises `UserError` where it has no ratings."""
        self._env = env
        needs = (need for of_split in splits_of(env.task).values() for need in of_split)
        if not any(self._name in plain_answers(env.task, need) for need in needs):
            raise UserError("policy 'mean_rating': this task has no ratings: choose the task rating, or a mixed one")

    def generate(self, chats: Sequence[Chat], n: int) -> list[list[str]]:
        """The same rating every time: `max(n, 1)` copies a chat."""
        needs = [self._env.need(chat[-1]["content"]) for chat in chats]
        return [[plain_answers(self._env.task, need).get(self._name, "")] * max(n, 1) for need in needs]
