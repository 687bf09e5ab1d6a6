"""What a retriever can do beside `search`: each ability is an attribute or method that it may have, or not.

Ask for an ability with the functions here, which also say what holds for a retriever without it. `Delegate` passes the
abilities of another retriever on.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Protocol, runtime_checkable

from retrievers.base import Query, Retriever

CAPABILITIES: Mapping[str, str] = {
    "boolean": "AND, OR and NOT in capital letters, with parentheses, as in (tent OR shelter) AND light NOT family",
    "phrases": 'quotation marks around words that must stand together, as in "sleeping bag"',
    "fields": "a field's name and a colon before a word that must stand in that field, as in title:tent",
    "filters": "a field's name and a range that must hold, as in price:[10 TO 50]",
}
"""Every capability, with its usual syntax in words that a policy can read: that of Lucene's query parser."""


@runtime_checkable
class HasMaxK(Protocol):
    """Cannot find more than `max_k` items in a search; None for no limit."""

    max_k: int | None


@runtime_checkable
class HasMatchesEverything(Protocol):
    """Says whether every item has a score for every query, as in dense search, so that no query finds nothing."""

    matches_everything: bool


@runtime_checkable
class HasCapabilities(Protocol):
    """Understands more in a query than words: the names of `CAPABILITIES` that it declares."""

    capabilities: frozenset[str]


@runtime_checkable
class HasSyntax(Protocol):
    """Says how to write a capability where that is not the usual way, in words for the policy."""

    syntax: Mapping[str, str]


@runtime_checkable
class HasStats(Protocol):
    """Has numbers for the log, such as the hit rate of a cache."""

    stats: Mapping[str, float]


@runtime_checkable
class HasNormalQuery(Protocol):
    """Knows which queries have the same hits: those with equal normal forms."""

    normal_query: Callable[[Query], Hashable]


@runtime_checkable
class HasFingerprint(Protocol):
    """Knows its own fingerprint, because its index is elsewhere."""

    fingerprint: str


@runtime_checkable
class HasUnparsed(Protocol):
    """Counts the queries that it could not parse."""

    unparsed: int


def max_k_of(retriever: Retriever) -> int | None:
    """The most items that a search can ask for; None for no limit."""
    return retriever.max_k if isinstance(retriever, HasMaxK) else None


def matches_everything(retriever: Retriever) -> bool:
    """Whether every item has a score for every query."""
    return isinstance(retriever, HasMatchesEverything) and bool(retriever.matches_everything)


def stats_of(retriever: Retriever) -> dict[str, float]:
    """The retriever's numbers for the log, now."""
    return dict(retriever.stats) if isinstance(retriever, HasStats) else {}


def capabilities_of(retriever: Retriever) -> frozenset[str]:
    """What a query may hold beside words. `ValueError` for a capability that there is not."""
    declared = frozenset(retriever.capabilities) if isinstance(retriever, HasCapabilities) else frozenset()
    unknown = sorted(declared - CAPABILITIES.keys())
    if unknown:
        known = ", ".join(CAPABILITIES)
        raise ValueError(f"{type(retriever).__name__} declares the capability {unknown[0]!r}; there are: {known}")
    return declared


def syntax_of(retriever: Retriever) -> dict[str, str]:
    """How to write what a retriever understands: capability -> words for the policy, in the order of `CAPABILITIES`."""
    declared = capabilities_of(retriever)
    own = retriever.syntax if isinstance(retriever, HasSyntax) else {}
    return {name: own.get(name, usual) for name, usual in CAPABILITIES.items() if name in declared}


def shared_syntax(retrievers: Sequence[Retriever]) -> dict[str, str]:
    """What all of some retrievers understand, written alike."""
    first, *others = map(syntax_of, retrievers)
    return {name: words for name, words in first.items() if all(other.get(name) == words for other in others)}


class Delegate:
    """A retriever that searches with another one, `_inner`, and has what that one can do."""

    _inner: Retriever

    @property
    def max_k(self) -> int | None:
        """See `HasMaxK`."""
        return max_k_of(self._inner)

    @property
    def matches_everything(self) -> bool:
        """See `HasMatchesEverything`."""
        return matches_everything(self._inner)

    @property
    def capabilities(self) -> frozenset[str]:
        """See `HasCapabilities`."""
        return capabilities_of(self._inner)

    @property
    def syntax(self) -> dict[str, str]:
        """See `HasSyntax`."""
        return syntax_of(self._inner)
