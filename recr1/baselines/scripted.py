"""The policy that answers from a table: queries that were written elsewhere, and tests."""

from __future__ import annotations

from collections.abc import Sequence

from recr1.baselines.echo import Verbatim
from recr1.errors import UserError
from rewards.base import Chat


class Scripted:
    """Answers each need with the query that the table holds for its text."""

    format = Verbatim()

    def __init__(self, *, answers: dict[str, str], default: str | None = None) -> None:
        """Keep the table.

        Args:
            answers: Need text -> query, both taken as they are. An empty query counts as an invalid answer.
            default: The query for a need that is not in the table; None refuses such a need.
        """
        self.answers, self.default = answers, default

    def generate(self, chats: Sequence[Chat], n: int) -> list[list[str]]:
        """The same query every time: `max(n, 1)` copies a chat. Raises `UserError` for a need without an answer."""
        return [[self._answer(chat[-1]["content"])] * max(n, 1) for chat in chats]

    def _answer(self, need: str) -> str:
        answer = self.answers.get(need, self.default)
        if answer is None:
            raise UserError(f"policy 'scripted' has no answer to the need {need!r}: add one, or set `default`")
        return answer
