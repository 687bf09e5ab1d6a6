"""The policy that searches the need as it was said: the floor that every other one has to beat."""

from __future__ import annotations

from collections.abc import Sequence

from rewards.base import Action, Chat, Invalid, Need, Search


class Verbatim:
    """The format of policies that are no language models: the prompt is the need, the completion is the query."""

    def render(self, need: Need) -> Chat:
        """A single user message with the need's text, untouched."""
        return [{"role": "user", "content": need.text}]

    def parse(self, completion: str) -> Action:
        """The completion as the query, untouched."""
        return Search(completion) if completion.strip() else Invalid("empty query")


class Echo:
    """Answers with the last user message, which in its own format is the need's text."""

    format = Verbatim()

    def generate(self, chats: Sequence[Chat], n: int) -> list[list[str]]:
        """The same text every time: `max(n, 1)` copies a chat."""
        return [[chat[-1]["content"]] * max(n, 1) for chat in chats]
