"""A shop of six items that a reader can score by hand, its retriever that counts its calls, and simple rewards."""

from __future__ import annotations

import numpy as np

from recr1.baselines.without_model import Verbatim
from recr1.errors import UserError
from retrievers.base import Catalog, Hits
from retrievers.errors import EngineError, MissingAnswers
from rewards.base import Invalid, Need, Qrels, Search

ITEMS = {
    "mug-red": "red mug",
    "mug-blue": "blue mug",
    "tea-green": "green tea loose leaf",
    "tea-black": "black tea bags",
    "pan": "red pan",
    "pot": "tea pot blue",
}


class Bracket:
    """The query stands in square brackets."""

    def render(self, need):
        return [{"role": "system", "content": "Answer [query]."}, {"role": "user", "content": need.text}]

    def parse(self, completion):
        if not (completion.startswith("[") and completion.endswith("]")):
            return Invalid("no brackets")
        return Search(completion[1:-1])


class World:
    def __init__(self):
        self.catalog = Catalog(list(ITEMS), list(ITEMS.values()), {"title": [text.title() for text in ITEMS.values()]})
        self.format = Bracket()
        self.counts = {}
        row = self.catalog.row
        self.qrels = {
            "n1": Qrels({row("mug-red"): 3, row("mug-blue"): 1}),
            "n2": Qrels({row("tea-green"): 1, row("pan"): 0}),
            "n3": Qrels({row("pot"): 2}),
            "t1": Qrels({row("pan"): 1}),
        }
        self.splits = {
            "train": [Need("n1", "something for coffee, red"), Need("n2", "green tea"), Need("n3", "zzz")],
            "test": [Need("t1", "red thing to fry")],
        }

    def needs(self, split):
        if split not in self.splits:
            raise UserError(f"no split {split!r}")
        return self.splits[split]


class Overlap:
    """Score = number of shared words; the lower row wins a tie. Keeps every list of queries that it was asked."""

    def __init__(self, catalog):
        self.sets = [set(text.split()) for text in catalog.texts]
        self.calls = []

    def search(self, queries, k):
        self.calls.append(list(queries))
        hits = Hits(np.full((len(queries), k), -1, np.int32), np.full((len(queries), k), -np.inf, np.float32))
        for place, query in enumerate(queries):
            scores = [len(words & set(query.lower().split())) for words in self.sets]
            best = sorted((row for row, score in enumerate(scores) if score), key=lambda row: -scores[row])[:k]
            hits.rows_QK[place, : len(best)] = best
            hits.scores_QK[place, : len(best)] = [scores[row] for row in best]
        return hits


class Lossy(Overlap):
    """Has no answer to what is in `lost`, as often as that says."""

    def __init__(self, catalog, lost):
        super().__init__(catalog)
        self.lost = dict(lost)

    def search(self, queries, k):
        hits = super().search(queries, k)
        gone = [place for place, query in enumerate(queries) if self.lost.get(query)]
        if not gone:
            return hits
        for place in gone:
            self.lost[queries[place]] -= 1
        fault = EngineError("lossy", "http://there", 3, "a time-out")
        raise MissingAnswers(hits.without(gone), dict.fromkeys(gone, fault))


class First:
    """1 where the first item is relevant."""

    name, cutoff = "P@1", 1

    def __call__(self, batch):
        return (batch.graded.grades_BK[:, 0] > 0).astype(np.float32)


class Valid:
    name = "valid"

    def __call__(self, batch):
        return np.array([isinstance(r.action, Search) for r in batch.rollouts], np.float32)


class Better:
    """1 where the query finds more relevant items than the raw need does."""

    name, needs_raw_hits = "better", True

    def __call__(self, batch):
        pairs = zip(batch.hits.rows_QK, batch.raw_hits.rows_QK, batch.qrels, strict=True)
        count = [sum(q.get(int(r), 0) > 0 for r in a) - sum(q.get(int(r), 0) > 0 for r in b) for a, b, q in pairs]
        return (np.array(count) > 0).astype(np.float32)


__all__ = ["ITEMS", "Better", "Bracket", "First", "Lossy", "Overlap", "Valid", "Verbatim", "World"]
