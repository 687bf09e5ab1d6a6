"""A retriever that a query can put into a mood, to be served by a real process and to be waited for, or to fail."""

from __future__ import annotations

import time

from retrievers.base import Catalog, Hits
from retrievers.bm25.bm25 import BM25
from retrievers.errors import EngineError, MissingAnswers


class Moody:
    """BM25; but "sleep" takes `seconds`, "refuse" is refused, "fail" fails, "offline" meets an engine that is gone.

    A query with the word "lost" has no answer, while the others of its search have.
    """

    def __init__(self, catalog: Catalog, *, seconds: float = 1.0, opening: float = 0.0) -> None:
        time.sleep(opening)
        self._inner, self._seconds = BM25(catalog, backend="numpy"), seconds
        self.stats = {"searches": 0.0}

    def search(self, queries: list[str], k: int) -> Hits:
        self.stats["searches"] += 1
        if "sleep" in queries:
            time.sleep(self._seconds)
        if "refuse" in queries:
            raise ValueError("'refuse' is no query")
        if "fail" in queries:
            raise KeyError("a secret detail")
        if "offline" in queries:
            raise ConnectionError("the engine behind does not answer")
        hits = self._inner.search(queries, k)
        lost = [place for place, query in enumerate(queries) if "lost" in query.split()]
        if lost:
            fault = EngineError("moody", "http://there", 3, "a time-out")
            raise MissingAnswers(hits.without(lost), dict.fromkeys(lost, fault))
        return hits
