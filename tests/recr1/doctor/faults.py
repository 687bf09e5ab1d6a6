"""Retrievers, tasks and rewards, each with a fault that a doctor must find; an engine whose operators are honest."""

from __future__ import annotations

import re
import time
from itertools import count
from typing import ClassVar

import numpy as np

from recr1.errors import UserError
from recr1.formats import Plain
from retrievers.base import Catalog, Hits
from retrievers.bm25.bm25 import BM25
from retrievers.topk import topk
from rewards.base import Need, Qrels


class Sound:
    """BM25, as it should be; the faulty ones change what goes in or what comes out."""

    def __init__(self, catalog):
        self.catalog, self.engine = catalog, BM25(catalog)

    def search(self, queries, k):
        return self.after(self.engine.search([self.before(query) for query in queries], k), queries)

    def before(self, query):
        return query

    def after(self, hits, queries):
        return hits


class LosesFirstWord(Sound):
    def before(self, query):
        return " ".join(query.split()[1:])


class LosesLastWord(Sound):
    """Of queries with more than one: one-word queries work, so that only longer ones show it."""

    def before(self, query):
        words = query.split()
        return " ".join(words[:-1] if len(words) > 1 else words)


class Chance(Sound):
    """Other items at each call."""

    calls = count()

    def search(self, queries, k):
        return topk(np.random.default_rng(next(self.calls)).random((len(queries), len(self.catalog))), k)


class Constant(Sound):
    """The same items for every query, best first."""

    def search(self, queries, k):
        return topk(np.tile(np.arange(len(self.catalog), 0, -1.0), (len(queries), 1)), k)


class SeesNeighbours(Sound):
    """A query finds what the one before it in the batch asked for."""

    def search(self, queries, k):
        return super().search([*queries[-1:], *queries[:-1]], k)


class Trembles(Sound):
    """Items of almost equal score change places, as sums on several threads make them do."""

    calls = count()

    def search(self, queries, k):
        hits = super().search(queries, k)
        if next(self.calls) % 2 == 0:
            return hits
        rows, scores = hits.rows_QK.copy(), hits.scores_QK.copy()
        even = rows[:, 1] >= 0
        scores[even, 1] = scores[even, 0]
        rows[even, :2] = rows[even, 1::-1]
        return Hits(rows, scores)


class Twins(Trembles):
    """The same with a catalog whose items all have a twin, so that the scores really are equal."""


class Arbitrary(Sound):
    """Hands back the first k items where nothing matches, as some BM25 libraries do."""

    def after(self, hits, queries):
        rows, scores = hits.rows_QK.copy(), hits.scores_QK.copy()
        none = rows[:, 0] < 0
        rows[none], scores[none] = np.arange(rows.shape[1]), 0
        return Hits(rows, scores)


class Declares(Arbitrary):
    matches_everything = True


class OffByOne(Sound):
    """Row numbers from 1 on."""

    def after(self, hits, queries):
        return Hits(np.where(hits.rows_QK >= 0, (hits.rows_QK + 1) % len(self.catalog), -1), hits.scores_QK)


class Outdated(Sound):
    """An index of the catalog as it was before the last eighth of it came."""

    def __init__(self, catalog):
        known = len(catalog) * 7 // 8
        super().__init__(Catalog(catalog.ids[:known], catalog.texts[:known]))


class Foreign(Sound):
    """An index of the same items in another order."""

    def __init__(self, catalog):
        order = np.random.default_rng(5).permutation(len(catalog))
        super().__init__(Catalog([catalog.ids[row] for row in order], [catalog.texts[row] for row in order]))


class Slow(Sound):
    def search(self, queries, k):
        time.sleep(0.004 * len(queries))
        return super().search(queries, k)


class ParsesSyntax(Sound):
    """Raises for a quotation mark without a partner."""

    def before(self, query):
        if query.count('"') % 2:
            raise RuntimeError("cannot parse the query: Encountered <EOF>")
        return query


class Backwards(Sound):
    """Worst first."""

    def after(self, hits, queries):
        return Hits(hits.rows_QK[:, ::-1].copy(), hits.scores_QK[:, ::-1].copy())


class Closed(Sound):
    def __init__(self, catalog):
        raise RuntimeError("the index is locked by process 7")


