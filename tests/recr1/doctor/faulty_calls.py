"""Engines whose answers depend on the call: the batch, what was asked before, or chance."""

from __future__ import annotations

import time
import zlib
from itertools import count

import numpy as np

from retrievers.base import Catalog, Hits
from retrievers.bm25.bm25 import BM25
from tests.recr1.doctor.faults import Sound
from tests.recr1.doctor.faulty_hits import kept

sleep = time.sleep  # a test has another clock


def chance(text):
    """A number from 0 to 99 that belongs to a text."""
    return zlib.crc32(text.encode("utf-8", "surrogatepass")) % 100


class EmptyForSome(Sound):
    """The same 5% of queries are always empty."""

    def after(self, hits, queries):
        return hits.without([place for place, query in enumerate(queries) if chance(query) < 5])


class Remembers(Sound):
    """Items that were shown often enough are shown no more."""

    def __init__(self, catalog):
        super().__init__(catalog)
        self.shown = np.zeros(len(catalog), int)

    def after(self, hits, queries):
        first = hits.rows_QK[:, 0]
        worn = self.shown > 8
        self.shown[first[first >= 0]] += 1
        return kept(hits, ~worn[hits.rows_QK])


class Session(Sound):
    """The last query of the call before is added to each query."""

    last = ""

    def search(self, queries, k):
        before, self.last = self.last, queries[-1]
        return super().search([f"{query} {before}" for query in queries], k)


class WearsOut(Sound):
    """After sixty calls, all answers come from an older index."""

    def __init__(self, catalog):
        super().__init__(catalog)
        self.calls, self.old = count(), BM25(Catalog(catalog.ids, catalog.texts[::-1]))

    def search(self, queries, k):
        return (self.old if next(self.calls) > 60 else self.engine).search(queries, k)


class AnswersOfOthers(Sound):
    """A cache whose key is the first two words."""

    def __init__(self, catalog):
        super().__init__(catalog)
        self.cache = {}

    def before(self, query):
        return self.cache.setdefault(" ".join(query.split()[:2]), query)


class MixesUpBatches(Sound):
    """Batches of more than twenty queries are sent in parts, and the answers are joined as they arrive."""

    def search(self, queries, k):
        hits = super().search(queries, k)
        return Hits(*(np.concatenate([part[20:], part[:20]]) for part in hits)) if len(queries) > 20 else hits


class GivesUp(Sound):
    """A time limit for a batch: what is late has no answer."""

    def after(self, hits, queries):
        return hits.without(range(50, len(queries)))


class SlowerEachTime(Sound):
    def __init__(self, catalog):
        super().__init__(catalog)
        self.calls = count()

    def search(self, queries, k):
        sleep(0.0003 * next(self.calls))
        return super().search(queries, k)


class SlowAtFirst(Sound):
    calls = 0

    def search(self, queries, k):
        self.calls += 1
        sleep(1.2 if self.calls == 1 else 0.001)
        return super().search(queries, k)
