"""What OpenSearch and Elasticsearch share: one protocol, of which both speak the part that is used here.

The two retrievers bring their official client as six calls (`Client`); indexes, queries and answers are made and read
here.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from time import monotonic, sleep
from typing import Any, ClassVar, NamedTuple, Protocol

from retrievers.analyzer import bm25_problems, field_problems, searched_fields
from retrievers.base import Catalog, Hits, Query
from retrievers.errors import PermanentError, TransientError
from retrievers.remote.answers import Answer, search_remotely, well_formed
from retrievers.remote.client import EngineClient, client_problems, require
from retrievers.remote.request import Headers, address_problems, filled, has_query

ROW = "recr1_row"
"""The field of an index of ours that holds an item's row; its `_id` is the row too."""
WINDOW = 10_000
"""The deepest search of an index that was not made here (its `index.max_result_window`, where nobody changed it)."""
CLAUSES = 1024
"""The most words that an engine searches for at a time, over all fields, where nobody changed it."""
BATCH = 1000
"""Items of one bulk request."""
STALLED = 60.0
"""Seconds after which an index that somebody else is filling, and that does not grow, was given up by them."""
POLL = 0.2


class Client(Protocol):
    """An official client behind six calls, whose errors are raised as `TransientError` or `PermanentError`."""

    def create(self, index: str, body: dict[str, Any]) -> bool:
        """Makes an index; False where it exists."""
        ...

    def mapping(self, index: str) -> Mapping[str, Any]:
        """The mappings of an index."""
        ...

    def remember(self, index: str, meta: dict[str, Any]) -> None:
        """Writes the `_meta` of an index's mappings."""
        ...

    def bulk(self, index: str, operations: list[dict[str, Any]]) -> Mapping[str, Any]:
        """Writes documents."""
        ...

    def count(self, index: str, *, refresh: bool) -> int:
        """How many documents an index shows; `refresh` makes it show all that were written."""
        ...

    def search(self, index: str, body: dict[str, Any]) -> Mapping[str, Any]:
        """The answer to one search, of all shards or of none."""
        ...


class Way(NamedTuple):
    """How a client reaches its engine."""

    url: str
    headers: Headers
    ca_certs: str | None
    timeout: float
    threads: int


