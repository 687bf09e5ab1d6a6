"""The nouns of a reward: what was wanted (Need, Qrels), what the policy did (Action, Rollout), what it found (Batch)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, TypeAlias, TypedDict, runtime_checkable

import numpy as np

from retrievers.base import Floats, Hits, Query, Rows


class Message(TypedDict):
    """One turn of a chat: `role` is "system", "user" or "assistant"."""

    role: str
    content: str


Chat: TypeAlias = Sequence[Message]


class Qrels(Mapping[int, int]):
    """The answer key to one need: catalog row -> grade (an integer; above zero means relevant).

    A read-only mapping that also holds its content as arrays sorted by row (`rows_J`, `grades_J`) and the positive grades
    from best to worst (`ideal_J`), so that a measure binds the key once and scores many rankings with it.
    """

    __slots__ = ("_grades", "grades_J", "ideal_J", "rows_J")

    def __init__(self, grades: Mapping[int, int]) -> None:
        self._grades = dict(sorted(grades.items()))
        self.rows_J: Rows = np.fromiter(self._grades.keys(), np.int32, len(self._grades))
        self.grades_J = np.fromiter(self._grades.values(), np.int32, len(self._grades))
        self.ideal_J = np.sort(self.grades_J[self.grades_J > 0])[::-1]

    def __getitem__(self, row: int) -> int:
        return self._grades[row]

    def __iter__(self) -> Iterator[int]:
        return iter(self._grades)

    def __len__(self) -> int:
        return len(self._grades)

    def __repr__(self) -> str:
        return f"Qrels({self._grades})"

    @property
    def positives(self) -> int:
        """How many items have a grade above zero."""
        return len(self.ideal_J)


@dataclass(frozen=True)
class Need:
    """What a shopper wants, and nothing that the policy may not see: no qrels, no catalog text."""

    id: str
    text: str
    history: tuple[int, ...] = ()
    """Catalog rows that this user met before, oldest first; empty for plain search."""


class Search(NamedTuple):
    """The completion is a query."""

    query: Query


class Invalid(NamedTuple):
    """The completion is not an answer; `reason` is a short, countable phrase ("empty query")."""

    reason: str


Action: TypeAlias = Search | Invalid


@dataclass(frozen=True)
class Rollout:
    """One attempt at one need: the chat, whose last message is the completion, and what it was understood to mean."""

    need: Need
    chat: Chat
    action: Action

    @property
    def completion(self) -> str:
        """The text that the policy wrote."""
        return self.chat[-1]["content"]


@dataclass(frozen=True)
class Batch:
    """All that a reward may look at; row i of every member belongs to rollout i.

    `hits` are (B, K): -1 everywhere for an Invalid action. `raw_hits` are those of searching the raw need's text, and are
    there only if some reward of the environment declares `needs_raw_hits = True`.
    """

    rollouts: Sequence[Rollout]
    hits: Hits
    qrels: Sequence[Qrels]
    raw_hits: Hits | None = None
    info: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.rollouts)


@runtime_checkable
class Reward(Protocol):
    """A number per rollout that the trainer maximises. Built as `cls(*, options)`.

    `name` is the identity ("nDCG@10"), the same in recipes, logs and tables, and unique among the rewards of a recipe.
    """

    name: str

    def __call__(self, batch: Batch) -> Floats:
        """(B,) float32, every number finite."""
        ...
