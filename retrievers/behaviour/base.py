"""What every recommender shares: events of users, histories as queries, and items that are not found again."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from operator import index
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray

from retrievers.abilities import versions
from retrievers.base import Catalog, Floats, Hits, Query
from retrievers.errors import shown
from retrievers.store import Entry, Store, save_array
from retrievers.topk import check_k, no_hits, topk

EVENT = np.dtype([("user", "<i4"), ("row", "<i4"), ("value", "<f4"), ("time", "<i8")])
"""An event of `Catalog.interactions`: user (from 0), catalog row, value (a rating, or 1), time in seconds (or 0)."""

History: TypeAlias = tuple[int, ...]
"""Catalog rows of what a user took, oldest first: the query of a recommender."""

SCORES = 2**24
"""Scores that are in memory at once: queries are answered in blocks of about this many."""


def events_in(catalog: Catalog) -> NDArray[Any]:
    """(E,) the events of a catalog, of dtype `EVENT`.

    A task puts events of training there, and no other, so that no recommender can see what it is asked for. Raises
    `ValueError` where there are none, or they are something else.
    """
    events = catalog.interactions
    if events is None or not len(events):
        raise ValueError(
            "the catalog has no interactions, which a recommender learns from: choose a task that reads them, such as "
            "sequential, or a retriever of texts, such as bm25"
        )
    if not isinstance(events, np.ndarray) or events.dtype != EVENT or events.ndim != 1:
        raise ValueError("the catalog's interactions must be an array of dtype retrievers.behaviour.base.EVENT")
    wrong = np.flatnonzero((events["row"] < 0) | (events["row"] >= len(catalog)) | (events["user"] < 0))
    if len(wrong):
        raise ValueError(
            f"event {wrong[0]} of the catalog's interactions is {events[wrong[0]].item()}: its row must be below "
            f"{len(catalog)}, and no number negative"
        )
    return events


def matrix_of(catalog: Catalog) -> Any:
    """(U, N) which user took which item: a SciPy CSR matrix of ones, an item once however often it was taken.

    Raises `ValueError` as `events_in` does.
    """
    from scipy.sparse import csr_matrix

    events = events_in(catalog)
    shape = int(events["user"].max()) + 1, len(catalog)
    matrix = csr_matrix((np.ones(len(events), np.float32), (events["user"], events["row"])), shape)
    matrix.data[:] = 1  # pairs that appear twice were added up
    return matrix


def histories_matrix(histories: Sequence[History], items: int) -> Any:
    """(Q, N) the items of each history: a SciPy CSR matrix of ones, an item once."""
    from scipy.sparse import csr_matrix

    rows = [sorted(set(history)) for history in histories]
    ends = np.cumsum([0, *map(len, rows)])
    columns = np.fromiter((row for of_one in rows for row in of_one), np.int32, int(ends[-1]))
    return csr_matrix((np.ones(len(columns), np.float32), columns, ends), (len(rows), items))


class Recommender(ABC):
    """A retriever whose query is a history, a tuple of catalog rows, oldest first. Built as `cls(catalog, *, options)`.

    Items of the history are not found again. Rows that no training event has say nothing: they are left out of the
    history and counted in `stats`. An empty history finds nothing, except where `finds_without_history` is true.
    """

    reads_histories: ClassVar[bool] = True
    matches_everything: ClassVar[bool] = True
    finds_without_history: ClassVar[bool] = False
    libraries: ClassVar[Sequence[str]] = ("scipy",)
    """What it imports."""
    extras: ClassVar[str] = "behaviour"
    """The extras of this project that install them."""

    @classmethod
    def check_options(cls, _: Mapping[str, Any]) -> list[str]:
        """Libraries that are missing."""
        missing = ", ".join(name for name in cls.libraries if find_spec(name) is None)
        what = f"{cls.__name__} needs the library {missing}. Install it with: pip install 'recr1[{cls.extras}]'"
        return [what] if missing else []

    def __init__(self, catalog: Catalog, known_N: NDArray[np.bool_] | None = None) -> None:
        """Args: the catalog, and which items can be learned from; by default those with a training event."""
        if known_N is None:
            known_N = np.bincount(events_in(catalog)["row"], minlength=len(catalog)) > 0
        self._known_N = known_N
        self._read = self._unknown = 0

    @abstractmethod
    def _scores(self, histories: Sequence[History]) -> Floats:
        """(Q, N) the score of every item for each history of known items; -inf where an item is not to be found."""

    @property
    def stats(self) -> Mapping[str, float]:
        """`history/unknown`: the share of the items of all histories so far that no training event has."""
        return {"history/unknown": self._unknown / max(self._read, 1)}

    def search(self, queries: Sequence[Query], k: int) -> Hits:
        """Hits of shape (len(queries), k); raises `ValueError` for a query that is no history, or a k below 1."""
        check_k(k)
        items = len(self._known_N)
        histories = [history_of(query, items) for query in queries]
        hits = no_hits(len(queries), k)
        size = max(1, SCORES // items)
        for start in range(0, len(histories), size):
            block = histories[start : start + size]
            known = [tuple(row for row in history if self._known_N[row]) for history in block]
            self._read += sum(map(len, block))
            self._unknown += sum(map(len, block)) - sum(map(len, known))
            asked = [place for place, rows in enumerate(known) if rows or self.finds_without_history]
            if not asked:
                continue
            scores_QN = np.array(self._scores([known[place] for place in asked]), np.float32)
            seen = histories_matrix([block[place] for place in asked], items).nonzero()
            scores_QN[seen] = -np.inf
            found = topk(scores_QN, k)
            for array, part in zip(hits, found, strict=True):
                array[np.array(asked) + start] = part
        return hits


def history_of(query: Query, items: int) -> History:
    """A query as a history of a catalog of this many items; raises `ValueError` for one that is something else."""
    if not isinstance(query, tuple):
        raise ValueError(
            f"a recommender searches a history, a tuple of catalog rows, not a {type(query).__name__}: {shown(query)}. "
            "A format such as `history` answers with one"
        )
    try:
        history = tuple(index(row) for row in query)
    except TypeError as error:
        raise ValueError(f"a history must be a tuple of catalog rows, got {shown(query)}") from error
    for row in history:
        if not 0 <= row < items:
            raise ValueError(f"a history has row {row}, and the catalog has {items} items")
    return history


class Fitted:
    """The arrays that a model was fitted to: kept in the store and memory-mapped, or in memory where `store` is None.

    `fit()` is called once, in one process, and gives the arrays by name. They are fitted again when the catalog, one of
    `options`, or the version of one of `libraries` changes. Pickled, it is the path of the entry.
    """

    def __init__(
        self,
        catalog: Catalog,
        kind: str,
        options: Mapping[str, Any],
        libraries: Sequence[str],
        fit: Callable[[], Mapping[str, NDArray[Any]]],
        store: str | None,
    ) -> None:
        def write(folder: Path) -> None:
            for name, array in fit().items():
                save_array(folder, name, array)

        self._entry: Entry | None = None
        self._arrays: dict[str, NDArray[Any]] = {}
        if store is None:
            self._arrays |= fit()
        else:
            key = {"catalog": catalog.fingerprint, **options, "libraries": versions(libraries)}
            self._entry = Store(store).open(kind, key, write)

    def __getitem__(self, name: str) -> NDArray[Any]:
        if self._entry is not None and name not in self._arrays:
            self._arrays[name] = self._entry.array(name)
        return self._arrays[name]

    @property
    def names(self) -> list[str]:
        """The names of the arrays."""
        files = self._entry.folder.glob("*.npy") if self._entry else ()
        return sorted({*self._arrays, *(file.stem for file in files)})

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | ({"_arrays": {}} if self._entry else {})
