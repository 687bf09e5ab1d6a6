"""What OpenSearch and Elasticsearch share: indexes, queries and answers. Each brings its own official client."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from time import monotonic, sleep
from typing import Any, ClassVar, TypeVar
from urllib.parse import urlsplit

from retrievers.analyzer import K1, FieldWeights
from retrievers.base import Catalog, Hits, Query
from retrievers.errors import PermanentError, TransientError, shown, told
from retrievers.options import PositiveFloat, PositiveInt, Share, checked
from retrievers.remote.address import connection_problems
from retrievers.remote.answers import Answer, RemoteRetriever, well_formed
from retrievers.remote.client import EngineClient, require
from retrievers.remote.http import filled, has_query
from retrievers.secrets import resolved

Out = TypeVar("Out")

ROW = "recr1_row"
"""The field with an item's row in an index made here; the row is its `_id` too."""
WINDOW = 10_000
"""The most items that a search of an existing index returns: the default of `index.max_result_window`."""
CLAUSES = 1024
"""The most words that an engine searches for at a time, over all fields, by default."""
BATCH = 1000  # items of one bulk request
STALLED, POLL = 60.0, 0.2
"""Seconds without growth after which an index that another process fills is abandoned; seconds between two looks."""


@checked
class ElasticRetriever(RemoteRetriever):
    """The common part of `opensearch` and `elasticsearch`, whose official clients have the same methods.

    A subclass connects its client, without retries (`EngineClient` has them), and converts the client's errors.
    """

    filled: ClassVar[tuple[str, ...]] = ("url", "headers", "query")
    renamed: ClassVar[Mapping[str, str]] = {"ca_certs": "ca_file"}

    engine: ClassVar[str]
    library: ClassVar[str]

    def _errors(self) -> AbstractContextManager[None]:
        """Raises the client's errors as `TransientError` or `PermanentError`."""
        raise NotImplementedError

    def __init__(
        self,
        catalog: Catalog,
        *,
        url: str = "http://localhost:9200",
        index: str | None = None,
        fields: FieldWeights | None = None,
        id_field: str | None = None,
        query: dict[str, Any] | None = None,
        tiebreak: str | None = None,
        k1: K1 = 1.2,
        b: Share = 0.75,
        analyzer: str = "standard",
        headers: dict[str, str] | None = None,
        timeout: PositiveFloat = 10.0,
        attempts: PositiveInt = 6,
        rate: PositiveFloat | None = None,
        threads: PositiveInt = 8,
        cooldown: PositiveFloat = 30.0,
        max_chars: PositiveInt | None = None,
        ca_file: str | None = None,
    ) -> None:
        require(self.library, self.engine, self.engine)
        self._catalog, self._made_here, self._id_field = catalog, index is None, id_field
        self.max_k = None if index is None or len(catalog) <= WINDOW else WINDOW
        if self._made_here:
            fields, tiebreak = fields or {"texts": 1.0}, ROW
            self._columns = {name: catalog.column(name) for name in fields}
        self._query, self._tiebreak = query or _any_word(fields or {}), tiebreak
        self._similarity, self._analyzer = {"type": "BM25", "k1": k1, "b": b}, analyzer
        self._max_chars = max_chars or CLAUSES // max(len(fields or ()), 1)
        self._engine = EngineClient(self.engine, url, attempts=attempts, rate=rate, threads=threads, cooldown=cooldown)
        self._url, self._headers, self._ca_file = url, headers or {}, ca_file
        self._timeout, self._threads = timeout, threads
        self._connect()
        self._index = index or self._own_index()

    @classmethod
    def check_options(cls, options: Mapping[str, Any]) -> list[str]:
        """What is wrong with the options, before anything is asked."""
        problems = connection_problems(options, cls.filled)
        if not problems and "?" in resolved(options.get("url", "")):
            problems.append("url: must end before the '?': it cannot have a query")
        exists, query = options.get("index") is not None, options.get("query")
        if exists and not (options.get("fields") or query):
            problems.append("fields: name the fields of the index, as in {title: 2, brand: 1}; or give a query")
        if query is not None and not has_query(query):
            problems.append("query: must contain {query} in one of its texts, else all queries are the same")
        for name in ("id_field", "tiebreak"):
            if options.get(name) is not None and not exists:
                problems.append(f"{name}: is for an existing index; name that index with index")
        for name in options.get("fields") or ():
            if not exists and not re.fullmatch(r"[A-Za-z0-9][\w-]*", name):
                problems.append(f"fields: {name!r} cannot be a field of an index made here: use letters, digits, _, -")
        return problems

    def search(self, queries: Sequence[Query], k: int) -> Hits:
        """As every remote retriever; raises `ValueError` for a k above `max_k`."""
        if self.max_k is not None and k > self.max_k:
            raise ValueError(f"k is {k}, and the index '{self._index}' returns at most {self.max_k} items")
        return super().search(queries, k)

    def _ask(self, text: str, k: int) -> Answer:
        body = {
            "query": filled(self._query, text, k),
            "size": min(k, len(self._catalog)),
            "_source": [self._id_field] if self._id_field else False,
            "track_total_hits": False,
        }
        if self._tiebreak:  # else equal items come in the order in which shards answer
            body |= {"sort": [{"_score": "desc"}, {self._tiebreak: "asc"}], "track_scores": True}
        searched = partial(self._session.search, index=self._index, body=body, allow_partial_search_results=False)
        return self._called(searched, self._read)

    def _called(self, ask: Callable[[], Any], read: Callable[[Mapping[str, Any]], Out]) -> Out:
        """What `read` finds in the answer, which may be that of another kind of server."""
        with self._errors():
            whole = ask()
        answer = getattr(whole, "body", whole)  # the client of Elasticsearch wraps it
        if not isinstance(answer, Mapping):
            raise TransientError(f"the answer is not a JSON object: {told(answer, 200)!r}")
        try:
            return read(answer)
        except (KeyError, TypeError, ValueError, IndexError) as error:
            what = f"{type(error).__name__}: {error}"
            raise PermanentError(
                f"the answer is not what such an engine returns ({what}): {told(answer, 300)}"
            ) from error

    def _read(self, answer: Mapping[str, Any]) -> Answer:
        shards = answer.get("_shards", {})
        if answer.get("timed_out") or shards.get("failed"):
            late = "it ran out of time" if answer.get("timed_out") else f"{shards['failed']} of {shards.get('total')}"
            raise TransientError(
                f"not all shards answered ({late}): {told(json.dumps(shards.get('failures', [])), 300)}"
            )
        return [self._item(hit) for hit in answer["hits"]["hits"]]

    def _item(self, hit: Mapping[str, Any]) -> tuple[str, float]:
        item = str(hit["_source"][self._id_field] if self._id_field else hit["_id"])
        if self._made_here and not item.isdecimal():
            raise ValueError(f"{shown(item)} is not a row")
        return self._catalog.ids[int(item)] if self._made_here else item, float(hit["_score"])

    def _address(self) -> str:
        """The address with its port, which Elasticsearch's client must have; without one it is OpenSearch's default."""
        parts = urlsplit(resolved(self._url))
        port = parts.port or (443 if parts.scheme == "https" else 9200)
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
        return f"{parts.scheme}://{host}:{port}{parts.path}"

    def _own_index(self) -> str:
        """The name of the index of this catalog and these options, made and filled unless it exists."""
        text = {"type": "text", "analyzer": self._analyzer, "similarity": "recr1"}
        fields = {ROW: {"type": "integer"}} | dict.fromkeys(self._columns, text)
        settings = {
            "number_of_shards": 1,  # several shards each weigh words by their own items
            "max_result_window": max(WINDOW, len(self._catalog)),
            "similarity": {"recr1": self._similarity},
        }
        body = {"settings": {"index": settings}, "mappings": {"dynamic": False, "properties": fields}}
        key = json.dumps([self._catalog.fingerprint, body], sort_keys=True)
        index = f"recr1-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
        if self._engine.ask(lambda: self._create(index, body)):
            batches = range(0, len(self._catalog), BATCH)
            self._engine.ask_all(lambda first: self._write(index, first), batches)
            count, items = self._engine.ask(lambda: self._count(index)), len(self._catalog)
            if count != items:
                raise self._engine.error(f"index '{index}' shows {count} of the {items} items written to it")
            self._engine.ask(lambda: self._mark_complete(index, count))
        else:
            self._wait_for(index)
        return index

    def _create(self, index: str, body: dict[str, Any]) -> bool:
        """Makes an index; False where it exists."""
        try:
            self._called(
                lambda: self._session.indices.create(index=index, body=body), lambda answer: answer["acknowledged"]
            )
        except PermanentError as error:
            if getattr(error.__cause__, "error", None) == "resource_already_exists_exception":
                return False
            raise
        return True

    def _count(self, index: str) -> int:
        """How many documents the index has, with all that were written."""
        with self._errors():
            self._session.indices.refresh(index=index)
        return self._called(lambda: self._session.count(index=index), lambda answer: int(answer["count"]))

    def _mark_complete(self, index: str, items: int) -> None:
        with self._errors():
            self._session.indices.put_mapping(index=index, body={"_meta": {"recr1": {"items": items}}})

    def _is_complete(self, index: str) -> bool:
        ask = partial(self._session.indices.get_mapping, index=index)
        return self._called(ask, lambda answer: "recr1" in answer[index]["mappings"].get("_meta", {}))

    def _write(self, index: str, first: int) -> None:
        operations: list[dict[str, Any]] = []
        for row in range(first, min(first + BATCH, len(self._catalog))):
            fields = {name: well_formed(column[row]) for name, column in self._columns.items()}
            operations += [{"index": {"_id": str(row)}}, {ROW: row} | fields]
        items = self._called(lambda: self._session.bulk(index=index, body=operations), lambda answer: answer["items"])
        failed = [item["index"] for item in items if item["index"].get("status", 200) >= 300]
        if not failed:
            return
        what = f"{len(failed)} of {len(operations) // 2} items were not written: {told(json.dumps(failed[0]), 300)}"
        if any(item["status"] != 429 and item["status"] < 500 for item in failed):
            raise PermanentError(what)
        raise TransientError(what)  # writing a row again writes the same

    def _wait_for(self, index: str) -> None:
        """Returns when the index is marked as complete by an earlier run, or by another rank that fills it now."""
        shown, since = -1, monotonic()
        while not self._engine.ask(lambda: self._is_complete(index)):
            count = self._engine.ask(lambda: self._count(index))
            if count > shown:
                shown, since = count, monotonic()
            elif monotonic() - since > STALLED:
                shows = f"it shows {count} of {len(self._catalog)} items. Delete it, and it is made again"
                raise self._engine.error(f"index '{index}' was started and never completed: {shows}")
            sleep(POLL)


def _any_word(fields: Mapping[str, float]) -> dict[str, Any]:
    """The query of items that hold any word, by the sum of the fields' scores times their weights."""
    weighted = [f"{name}^{weight:g}" for name, weight in fields.items()]
    return {"multi_match": {"query": "{query}", "fields": weighted, "type": "most_fields"}}