class ElasticRetriever:
    """The part of `opensearch` and `elasticsearch` that is one; they say what they are and bring their client."""

    engine: ClassVar[str]
    library: ClassVar[str]

    def __init__(
        self,
        catalog: Catalog,
        *,
        url: str = "http://localhost:9200",
        index: str | None = None,
        fields: dict[str, float] | None = None,
        id_field: str | None = None,
        query: dict[str, Any] | None = None,
        tiebreak: str | None = None,
        k1: float = 1.2,
        b: float = 0.75,
        analyzer: str = "standard",
        headers: dict[str, str] | None = None,
        ca_certs: str | None = None,
        timeout: float = 10.0,
        attempts: int = 6,
        rate: float | None = None,
        threads: int = 8,
        cooldown: float = 30.0,
        max_chars: int | None = None,
    ) -> None:
        require(self.library, self.engine, self.engine)
        problems = self.check_options(locals())
        if problems:
            raise ValueError(problems[0])
        self._catalog, self._ours, self._id_field = catalog, index is None, id_field
        if self._ours:
            fields, tiebreak = fields or {"texts": 1.0}, ROW
            columns = zip(fields, searched_fields(catalog, fields), strict=True)
            self._columns = {name: column for name, (column, _) in columns}
        self._query, self._tiebreak = query or _any_word(fields or {}), tiebreak
        self._similarity, self._analyzer = {"type": "BM25", "k1": k1, "b": b}, analyzer
        self._max_chars = max_chars or CLAUSES // max(len(fields or ()), 1)
        self._engine = EngineClient(self.engine, url, attempts=attempts, rate=rate, threads=threads, cooldown=cooldown)
        self._way = Way(url, Headers(headers), ca_certs, timeout, threads)
        self._client = self._connect(self._way)
        self._index = index or self._own_index()

    @classmethod
    def check_options(cls, options: Mapping[str, Any]) -> list[str]:
        """What is wrong with the options, before anything is asked."""
        problems = address_problems("url", options.get("url", "http://host")) + client_problems(
            {name: value for name, value in options.items() if name != "max_chars" or value is not None}
        )
        problems += bm25_problems(options) + field_problems(options)
        theirs, query = options.get("index") is not None, options.get("query")
        if theirs and not (options.get("fields") or query):
            problems.append("fields: say which fields of the index are searched, {title: 2, brand: 1}; or give a query")
        if query is not None and not has_query(query):
            problems.append("query: must hold {query} in one of its texts, else all queries are one")
        for name in ("id_field", "tiebreak"):
            if options.get(name) is not None and not theirs:
                problems.append(f"{name}: is for an index that exists; name it with index")
        for name in options.get("fields") or ():
            if not theirs and not re.fullmatch(r"[A-Za-z0-9][\w-]*", name):
                problems.append(f"fields: an index of ours cannot have a field {name!r}: letters, digits, _ and - only")
        return problems + Headers(options.get("headers")).problems()

    def search(self, queries: Sequence[Query], k: int) -> Hits:
        """Hits of shape (len(queries), k).

        Raises:
            ValueError: For a query that is not text, a k below 1, or one above `max_k`.
            EngineError: Where a query got no usable answer of all shards.
        """
        if self.max_k is not None and k > self.max_k:
            raise ValueError(f"k is {k}, and the index '{self._index}' hands out {self.max_k} items at most")
        return search_remotely(
            self._engine, self._catalog, queries, k, lambda text: self._ask(text, k), max_chars=self._max_chars
        )

    @property
    def max_k(self) -> int | None:
        """The most items that a search can ask for; None where that is all of them."""
        return None if self._ours or len(self._catalog) <= WINDOW else WINDOW

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_client"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._client = self._connect(self._way)

    def _connect(self, way: Way) -> Client:
        raise NotImplementedError

    # Searching.

    def _ask(self, text: str, k: int) -> Answer:
        return self._read(self._client.search(self._index, self._body(text, k)))

    def _body(self, text: str, k: int) -> dict[str, Any]:
        body = {
            "query": filled(self._query, text, k),
            "size": min(k, len(self._catalog)),
            "_source": [self._id_field] if self._id_field else False,
            "track_total_hits": False,
        }
        if self._tiebreak:  # by the score alone, equal items come as shards happen to answer
            body |= {"sort": [{"_score": "desc"}, {self._tiebreak: "asc"}], "track_scores": True}
        return body

    def _read(self, answer: Mapping[str, Any]) -> Answer:
        if not isinstance(answer, Mapping):
            raise TransientError(f"the answer is no JSON object: {str(answer)[:200]!r}")
        shards = answer.get("_shards", {})
        if answer.get("timed_out") or shards.get("failed"):
            late = "it ran out of time" if answer.get("timed_out") else f"{shards['failed']} of {shards.get('total')}"
            raise TransientError(f"not all shards answered ({late}): {json.dumps(shards.get('failures', []))[:300]}")
        try:
            return [self._item(hit) for hit in answer["hits"]["hits"]]
        except (KeyError, TypeError, ValueError, IndexError) as error:
            what = f"{type(error).__name__}: {error}"
            raise PermanentError(f"the answer has no hits with ids and scores ({what}): {str(answer)[:300]}") from error

    def _item(self, hit: Mapping[str, Any]) -> tuple[str, float]:
        item = str(hit["_source"][self._id_field] if self._id_field else hit["_id"])
        if self._ours and not item.isdecimal():
            raise ValueError(f"{item!r} is no row")
        return self._catalog.ids[int(item)] if self._ours else item, float(hit["_score"])

    # An index of ours.

    def _own_index(self) -> str:
        """The name of the index of this catalog and these options, made and filled unless it exists."""
        body = self._index_body()
        key = json.dumps([self._catalog.fingerprint, body], sort_keys=True)
        index = f"recr1-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
        if self._engine.ask(lambda: self._client.create(index, body)):
            batches = range(0, len(self._catalog), BATCH)
            self._engine.ask_all(lambda first: self._write(index, first), batches)
            count = self._engine.ask(lambda: self._client.count(index, refresh=True))
            if count != len(self._catalog):
                raise self._engine.error(
                    f"index '{index}' shows {count} of the {len(self._catalog)} items written to it"
                )
            self._engine.ask(lambda: self._client.remember(index, {"recr1": {"items": count}}))
        else:
            self._wait_for(index)
        return index

    def _index_body(self) -> dict[str, Any]:
        text = {"type": "text", "analyzer": self._analyzer, "similarity": "recr1"}
        return {
            "settings": {
                "index": {
                    "number_of_shards": 1,  # several shards each weigh words by their own items
                    "max_result_window": max(WINDOW, len(self._catalog)),
                    "similarity": {"recr1": self._similarity},
                }
            },
            "mappings": {
                "dynamic": False,
                "properties": {ROW: {"type": "integer"}} | dict.fromkeys(self._columns, text),
            },
        }

    def _write(self, index: str, first: int) -> None:
        operations: list[dict[str, Any]] = []
        for row in range(first, min(first + BATCH, len(self._catalog))):
            fields = {name: well_formed(column[row]) for name, column in self._columns.items()}
            operations += [{"index": {"_id": str(row)}}, {ROW: row} | fields]
        answer = self._client.bulk(index, operations)
        if not answer.get("errors"):
            return
        failed = [item["index"] for item in answer["items"] if item["index"].get("status", 200) >= 300]
        what = f"{len(failed)} of {len(operations) // 2} items were not written: {json.dumps(failed[0])[:300]}"
        # Writing a row again writes the same, so that a full queue costs another attempt and no more.
        raise (
            TransientError(what)
            if all(item["status"] == 429 or item["status"] >= 500 for item in failed)
            else PermanentError(what)
        )

    def _wait_for(self, index: str) -> None:
        """Returns once the index is marked as whole: by us on another day, or by another rank that fills it now."""
        shown, since = -1, monotonic()
        while not self._engine.ask(lambda: self._client.mapping(index)).get("_meta", {}).get("recr1"):
            count = self._engine.ask(lambda: self._client.count(index, refresh=True))
            if count > shown:
                shown, since = count, monotonic()
            elif monotonic() - since > STALLED:
                raise self._engine.error(
                    f"index '{index}' was begun and never finished: it shows {count} of {len(self._catalog)} items. "
                    "Delete it, and it is made again"
                )
            sleep(POLL)


def _any_word(fields: Mapping[str, float]) -> dict[str, Any]:
    """The query of items that hold any word, by the sum of the fields' scores times their weights."""
    weighted = [f"{name}^{weight:g}" for name, weight in fields.items()]
    return {"multi_match": {"query": "{query}", "fields": weighted, "type": "most_fields"}}
