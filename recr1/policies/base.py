"""What a policy is: something that reads chats and writes completions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from rewards.base import Chat


@runtime_checkable
class Policy(Protocol):
    """Writes completions. Built as `cls(*, options)`.

    It is handed chats and nothing else: no need, no catalog, no answer key. A policy that is no language model may
    bring a `Format` of its own as the attribute `format`; evaluation then renders and parses with that one instead of
    the task's, so that such a policy reads the bare need and its completion is the bare query.
    """

    def generate(self, chats: Sequence[Chat], n: int) -> list[list[str]]:
        """Completions of each chat: one greedy completion when n is 0, n samples otherwise."""
        ...
