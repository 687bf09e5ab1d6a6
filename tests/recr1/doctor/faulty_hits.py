"""Engines that find too few items, other ones, or in another order: each changes what comes out of BM25."""

from __future__ import annotations

import numpy as np

from retrievers.base import Catalog, Hits
from retrievers.bm25.bm25 import BM25
from retrievers.topk import topk_of
from tests.recr1.doctor.faults import Sound


def kept(hits, keep_QK):
    """The hits in these places, with what comes after moved up."""
    return topk_of(np.where(keep_QK, hits.rows_QK, -1), hits.scores_QK, hits.rows_QK.shape[1])


class CutsAt(Sound):
    most = 10

    def search(self, queries, k):
        hits = super().search(queries, k)
        return kept(hits, np.arange(k) < self.most)


class CutsAtFive(CutsAt):
    most = 5


class LosesOneInThree(Sound):
    """Items are left out after the first k were taken: out of stock, of another shop, doubled."""

    def after(self, hits, queries):
        return kept(hits, hits.rows_QK % 3 != 0)


class LeastScore(Sound):
    """Drops what scores less than 90% of the best, whatever k."""

    def after(self, hits, queries):
        return kept(hits, hits.scores_QK >= 0.9 * hits.scores_QK[:, :1])


class Window(Sound):
    """`max_result_window`: deeper searches are refused, and no `max_k` is declared."""

    def search(self, queries, k):
        if k > 50:
            raise RuntimeError("Result window is too large, from + size must be less than or equal to: [50]")
        return super().search(queries, k)


class EmptyBeyondWindow(Sound):
    def search(self, queries, k):
        return kept(super().search(queries, k), np.full((len(queries), k), k <= 50))


