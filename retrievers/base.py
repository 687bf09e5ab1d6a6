"""The nouns of retrieval: a catalog, a query, and the hits that a retriever returns."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from retrievers.columns import BLOCK, Column
from retrievers.errors import shown

Rows: TypeAlias = NDArray[np.int32]
"""Catalog row numbers; -1 means "no item here"."""
Floats: TypeAlias = NDArray[np.float32]
Query: TypeAlias = Hashable
"""What a retriever is asked: a `str`; for a recommender, a tuple of rows (a history)."""


class Hits(NamedTuple):
    """Ranked items of Q queries, best first.

    Places after the last match hold -1 in `rows_QK` and -inf in `scores_QK`. Scores never increase along a row, and
    equal scores are in the order of their rows.
    """

    rows_QK: Rows
    scores_QK: Floats

    def of(self, places: slice | Sequence[int] | NDArray[np.integer[Any]]) -> Hits:
        """The hits of some of the queries, in the order given."""
        return Hits(self.rows_QK[places], self.scores_QK[places])

    def without(self, places: Sequence[int]) -> Hits:
        """A copy in which these queries have found nothing."""
        rows_QK, scores_QK = self.rows_QK.copy(), self.scores_QK.copy()
        rows_QK[list(places)], scores_QK[list(places)] = -1, -np.inf
        return Hits(rows_QK, scores_QK)


class Catalog:
    """All items: ids, texts and named fields, in the same order. The policy never sees it.

    `texts[row]` is the text that is searched when a retriever names no fields; `fields[name][row]` is a column of the
    data (a title, a brand, a price); `interactions` is for recommenders (events of a user and a row), None for search.
    Raises `ValueError` for an empty catalog, a repeated id, or columns of different lengths.
    """

    def __init__(
        self,
        ids: Sequence[str],
        texts: Sequence[str],
        fields: Mapping[str, Sequence[Any]] | None = None,
        interactions: Any | None = None,
    ) -> None:
        self.ids = tuple(ids)
        self.texts: Sequence[str] = _kept(texts)
        self.fields: Mapping[str, Sequence[Any]] = MappingProxyType({n: _kept(c) for n, c in (fields or {}).items()})
        self.interactions = interactions
        if not self.ids:
            raise ValueError("the catalog is empty: it needs at least one item")
        for name, column in {"texts": self.texts, **self.fields}.items():
            if len(column) != len(self.ids):
                raise ValueError(f"catalog column '{name}' has {len(column)} values for {len(self.ids)} items")
        self._row_of = {item: row for row, item in enumerate(self.ids)}
        if len(self._row_of) != len(self.ids):
            repeated = next(item for row, item in enumerate(self.ids) if self._row_of[item] != row)
            raise ValueError(f"item id {shown(repeated)} appears in the catalog more than once: ids must be unique")

    def __len__(self) -> int:
        return len(self.ids)

    def __reduce__(self) -> tuple[type[Catalog], tuple[Any, ...]]:
        return type(self), (self.ids, self.texts, dict(self.fields), self.interactions)

    def row(self, item: str) -> int:
        """The row of an item id; raises `KeyError` for an id that is not in the catalog."""
        return self._row_of[item]

    def title(self, row: int) -> str:
        """What an item is called, in one line: its field "title", or its text where that is missing or empty."""
        titles = self.fields.get("title", ())
        return " ".join(str((titles and titles[row]) or self.texts[row]).split())

    def __contains__(self, item: object) -> bool:
        return item in self._row_of

    def column(self, name: str) -> Sequence[str]:
        """A field as text ("" for None and NaN), or "texts"; `ValueError` if there is no such field."""
        if name == "texts":
            return self.texts
        if name not in self.fields:
            known = ", ".join(["texts", *sorted(self.fields)])
            raise ValueError(f"the catalog has no field {name!r}; it has: {known}")
        column = self.fields[name]
        return tuple("" if value is None or value != value else str(value) for value in column)  # noqa: PLR0124 - NaN

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits that change when any id, text, field or interaction of the catalog does.

        They depend on the content alone: not on the process, the platform or the order of the fields.
        """
        import xxhash  # reads 20 times as many bytes a second as SHA-256

        digest = xxhash.xxh3_128()

        def add(kind: bytes, part: bytes) -> None:  # with its length, so that no two catalogs are the same bytes
            digest.update(kind + len(part).to_bytes(8, "little"))
            digest.update(part)

        for name, column in [("ids", self.ids), ("texts", self.texts), *sorted(self.fields.items())]:
            add(b"C", name.encode("utf-8", "surrogatepass"))
            for first in range(0, len(column), BLOCK):
                add(*_bytes_of_values(column, first, min(first + BLOCK, len(column))))
        if self.interactions is not None:
            add(*_bytes_of_interactions(self.interactions))
        return digest.hexdigest()[:16]


def _kept(column: Sequence[Any]) -> Sequence[Any]:
    return column if isinstance(column, Column) else tuple(column)


def text_of(query: Query, who: str) -> str:
    """A query as text; raises `ValueError` for one that is not, in which `who` is "a lexical retriever"."""
    if not isinstance(query, str):
        raise ValueError(f"{who} searches text, not a {type(query).__name__}: {shown(query)}")
    return query


def _bytes_of_values(column: Sequence[Any], first: int, end: int) -> tuple[bytes, bytes]:
    """A kind, and bytes that no other values of it have. Joining texts is much faster than looking at each of them."""
    joined, is_none = None, np.zeros(0, np.bool_)
    if isinstance(column, Column):
        joined, is_none = b"\0".join(column.utf8(first, end)), column.none(first, end)
    else:
        values = column[first:end]
        with suppress(TypeError):  # not all of them are texts
            joined = "\0".join(values).encode("utf-8", "surrogatepass")
        if joined is None:
            is_none = np.array([value is None for value in values])
            with suppress(TypeError):
                texts = "\0".join(["" if value is None else value for value in values])
                joined = texts.encode("utf-8", "surrogatepass")
    if joined is not None and np.count_nonzero(np.frombuffer(joined, np.uint8) == 0) == end - first - 1:
        return (b"N", np.packbits(is_none).tobytes() + joined) if is_none.any() else (b"T", joined)
    shown = [repr(value) for value in column[first:end]]
    lengths = np.array([len(shown), *map(len, shown)], "<i8").tobytes()
    return b"R", lengths + "".join(shown).encode("utf-8", "surrogatepass")


def _bytes_of_interactions(interactions: Any) -> tuple[bytes, bytes]:
    if isinstance(interactions, np.ndarray) and not interactions.dtype.hasobject:  # repr would show the two ends of it
        portable = interactions.astype(interactions.dtype.newbyteorder("<"))
        return b"A", f"{portable.dtype.descr}{portable.shape}".encode() + portable.tobytes()
    return b"I", repr(interactions).encode("utf-8", "surrogatepass")


@runtime_checkable
class Retriever(Protocol):
    """Ranks the items of a catalog for a query. Built as `cls(catalog, *, options)`.

    `search` takes any number of queries and any `k >= 1`. Queries do not affect each other, the same query gives the
    same hits, and a query that matches nothing finds nothing. What else a retriever can do, and a largest k, are
    attributes: see `retrievers.abilities`.
    """

    def search(self, queries: Sequence[Query], k: int) -> Hits:
        """Hits of shape (len(queries), k)."""
        ...
