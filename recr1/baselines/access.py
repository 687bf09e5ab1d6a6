"""What a baseline may look at beside chats, and says so: a policy that is trained never gets any of it.

A policy is handed chats and nothing else. Some rivals of a trained policy need more (pseudo-relevance feedback reads
what a first search found, a ceiling reads the answer key), and those that do declare it in `sees`. An evaluation shows
it beside their numbers, and only a policy with a method `meet` is introduced to the environment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol, TypeAlias, runtime_checkable

from recr1.baselines.echo import Verbatim
from recr1.tasks.base import Task
from retrievers.base import Floats, Hits, Query
from rewards.base import Action, Chat, Message, Need, Reward

Sight: TypeAlias = Literal["catalog", "hits", "training rewards", "answers"]
"""Text of the catalog; what searches found; rewards of training needs; the answer keys of the needs asked."""


class Rewarded(Protocol):
    """What became of completions."""

    @property
    def rewards(self) -> Floats:
        """(B,) NaN where a search had no answer."""
        ...


class Prompts(Protocol):
    """What asks and reads: `recr1.formats.Format`, as far as it matters here."""

    def parse(self, completion: str) -> Action:
        """What a completion means."""
        ...


class Access(Protocol):
    """What a baseline is introduced to: the parts of `recr1.env.Environment` that baselines use."""

    task: Task
    k: int

    @property
    def format(self) -> Prompts:
        """How completions are read."""
        ...

    @property
    def rewards(self) -> Sequence[tuple[Reward, float]]:
        """Each with its weight."""
        ...

    def need(self, need_id: str) -> Need:
        """The need with this id."""
        ...

    def prompts(self, needs: Sequence[Need]) -> list[Chat]:
        """What a policy reads, one chat a need."""
        ...

    def search(self, queries: Sequence[Query | None], *, again: int = 0) -> Hits:
        """Hits of shape (len(queries), k)."""
        ...

    def step(self, needs: Sequence[Need], chats: Sequence[Chat], *, again: int = 0) -> Rewarded:
        """The rewards of chats that end with a completion."""
        ...


@runtime_checkable
class Informed(Protocol):
    """A policy with declared access."""

    @property
    def sees(self) -> tuple[Sight, ...]:
        """What it looks at beside chats. With "answers" its number is a bound, and no rival."""
        ...

    def meet(self, access: Access) -> None:
        """Called once, before the first chat."""
        ...


def introduce(policy: object, access: Access) -> None:
    """Let a baseline with declared access have it; every other policy gets nothing."""
    if isinstance(policy, Informed):
        policy.meet(access)


AGAIN = 2
"""How often a baseline asks once more what a retriever gave no answer to, as evaluations do."""


def answered(prompt: Chat, completion: str) -> list[Message]:
    """The prompt with the completion as the assistant's answer."""
    return [*prompt, {"role": "assistant", "content": completion}]


def positive_rows(qrels: Mapping[int, int]) -> list[int]:
    """The rows of the highest grade, in catalog order."""
    top = max(qrels.values())
    return [row for row, grade in qrels.items() if grade == top]


class ByNeed:
    """The format of baselines that look things up: the prompt is the id of the need, the completion is the query."""

    def render(self, need: Need) -> Chat:
        """A single user message with the need's id."""
        return [{"role": "user", "content": need.id}]

    def parse(self, completion: str) -> Action:
        """As `Verbatim` does."""
        return Verbatim().parse(completion)


def need_of(chat: Chat, access: Access) -> Need:
    """The need of a chat that `ByNeed` rendered."""
    return access.need(chat[-1]["content"])
