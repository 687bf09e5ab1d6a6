"""A retriever with a cache: what was searched once is not searched again, in this process or in the next."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from importlib.util import find_spec
from itertools import chain
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from retrievers import PARTS
from retrievers.abilities import Delegate, HasNormalQuery, retriever_fingerprint, stats_of
from retrievers.base import Catalog, Hits, Query, Retriever
from retrievers.combine.disk import HitsFile, digests
from retrievers.errors import EngineError, MissingAnswers
from retrievers.options import NonNegativeInt, PositiveInt, checked
from retrievers.store import expanded
from retrievers.topk import check_k

_log = logging.getLogger(__name__)

Key: TypeAlias = Hashable
"""A query in its normal form; where hits are kept on disk too, the digest of that."""
Out = TypeVar("Out")


@checked
class Cached(Delegate):
    """Any retriever, with a memory of its hits.

    A search looks for each query in memory, then on disk, and makes one search of the retriever for the rest. Hits are
    those that the retriever found the first time, to the last bit. They are kept by the fingerprint of the retriever,
    the query and k, so hits of another index, catalog or version are never used.

    Queries are the same when they are equal. A retriever that knows more, such as one that ignores the order of words,
    has a method `normal_query(query)`: queries with equal normal forms must have the same hits.

    Memory takes 8 * k bytes per query, and so does the disk. On disk hits are in an LMDB file that several processes
    can read and write at once; it belongs on a local disk, and may be deleted while no process uses it. Where it fails
    later (a full disk), that is logged once and the retriever is searched instead.

    Args:
        catalog: What is searched.
        retriever: What is searched and cached, as a recipe writes it: `{type: bm25, k1: 0.9}`.
        memory: The queries to keep in memory for each k; the least recently used are removed. 0 keeps none.
        disk: A folder to keep hits in, made if it is missing; None keeps none. Needs the extra `cache`.
        disk_mb: The most megabytes of hits on disk, for each index; the oldest are removed.

    Raises `ValueError` for a damaged file, and `OSError` for a folder that cannot be made.
    """

    def __init__(
        self,
        catalog: Catalog,
        *,
        retriever: dict[str, Any],
        memory: NonNegativeInt = 100_000,
        disk: str | None = None,
        disk_mb: PositiveInt = 4096,
    ) -> None:
        self._inner: Retriever = PARTS.build("retriever", retriever, catalog)
        self.fingerprint = retriever_fingerprint(retriever, catalog, self._inner)
        self._most, self._on_disk = memory, bool(disk)
        self._file: HitsFile | None = None
        if disk:
            self._file = HitsFile(expanded(disk) / f"hits-{self.fingerprint}.lmdb", disk_mb * 2**20)
        self._start()

    @staticmethod
    def check_options(options: Mapping[str, Any]) -> list[str]:
        """What is wrong with the options, before anything is built."""
        disk = options.get("disk")
        if options.get("memory") == 0 and not disk:
            return ["memory: 0 keeps nothing without a folder in disk: name one, or leave `cached` out"]
        missing = [name for name in ("lmdb", "xxhash") if disk and find_spec(name) is None]
        return [f"disk: needs the library {name}. Install it with: pip install 'recr1[cache]'" for name in missing]

    def _start(self) -> None:
        self._memories: dict[int, HitsMemory] = {}
        self._normal_forms: dict[Query, Key] = {}
        self._lock = threading.Lock()
        self._asked = self._found = 0
        self._last_hit_rate = 0.0

    def __getstate__(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("_inner", "fingerprint", "_most", "_on_disk", "_file")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._start()

    @property
    def stats(self) -> dict[str, float]:
        """Numbers for the log, after the retriever's own.

        `hit_rate` is the share of the last search's queries that were in the cache, `hit_rate_total` that of all
        searches of this process, `cached` the number of queries in memory.
        """
        return {
            **stats_of(self._inner),
            "hit_rate": self._last_hit_rate,
            "hit_rate_total": self._found / max(self._asked, 1),
            "cached": float(sum(map(len, self._memories.values()))),
        }

    def search(self, queries: Sequence[Query], k: int) -> Hits:
        """Hits of shape (len(queries), k), from one search of the retriever for the queries that are not known.

        Raises the retriever's `MissingAnswers`; the hits that it carries are kept.
        """
        check_k(k)
        keys = self._keys(queries)
        with self._lock:
            hits, known_Q = self._memories.setdefault(k, HitsMemory(self._most, k)).get(keys)
        places: dict[Key, list[int]] = {}
        for place in np.flatnonzero(~known_Q).tolist():
            places.setdefault(keys[place], []).append(place)
        new = self._read(hits, places, k) if places else []
        faults: dict[int, EngineError] = {}
        if new:
            faults = self._ask(hits, [queries[places[key][0]] for key in new], [places[key] for key in new])
        place_of = {key: where[0] for key, where in places.items() if where[0] not in faults}
        self._write(hits, queries, {key: place_of[key] for key in new if key in place_of})
        found = len(queries) - sum(len(places[key]) for key in new)
        with self._lock:
            if self._most and place_of:
                self._memories[k].put(place_of, hits)
            self._asked += len(queries)
            self._found += found
            self._last_hit_rate = found / len(queries) if queries else 0.0
        if faults:
            raise MissingAnswers(hits, dict(sorted(faults.items())))
        return hits

    def _keys(self, queries: Sequence[Query]) -> Sequence[Key]:
        """The normal forms; each is made once, because to cut a query into terms takes longer than to look it up."""
        if not (self._on_disk or isinstance(self._inner, HasNormalQuery)):
            return queries
        forms = self._normal_forms
        keys = [forms.get(query) for query in queries]
        new = dict.fromkeys(query for query, key in zip(queries, keys, strict=True) if key is None)
        if new:
            forms.update(self._new_keys(new))
            keys = [forms[query] for query in queries]
        if len(forms) > 2 * self._most + len(queries):
            self._normal_forms = {}
        return keys

    def _new_keys(self, queries: Iterable[Query]) -> dict[Query, Key]:
        """Normal forms; where hits are kept on disk, their digests, made only of what is not known there."""
        normal_query = self._inner.normal_query if isinstance(self._inner, HasNormalQuery) else lambda query: query
        if not self._on_disk:
            return {query: normal_query(query) for query in queries}
        names = dict(zip(queries, digests(queries), strict=True))
        known: dict[bytes, bytes] = self._with_file(lambda file: file.keys(list(names.values())), {})
        new = [query for query, name in names.items() if name not in known]
        made = dict(zip(new, digests(map(normal_query, new)), strict=True))
        return {query: known.get(name) or made[query] for query, name in names.items()}

    def _read(self, hits: Hits, places: Mapping[Any, list[int]], k: int) -> list[Key]:
        """Fills in what is on disk; returns what is not."""
        kept = self._with_file(lambda file: file.get(list(places), k), None)
        if kept is None:
            return list(places)
        known, found = kept
        _spread(found, [places[key] for key in known], hits)
        missing = places.keys() - set(known)
        return [key for key in places if key in missing]

    def _ask(self, hits: Hits, queries: list[Query], places: list[list[int]]) -> dict[int, EngineError]:
        """Fills in what the retriever finds, in all places of each query; returns the faults of those it did not."""
        faults: Mapping[int, EngineError] = {}
        try:
            found = self._inner.search(queries, hits.rows_QK.shape[1])
        except MissingAnswers as error:
            found, faults = error.hits, error.faults
        expected = len(queries), hits.rows_QK.shape[1]
        for array, own in zip(found, hits, strict=True):
            if array.shape != expected or array.dtype != own.dtype:  # copying it would hide what others look for
                name, what = type(self._inner).__name__, f"{array.dtype} of shape {array.shape}"
                raise RuntimeError(f"retriever {name} returned {what}, not {own.dtype} of shape {expected}")
        _spread(found, places, hits)
        return {place: fault for query, fault in faults.items() for place in places[query]}

    def _write(self, hits: Hits, queries: Sequence[Query], place_of: Mapping[Any, int]) -> None:
        if self._file is None or not place_of:
            return
        places = list(place_of.values())
        names = digests(queries[place] for place in places)
        self._with_file(lambda file: file.put(list(place_of), names, hits.of(places)), None)

    def _with_file(self, use: Callable[[HitsFile], Out], otherwise: Out) -> Out:
        """What `use` returns. A file that fails is logged once and not used again, and the search continues."""
        if (file := self._file) is not None:
            try:
                return use(file)
            except OSError as error:
                failed, self._file = self._file, None
                if failed:  # else another thread was first
                    _log.warning("%s is no longer used (%s): searching without it", file.path, error)
        return otherwise


def _spread(found: Hits, places: Sequence[Sequence[int]], hits: Hits) -> None:
    """Copies the hits of each query into all its places."""
    target = np.fromiter(chain.from_iterable(places), np.intp)
    if len(target) > len(places):
        found = found.of(np.repeat(np.arange(len(places)), [len(where) for where in places]))
    hits.rows_QK[target], hits.scores_QK[target] = found


class HitsMemory:
    """Hits of one k in two arrays, so that a batch is read with one copy. `_slots` is in the order of use."""

    def __init__(self, most: int, k: int) -> None:
        self._most, self._k = most, k
        self._slots: OrderedDict[Key, int] = OrderedDict()
        self._hits = Hits(np.empty((0, k), np.int32), np.empty((0, k), np.float32))

    def __len__(self) -> int:
        return len(self._slots)

    def get(self, keys: Sequence[Key]) -> tuple[Hits, NDArray[np.bool_]]:
        """Hits (Q, k), with -1 and -inf where a key is not known, and which are known."""
        slots = self._slots
        slot_Q = np.fromiter((slots.get(key, -1) for key in keys), np.intp, len(keys))
        known_Q = slot_Q >= 0
        for key, known in zip(keys, known_Q.tolist(), strict=True):
            if known:
                slots.move_to_end(key)
        if known_Q.all() and slots:
            return self._hits.of(slot_Q), known_Q
        shape = len(keys), self._k
        hits = Hits(np.full(shape, -1, np.int32), np.full(shape, -np.inf, np.float32))
        for array, kept in zip(hits, self._hits, strict=True):
            array[known_Q] = kept[slot_Q[known_Q]]
        return hits, known_Q

    def put(self, place_of: Mapping[Key, int], hits: Hits) -> None:
        """Keeps the hits of some keys, each at its place; of more than fit, the last."""
        chosen = list(place_of.items())[-self._most :]
        slot_P = [self._slot(key) for key, _ in chosen]
        have = len(self._hits.rows_QK)
        if max(slot_P) >= have:
            shape = min(max(max(slot_P) + 1, 2 * have, 256), self._most) - have, self._k
            rows = np.concatenate([self._hits.rows_QK, np.empty(shape, np.int32)])
            self._hits = Hits(rows, np.concatenate([self._hits.scores_QK, np.empty(shape, np.float32)]))
        places = [place for _, place in chosen]
        in_order = places == list(range(len(hits.rows_QK)))  # then there is nothing to pick, and no copy to make
        for array, new in zip(self._hits, hits, strict=True):
            array[slot_P] = new if in_order else new[places]

    def _slot(self, key: Key) -> int:
        """A place for a key: its own, a new one, or that of the least recently used key."""
        slot = self._slots.pop(key, None)  # another thread may have searched the same
        if slot is None:
            slot = len(self._slots) if len(self._slots) < self._most else self._slots.popitem(last=False)[1]
        self._slots[key] = slot
        return slot
