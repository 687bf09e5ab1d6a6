"""Hits in memory, a slot a query."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Mapping, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from retrievers.base import Hits

Key: TypeAlias = Hashable
"""A query in its normal form; where hits are kept on disk too, the digest of that."""


class HitsMemory:
    """Hits of one k in two arrays, a slot a query, so that a batch is read with one copy.

    `_slots` is in the order of use: the first is the one that was not asked for longest.
    """

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
            return Hits(self._hits.rows_QK[slot_Q], self._hits.scores_QK[slot_Q]), known_Q
        shape = (len(keys), self._k)
        hits = Hits(np.full(shape, -1, np.int32), np.full(shape, -np.inf, np.float32))
        for array, kept in zip(hits, self._hits, strict=True):
            array[known_Q] = kept[slot_Q[known_Q]]
        return hits, known_Q

    def put(self, place_of: Mapping[Key, int], hits: Hits) -> None:
        """Keeps the hits of some keys, each at its place; of more than fit, the last."""
        chosen = list(place_of.items())[-self._most :]
        slot_P = [self._slot(key) for key, _ in chosen]
        self._grow(max(slot_P) + 1)
        places = [place for _, place in chosen]
        in_order = places == list(range(len(hits.rows_QK)))  # then there is nothing to pick, and no copy to make
        for array, new in zip(self._hits, hits, strict=True):
            array[slot_P] = new if in_order else new[places]

    def _slot(self, key: Key) -> int:
        """A place for a key: its own, a new one, or that of the key that was not asked for longest."""
        slot = self._slots.pop(key, None)  # another thread may have searched the same
        if slot is None:
            slot = len(self._slots) if len(self._slots) < self._most else self._slots.popitem(last=False)[1]
        self._slots[key] = slot
        return slot

    def _grow(self, slots: int) -> None:
        have = len(self._hits.rows_QK)
        if slots <= have:
            return
        more = min(max(slots, 2 * have, 256), self._most) - have
        rows = np.concatenate([self._hits.rows_QK, np.empty((more, self._k), np.int32)])
        self._hits = Hits(rows, np.concatenate([self._hits.scores_QK, np.empty((more, self._k), np.float32)]))