class IgnoresOperators(Sound):
    """Takes operators for words, and promises otherwise."""

    capabilities = frozenset({"boolean", "phrases", "fields", "filters"})


class Misdeclares(Sound):
    capabilities = frozenset({"bolean"})


class OwnSyntax(Sound):
    capabilities = frozenset({"phrases"})
    syntax: ClassVar = {"phrases": "'words in single quotes'"}


class Honest:
    """Words, AND, OR, NOT, phrases, fields and ranges, each one only in the form in which it is asked for."""

    capabilities = frozenset({"boolean", "phrases", "fields", "filters"})

    def __init__(self, catalog):
        self.catalog = catalog
        self.words = [re.findall(r"\w+", text.lower()) for text in catalog.texts]
        self.sets = [set(words) for words in self.words]

    def search(self, queries, k):
        rows = np.arange(len(self.catalog))
        matched = np.array([np.isin(rows, list(self.find(query))) for query in queries]).reshape(len(queries), -1)
        wanted = [set(re.findall(r"\w+", query.lower())) for query in queries]
        scores = [[len(some & words) for words in self.sets] for some in wanted]
        return topk(np.array(scores).reshape(matched.shape), k, matched)

    def find(self, query):
        for operator, join in ((" AND NOT ", set.difference), (" AND ", set.intersection), (" OR ", set.union)):
            if operator in query:
                return join(*(self.find(part) for part in query.split(operator)))
        if found := re.fullmatch(r"(\w+):\[(\S+) TO (\S+)\]", query):
            low, high = float(found[2]), float(found[3])
            return {row for row, value in enumerate(self.catalog.fields.get(found[1], ())) if low <= value <= high}
        if found := re.fullmatch(r"(\w+):(\w+)", query):
            return {row for row, value in enumerate(self.catalog.column(found[1])) if found[2] in value.split()}
        wanted = re.findall(r"\w+", query.lower())
        if query.startswith('"'):
            return {row for row, words in enumerate(self.words) if f" {' '.join(wanted)} " in f" {' '.join(words)} "}
        return {row for row, words in enumerate(self.sets) if not words.isdisjoint(wanted)}


class WithoutNot(Honest):
    """NOT counts in favour, as in an engine that takes it for a word."""

    def find(self, query):
        return super().find(query.replace(" AND NOT ", " OR "))


class Village:
    """A task of given items, needs by split and answer keys by need id."""

    counts: ClassVar[dict[str, int]] = {}

    def __init__(self, items, needs, qrels, answer_format=None):
        self.catalog = Catalog([f"i{row}" for row in range(len(items))], items, {"title": items})
        self.format = answer_format or Plain()
        self.qrels = {need_id: Qrels(key) for need_id, key in qrels.items()}
        self._needs = {split: [Need(*need) for need in of_split] for split, of_split in needs.items()}

    def needs(self, split):
        if split not in self._needs:
            raise UserError(f"no split {split!r}")
        return self._needs[split]


class Hidden(Sound):
    """Finds everything but the first ten items."""

    def __init__(self, catalog):
        super().__init__(Catalog(catalog.ids, [""] * 10 + list(catalog.texts[10:])))


class Pays:
    """A reward that is what a function makes of a batch."""

    name = "pays"

    def __init__(self, how):
        self.how = how

    def __call__(self, batch):
        return np.asarray(self.how(batch), np.float32)


class Ranks(Sound):
    """Scores are ranks, as in reciprocal rank fusion."""

    def after(self, hits, queries):
        places = 1 / np.arange(61, 61 + hits.rows_QK.shape[1], dtype=np.float32)
        return Hits(hits.rows_QK, np.where(hits.rows_QK >= 0, places, -np.inf).astype(np.float32))


class RanksWithoutFirstWord(Ranks, LosesFirstWord):
    """Both."""


class WantsAllWords(Sound):
    """Finds only items that hold every word of the query, as web search does."""

    def search(self, queries, k):
        held = [set(re.findall(r"\w+", text.lower())) for text in self.catalog.texts]
        matched = np.array([[set(query.lower().split()) <= words for words in held] for query in queries])
        matched &= np.array([bool(query.split()) for query in queries])[:, None]
        return topk(matched.astype(np.float32), k, matched)
