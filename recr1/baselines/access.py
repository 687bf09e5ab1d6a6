"""What a baseline may look at besides chats: it declares that, and an evaluation shows it beside its numbers.

A trained policy never gets more than chats. Pseudo-relevance feedback also reads what a first search found, and a
ceiling the answer keys.
"""

from __future__ import annotations

from typing import Literal, Protocol, TypeAlias, runtime_checkable

from recr1.baselines.without_model import Verbatim
from recr1.env import Environment
from rewards.base import Chat, Need

Visible: TypeAlias = Literal["catalog", "hits", "training rewards", "answers"]
"""Texts of items; what searches found; rewards of training needs; the answer keys of the evaluated needs."""

RETRIES = 2
"""How often a baseline repeats a search that had no answer, as evaluations do."""


@runtime_checkable
class NeedsAccess(Protocol):
    """A policy that looks at more than chats."""

    @property
    def sees(self) -> tuple[Visible, ...]:
        """What it looks at. With "answers" it is an upper bound, not something to compete with."""
        ...

    def prepare(self, env: Environment) -> None:
        """Called once, before the first chat."""
        ...


def prepare(policy: object, env: Environment) -> None:
    """Give a baseline that declares access the environment; nothing happens to any other policy."""
    if isinstance(policy, NeedsAccess):
        policy.prepare(env)


class ByNeed(Verbatim):
    """The format of baselines that look needs up: the prompt is the need's id, the completion is the query."""

    def render(self, need: Need) -> Chat:
        """A single user message with the need's id."""
        return [{"role": "user", "content": need.id}]
