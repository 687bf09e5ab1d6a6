"""What a policy is: something that reads chats and writes completions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

from rewards.base import Chat


@runtime_checkable
class Policy(Protocol):
    """Writes completions. Built as `cls(*, options)`.

    It is handed chats and nothing else: no need, no catalog, no answer key. A policy that is no language model may
    bring a `Format` of its own as the attribute `format`; evaluation then renders and parses with that one instead of
    the task's, so that such a policy reads the bare need and its completion is the bare query. A baseline that needs
    more declares it: see `recr1.baselines.access`. One that counts its tokens holds them as `spent`, a `Spent`.
    """

    def generate(self, chats: Sequence[Chat], n: int) -> list[list[str]]:
        """Completions of each chat: one greedy completion when n is 0, n samples otherwise."""
        ...


class Spent(NamedTuple):
    """Tokens that a language model has worked through since it was loaded."""

    read: int = 0
    """Of prompts, each counted once however many completions it got."""
    written: int = 0
    """Of completions, with the token that ends them."""


def spent_by(policy: object) -> Spent:
    """What a policy counted; nothing for one that is no language model."""
    found = getattr(policy, "spent", None)
    return found if isinstance(found, Spent) else Spent()
