"""A retriever as a policy: it answers from the history of a need, and from its candidates if it has some."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from recr1.baselines.access import RETRIES, ByNeed, Visible
from recr1.config.build import build, check_part
from recr1.env import Environment
from recr1.errors import OptionError
from retrievers.options import checked
from rewards.base import Action, Chat, Invalid, Recommend


class _ByRows(ByNeed):
    """The prompt is the need's id, the completion the rows of the items."""

    def parse(self, completion: str) -> Action:
        """`Recommend` with the rows."""
        rows = completion.split()
        return Recommend(tuple(map(int, rows))) if rows else Invalid("nothing found")


@checked
class Recommender:
    """What a retriever recommends, as a policy: the floor of tasks about people, such as `pick_one`.

    A recommender reads the history of a need, any other retriever its text. Candidates of a need are put in its order,
    and those that it does not find follow as they are shown; without candidates, its first items are the answer.

    Args:
        retriever: as a recipe writes it, such as {type: ease}; built on the catalog of the task.
    """

    sees: tuple[Visible, ...] = ("catalog",)
    format = _ByRows()
    nested: ClassVar[Mapping[str, str]] = {"retriever": "retriever"}

    def __init__(self, *, retriever: dict[str, Any]) -> None:
        if problems := check_part("retriever", retriever, "retriever"):
            raise OptionError(problems)
        self._spec = retriever

    def prepare(self, env: Environment) -> None:
        """Build the retriever on the catalog of the task."""
        own = build("retriever", self._spec, env.task.catalog, path="policy.retriever")
        self._env = Environment(env.task, own, (), env.k, self.format)

    def generate(self, chats: Sequence[Chat], n: int) -> list[list[str]]:
        """The rows that are recommended, best first: `max(n, 1)` times the same."""
        needs = [self._env.need(chat[-1]["content"]) for chat in chats]
        hits = self._env.search([self._env.raw(need) for need in needs], again=RETRIES, needs=needs)
        written = [" ".join(str(row) for row in rows if row >= 0) for rows in hits.rows_QK.tolist()]
        return [[text] * max(n, 1) for text in written]
