"""What a retriever can do in addition to `search`, and its fingerprint.

An ability is an attribute or method that a retriever may have. The functions here return it, or the default for a
retriever without it. `Delegate` has the abilities of another retriever.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from retrievers.analyzer import VERSION
from retrievers.base import Catalog, Floats, Query, Retriever, Rows
from retrievers.secrets import without_variables

CAPABILITIES: Mapping[str, str] = {
    "boolean": "AND, OR and NOT in capital letters, with parentheses, as in (tent OR shelter) AND light NOT family",
    "phrases": 'quotation marks around words that must stand together, as in "sleeping bag"',
    "fields": "a field's name and a colon before a word that must stand in that field, as in title:tent",
    "filters": "a field's name and a range that must hold, as in price:[10 TO 50]",
}
"""Every capability, with its usual syntax, that of Lucene's query parser, in words for the policy."""


@runtime_checkable
class HasMaxK(Protocol):
    """Cannot find more than `max_k` items in a search; None for no limit."""

    max_k: int | None


@runtime_checkable
class HasMatchesEverything(Protocol):
    """Says whether every item has a score for every query, as in dense search."""

    matches_everything: bool


@runtime_checkable
class HasReadsHistories(Protocol):
    """Says whether a query is a history, a tuple of catalog rows, as recommenders read it; else it is text."""

    reads_histories: bool


@runtime_checkable
class HasCapabilities(Protocol):
    """Understands more than words in a query: names of `CAPABILITIES`."""

    capabilities: frozenset[str]


@runtime_checkable
class HasSyntax(Protocol):
    """Says how to write a capability where the syntax is not the usual one, in words for the policy."""

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
class HasItemVectors(Protocol):
    """Has a vector of each item, by which items are compared or scored."""

    def item_vectors(self) -> Floats:
        """(N, D), in the order of the catalog; zeros for an item without one."""
        ...


@runtime_checkable
class HasFingerprint(Protocol):
    """Has its own fingerprint, because its index is elsewhere."""

    fingerprint: str


@runtime_checkable
class HasUnparsed(Protocol):
    """Counts the queries that it could not parse."""

    unparsed: int


@runtime_checkable
class RanksWith(Protocol):
    """A recommender of texts that ranks an item again as if its text were another one, without a new index."""

    def rank_with(self, row: int, texts: Sequence[str | None], histories: Sequence[tuple[int, ...]]) -> Rows:
        """(T, H) the rank of an item for each history with each text, None its own; 0 where it is not found."""
        ...

    def with_texts(self, texts: Mapping[int, str]) -> Retriever:
        """The retriever of a catalog in which these rows have other texts."""
        ...


def max_k_of(retriever: Retriever) -> int | None:
    """The most items that a search can ask for; None for no limit."""
    return retriever.max_k if isinstance(retriever, HasMaxK) else None


def matches_everything(retriever: Retriever) -> bool:
    """Whether every item has a score for every query."""
    return isinstance(retriever, HasMatchesEverything) and bool(retriever.matches_everything)


def reads_histories(retriever: Retriever) -> bool:
    """Whether a query is a history, a tuple of catalog rows; else it is text."""
    return isinstance(retriever, HasReadsHistories) and bool(retriever.reads_histories)


def stats_of(retriever: Retriever) -> dict[str, float]:
    """The retriever's numbers for the log, now."""
    return dict(retriever.stats) if isinstance(retriever, HasStats) else {}


def capabilities_of(retriever: Retriever) -> frozenset[str]:
    """What a query may hold in addition to words. `ValueError` for a capability that does not exist."""
    declared = frozenset(retriever.capabilities) if isinstance(retriever, HasCapabilities) else frozenset()
    if unknown := sorted(declared - CAPABILITIES.keys()):
        known = ", ".join(CAPABILITIES)
        raise ValueError(f"{type(retriever).__name__} declares the capability {unknown[0]!r}; there are: {known}")
    return declared


def syntax_of(retriever: Retriever) -> dict[str, str]:
    """How to write what a retriever understands: capability -> words for the policy."""
    declared = capabilities_of(retriever)
    own = retriever.syntax if isinstance(retriever, HasSyntax) else {}
    return {name: own.get(name, usual) for name, usual in CAPABILITIES.items() if name in declared}


def shared_syntax(retrievers: Sequence[Retriever]) -> dict[str, str]:
    """What all of these retrievers understand, with the same syntax."""
    first, *others = map(syntax_of, retrievers)
    return {name: words for name, words in first.items() if all(other.get(name) == words for other in others)}


class Delegate:
    """A retriever that searches with another one, `_inner`, and has its abilities."""

    _inner: Retriever

    max_k = property(lambda self: max_k_of(self._inner))
    matches_everything = property(lambda self: matches_everything(self._inner))
    reads_histories = property(lambda self: reads_histories(self._inner))
    capabilities = property(lambda self: capabilities_of(self._inner))
    syntax = property(lambda self: syntax_of(self._inner))


SEARCH_LIBRARIES = (
    *("recr1", "numpy", "bm25s", "rank-bm25", "PyStemmer", "pyserini"),
    *("torch", "transformers", "sentence-transformers", "faiss-cpu", "milvus-lite"),
)
"""Libraries that can change a ranking."""


def retriever_fingerprint(spec: Mapping[str, Any], catalog: Catalog, retriever: Retriever | None = None) -> str:
    """16 hex digits that change with all that a ranking depends on, so that hits can be kept and runs compared.

    That is a retriever's section of the recipe (`spec`), the catalog, the versions of search libraries, and the file of
    each class from outside this project. A `${NAME}` counts with its value, unless that is a secret, which may be
    renewed. If the built retriever has an attribute `fingerprint`, that is returned.
    """
    if retriever is not None and isinstance(retriever, HasFingerprint):
        return str(retriever.fingerprint)
    known = {**versions(SEARCH_LIBRARIES), "analyzer": VERSION, "unicode": unicodedata.unidata_version}
    text = json.dumps(
        [without_variables(spec), catalog.fingerprint, known, _sources(spec)], sort_keys=True, default=repr
    )
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def versions(names: Sequence[str]) -> dict[str, str]:
    """Versions of the libraries that are installed, read from their metadata: nothing is imported."""
    found = {}
    for name in names:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def _sources(spec: Mapping[str, Any]) -> dict[str, str]:
    """The digest of the file of each class `package.module:Class` that a section names, at any depth."""
    digests = {}
    for name in sorted(set(_types(spec))):
        file = getattr(import_module(name.partition(":")[0]), "__file__", None)
        if file is not None:  # a module typed into a console has none
            digests[name] = hashlib.sha256(Path(file).read_bytes()).hexdigest()
    return digests


def _types(value: object) -> Iterator[str]:
    if isinstance(value, Mapping):
        name = value.get("type")
        if isinstance(name, str) and ":" in name:
            yield name
        value = list(value.values())
    if isinstance(value, list | tuple):
        for inside in value:
            yield from _types(inside)
