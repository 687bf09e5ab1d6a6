"""The service behind `recr1 serve-retriever`: one index in memory for every rank and machine that asks.

    GET  /healthz   200 while the process runs
    GET  /readyz    200 once the index is open, 503 before
    GET  /info      what is served, and the limits, as JSON
    GET  /metrics   for Prometheus
    POST /search    {"queries": [...], "k": 10} -> two arrays in NumPy's .npy format: rows (int32), scores (float32);
                    then, where some queries have no answer, JSON: {"place": "why", ...}

Queries are texts, or lists of numbers (a history). All but the first two need the token where there is one. The client
is `retrievers.service.client`. Imported only where something is served: FastAPI is an extra.
"""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from fastapi import HTTPException, Request, Response
from starlette.types import Receive, Scope, Send

from retrievers.abilities import capabilities_of, matches_everything, max_k_of, stats_of, syntax_of
from retrievers.base import Catalog, Hits, Query, Retriever
from retrievers.errors import MissingAnswers, shown
from retrievers.service.batching import Batcher, QueueFull, SearchMetrics
from retrievers.service.client import CATALOG, RETRIEVER, STATS
from retrievers.service.paths import RETRY_AFTER, HTTPService, Limits, beside
from retrievers.topk import check_k

PART = 4 * 2**20
"""Bytes of an answer that are sent at once."""
_BYTES_A_PLACE = 8


@dataclass(frozen=True)
class Served:
    """What is served."""

    catalog: Catalog
    retriever: Retriever
    fingerprint: str  # of the retriever


class SearchService(HTTPService):
    """The application. It answers at once, and searches after `serve`. Clients must send `token`, if it is set."""

    def __init__(self, *, token: str | None = None, limits: Limits | None = None) -> None:
        super().__init__(token=token, limits=limits or Limits())
        self._served: Served | None = None
        self._batcher: Batcher | None = None
        self.metrics: SearchMetrics = SearchMetrics(
            lambda: self._batcher.waiting if self._batcher else 0,
            lambda: stats_of(self._served.retriever) if self._served else {},
        )
        self.post("/search", self._answer)

    def serve(self, served: Served) -> None:
        """Begin to search. May be called from another thread than the one that answers."""
        self._served = served

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Searches that wait are joined and made."""
        window, waiting, most = self.limits.window, self.limits.waiting, self.limits.bytes // _BYTES_A_PLACE
        self._batcher = Batcher(self._search, window=window, waiting=waiting, places=most)
        try:
            async with beside(self._batcher.run()):
                yield
        finally:
            self._batcher.close()

    def check_ready(self) -> None:
        """Raise `HTTPException` 503 until there is an index."""
        self._ready()

    async def info(self) -> dict[str, Any]:
        """What is served, and the limits of a search."""
        served = self._ready()
        return {
            "catalog": served.catalog.fingerprint,
            "retriever": served.fingerprint,
            "items": len(served.catalog),
            "capabilities": sorted(capabilities_of(served.retriever)),
            "syntax": syntax_of(served.retriever),
            "max_k": max_k_of(served.retriever),
            "matches_everything": matches_everything(served.retriever),
            "max_bytes": self.limits.bytes,
        }

    async def _answer(self, request: Request) -> Response:
        served = self._ready()
        catalog, wanted = served.catalog.fingerprint, request.headers.get(CATALOG)
        if wanted not in (None, catalog):
            raise HTTPException(409, f"this service holds the catalog {catalog}, and the search is for {wanted}")
        queries, k = _asked(await self.body(request))
        if len(queries) * k * _BYTES_A_PLACE > self.limits.bytes:
            raise HTTPException(413, f"{len(queries)} queries for k={k} have an answer of more than {self.limit}")
        hits, faults = await self._hits(queries, k)
        self.metrics.queries.inc(len(queries))
        body = io.BytesIO()
        for array in hits:
            np.save(body, array, allow_pickle=False)
        body.write(json.dumps(faults).encode() if faults else b"")
        headers = {CATALOG: catalog, RETRIEVER: served.fingerprint, STATS: json.dumps(stats_of(served.retriever))}
        return _InParts(body.getvalue(), media_type="application/octet-stream", headers=headers)

    async def _hits(self, queries: list[Query], k: int) -> tuple[Hits, dict[int, str]]:
        """Hits, and why some queries have none."""
        assert self._batcher
        try:
            return await self._batcher.search(queries, k), {}
        except MissingAnswers as error:
            return error.hits, {place: str(fault) for place, fault in error.faults.items()}
        except QueueFull:
            raise HTTPException(503, "too many searches wait", RETRY_AFTER) from None
        except ValueError as error:
            raise HTTPException(400, str(error)) from error
        except (ConnectionError, TimeoutError) as error:  # an engine behind the retriever does not answer
            raise HTTPException(502, str(error)) from error

    def _ready(self) -> Served:
        if self._served is None:
            raise HTTPException(503, "the index is being opened", RETRY_AFTER)
        return self._served

    def _search(self, queries: list[Query], k: int) -> Hits:
        assert self._served
        self.metrics.batches.observe(len(queries))
        return self._served.retriever.search(queries, k)


class _InParts(Response):
    """An answer that is sent part by part: asyncio takes twice as long for a large one as a whole."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        for start in range(0, len(self.body), PART):
            part, more = self.body[start : start + PART], start + PART < len(self.body)
            await send({"type": "http.response.body", "body": part, "more_body": more})


def _asked(body: bytes) -> tuple[list[Query], int]:
    """The queries and k of a request; raises `HTTPException` 400 that says what is wrong with it."""
    try:
        asked = json.loads(body)
        if not isinstance(asked, Mapping) or not isinstance(asked.get("queries"), list):
            raise ValueError('the body must be an object like {"queries": ["red shoe"], "k": 10}')
        k = asked.get("k")
        if type(k) is not int:
            raise ValueError(f"k must be an integer, got {shown(k)}")
        check_k(k)
        return [_query(query) for query in asked["queries"]], k
    except (ValueError, RecursionError) as error:
        raise HTTPException(400, f"the request cannot be read: {error}") from error


def _query(query: object) -> Query:
    """A query of JSON, where a list is a tuple."""
    if isinstance(query, list):
        return tuple(_query(part) for part in query)
    if isinstance(query, str | int | float):
        return query
    raise ValueError(f"a query must be a string or a list of numbers, got {shown(query)}")
