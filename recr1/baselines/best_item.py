"""The ceiling that searches the text of the best item."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from recr1.baselines.access import Access, ByNeed, Sight, need_of, positive_rows
from recr1.errors import UserError
from rewards.base import Chat


class BestItem:
    """Knows the answer: searches the text of an item of the need's highest grade, the first in catalog order.

    Args:
        words: how much of the text, from its beginning.
    """

    format = ByNeed()
    sees: tuple[Sight, ...] = ("catalog", "answers")

    def __init__(self, *, words: int = 64) -> None:
        if problems := self.check_options({"words": words}):
            raise UserError(problems[0])
        self.words = words
        self._access: Access | None = None

    @staticmethod
    def check_options(options: Mapping[str, Any]) -> list[str]:
        """Problems that show before anything is loaded."""
        words = options.get("words", 1)
        return [] if words >= 1 else [f"words: must be at least 1, got {words}"]

    def meet(self, access: Access) -> None:
        """Keeps catalog and answer keys."""
        self._access = access

    def generate(self, chats: Sequence[Chat], n: int) -> list[list[str]]:
        """The same query every time: `max(n, 1)` copies a chat."""
        assert self._access is not None, "meet() comes first"
        task = self._access.task
        best = [positive_rows(task.qrels[need_of(chat, self._access).id])[0] for chat in chats]
        return [[" ".join(task.catalog.texts[row].split()[: self.words])] * max(n, 1) for row in best]
