"""What a policy is: it reads chats and writes completions. What some policies can do besides is a protocol each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

from recr1.formats import Format
from rewards.base import Chat


@runtime_checkable
class Policy(Protocol):
    """Writes completions. Built as `cls(*, options)`.

    It gets chats and nothing else: no need, no catalog, no answer key. A baseline that needs more declares it, see
    `recr1.baselines.access`.
    """

    def generate(self, chats: Sequence[Chat], n: int) -> list[list[str]]:
        """Completions of each chat: one greedy completion when n is 0, n samples otherwise."""
        ...


@runtime_checkable
class HasFormat(Protocol):
    """A policy with its own prompt and parser, used in place of the task's.

    For policies that are not language models: they read the bare need, and their completion is the bare query.
    """

    @property
    def format(self) -> Format | None:
        """None: the task's."""
        ...


class Spent(NamedTuple):
    """Tokens that a language model has processed since it was loaded."""

    read: int = 0
    """Of prompts; a prompt counts once, however many completions it got."""
    written: int = 0
    """Of completions, with the token that ends them."""


class Likely(NamedTuple):
    """A completion, and how likely its model found it."""

    text: str
    likelihood: float
    """The mean natural log-probability of its tokens, with the one that ends it."""


@runtime_checkable
class KnowsLikelihood(Protocol):
    """A policy that says how likely its greedy completions are."""

    def greedy(self, chats: Sequence[Chat]) -> list[Likely]:
        """One greedy completion of each chat: the text that `generate(chats, 0)` gives, and its likelihood."""
        ...


@runtime_checkable
class RatesTexts(Protocol):
    """A policy that says how likely its model finds a text, without a prompt."""

    def likelihoods(self, texts: Sequence[str]) -> list[float]:
        """The mean natural log-probability of the tokens of each text."""
        ...


@runtime_checkable
class CountsTokens(Protocol):
    """A policy that counts the tokens it reads and writes."""

    @property
    def spent(self) -> Spent:
        """So far."""
        ...


@runtime_checkable
class HasContext(Protocol):
    """A policy that reads a limited number of tokens."""

    def fits(self, chat: Chat) -> bool:
        """Whether there is room for a chat and the longest completion; `generate` refuses a chat that does not fit."""
        ...


def format_of(policy: object) -> Format | None:
    """The format that a policy brings; None where it reads and writes the task's."""
    return policy.format if isinstance(policy, HasFormat) else None


def spent_by(policy: object) -> Spent:
    """The tokens that a policy counted; none for one that does not count."""
    return policy.spent if isinstance(policy, CountsTokens) else Spent()