class SkipsAPage(Sound):
    """Pages of four, after each of which one item is skipped."""

    def search(self, queries, k):
        hits = super().search(queries, k + 10)
        taken = [place + place // 4 for place in range(k)]
        taken = [place for place in taken if place < k + 10]
        return Hits(
            *(
                np.pad(part[:, taken], ((0, 0), (0, k - len(taken))), constant_values=fill)
                for part, fill in zip(hits, (-1, -np.inf), strict=True)
            )
        )


class ShufflesDeep(Sound):
    """A search for few items ranks by another index than one for many."""

    def search(self, queries, k):
        return super().search(queries, k) if k < 20 else BM25(self.catalog, b=0.0, k1=0.0).search(queries, k)


class CollapsesWithinPage(Sound):
    """Items whose titles begin alike are shown once, after k were taken."""

    def after(self, hits, queries):
        keep = np.ones(hits.rows_QK.shape, bool)
        for place, rows in enumerate(hits.rows_QK):
            seen = set()
            for at, row in enumerate(rows):
                first = self.catalog.title(row).lower().split()[:1] if row >= 0 else None
                keep[place, at] = str(first) not in seen
                seen.add(str(first))
        return kept(hits, keep)


class CachesWithoutK(Sound):
    """A cache whose key is the query alone: the first k decides for all later ones."""

    def __init__(self, catalog):
        super().__init__(catalog)
        self.cache = {}

    def search(self, queries, k):
        for query in queries:
            self.cache.setdefault(query, self.engine.search([query], k))
        rows, scores = np.full((len(queries), k), -1, np.int32), np.full((len(queries), k), -np.inf, np.float32)
        for place, query in enumerate(queries):
            known = self.cache[query]
            width = min(k, known.rows_QK.shape[1])
            rows[place, :width], scores[place, :width] = known.rows_QK[0, :width], known.scores_QK[0, :width]
        return Hits(rows, scores)


class Popular(Sound):
    """One item is first for all queries."""

    place = 0

    def after(self, hits, queries):
        rows = hits.rows_QK.copy()
        for rows_K in rows:
            others = rows_K[(rows_K >= 0) & (rows_K != 7)]
            if len(others) >= self.place and rows_K[0] >= 0:
                ranked = np.insert(others, self.place, 7)[: len(rows_K)]
                rows_K[: len(ranked)] = ranked
        falling = np.broadcast_to(np.linspace(9, 1, rows.shape[1], dtype=np.float32), rows.shape)
        return Hits(rows, np.where(rows >= 0, falling, -np.inf).astype(np.float32))


class Sponsored(Popular):
    """One item is third for all queries."""

    place = 2


class SwapsFirstTwo(Sound):
    def after(self, hits, queries):
        rows = hits.rows_QK.copy()
        both = rows[:, :2].min(axis=1) >= 0
        rows[both, :2] = rows[both, 1::-1] if rows.shape[1] > 1 else rows[both, :2]
        return Hits(rows, hits.scores_QK)


class SwapsTwoItems(Sound):
    """Two rows of the catalog are in each other's place."""

    def after(self, hits, queries):
        swap = {3: 11, 11: 3}
        rows = np.vectorize(lambda row: swap.get(row, row), otypes=[np.int32])(hits.rows_QK)
        return Hits(rows.reshape(hits.rows_QK.shape), hits.scores_QK)


class MissesItems(Sound):
    """A replica that is behind: one item in twenty is not in the index yet."""

    def __init__(self, catalog):
        self.catalog = catalog
        texts = ["" if row % 20 == 9 else text for row, text in enumerate(catalog.texts)]
        self.engine = BM25(Catalog(catalog.ids, texts))


class ShiftedEnd(Sound):
    """An item that was deleted moved all rows after it, in the last twentieth of the catalog."""

    def after(self, hits, queries):
        late = hits.rows_QK >= len(self.catalog) * 19 // 20
        rows = np.where(late, np.maximum(hits.rows_QK - 1, 0), hits.rows_QK).astype(np.int32)
        first = np.array([[row not in set(rows_K[:at]) for at, row in enumerate(rows_K)] for rows_K in rows])
        return kept(Hits(rows, hits.scores_QK), first | (rows < 0))


class RoundsScores(Sound):
    def after(self, hits, queries):
        finite = np.where(hits.rows_QK >= 0, hits.scores_QK, 0)
        return topk_of(hits.rows_QK, np.round(finite), hits.rows_QK.shape[1])


class TiesByChance(Sound):
    """Of equal items, chance decides which come first, and which of them are among the first k."""

    def __init__(self, catalog):
        super().__init__(catalog)
        self.rng = np.random.default_rng(0)

    def search(self, queries, k):
        every = self.engine.search(queries, len(self.catalog))
        tiny = self.rng.random(every.rows_QK.shape)
        order = np.lexsort((tiny, -every.scores_QK.astype(np.float64)), axis=1)
        rows, scores = (np.take_along_axis(part, order, axis=1) for part in every)
        pad = ((0, 0), (0, max(0, k - rows.shape[1])))
        return Hits(
            np.pad(rows, pad, constant_values=-1)[:, :k].copy(),
            np.pad(scores, pad, constant_values=-np.inf)[:, :k].copy(),
        )


class TiesByHash(Sound):
    """Ties are always broken in the same way, and not by row."""

    def search(self, queries, k):
        every = self.engine.search(queries, len(self.catalog))
        mixed = np.where(every.rows_QK >= 0, every.rows_QK.astype(np.int64) * 7919 % 1009, 10**6)
        order = np.lexsort((mixed, -every.scores_QK.astype(np.float64)), axis=1)
        rows, scores = (np.take_along_axis(part, order, axis=1)[:, :k] for part in every)
        pad = ((0, 0), (0, k - rows.shape[1]))
        return Hits(np.pad(rows, pad, constant_values=-1), np.pad(scores, pad, constant_values=-np.inf))


class NaNScores(Sound):
    def after(self, hits, queries):
        return Hits(hits.rows_QK, np.where(hits.rows_QK >= 0, np.float32(np.nan), hits.scores_QK))


class Ascending(Sound):
    """Distances for scores: the nearest is the smallest."""

    def after(self, hits, queries):
        return Hits(hits.rows_QK, np.where(hits.rows_QK >= 0, -hits.scores_QK, hits.scores_QK))


class Repeats(Sound):
    """A page that shows an item of the page before."""

    def after(self, hits, queries):
        rows = hits.rows_QK.copy()
        if rows.shape[1] > 3:
            rows[rows[:, 3] >= 0, 3] = rows[rows[:, 3] >= 0, 2]
        return Hits(rows, hits.scores_QK)
