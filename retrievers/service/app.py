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

import asyncio
import hmac
import io
import json
import resource
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from fastapi import Depends, FastAPI, HTTPException, Request, Response
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from retrievers.abilities import capabilities_of, matches_everything, max_k_of, stats_of, syntax_of
from retrievers.base import Catalog, Hits, Query, Retriever
from retrievers.errors import MissingAnswers, shown
from retrievers.service.batching import Batcher, Metrics, QueueFull
from retrievers.service.client import CATALOG, RETRIEVER, STATS
from retrievers.topk import check_k

RETRY_AFTER = {"Retry-After": "1"}
LEFT = 499
"""The status, in the metrics alone, of a request whose client left before the service had read it: nginx's number."""
PART = 4 * 2**20
"""Bytes of an answer that are sent at once."""
_BYTES_A_PLACE = 8


@dataclass(frozen=True)
class Served:
    """What is served."""

    catalog: Catalog
    retriever: Retriever
    fingerprint: str  # of the retriever


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The limits of the service."""

    window: float = 0.002
    """Seconds to wait for more searches to join the first."""
    waiting: int = 256
    """Searches that may wait; one more is answered 503."""
    bytes: int = 64 * 2**20
    """Of a request and of its answer; more is answered 413."""
    connections: int = 512
    """Open at once, or half of the files that the process may open; see `retrievers.service.connections`."""

    def __post_init__(self) -> None:
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        most = self.connections if files == resource.RLIM_INFINITY else min(self.connections, files // 2)
        object.__setattr__(self, "connections", most)


class SearchService:
    """The application. It answers at once, and searches after `serve`. Clients must send `token`, if it is set."""

    def __init__(self, *, token: str | None = None, limits: Limits | None = None) -> None:
        self._token, self.limits = token, limits or Limits()
        self._served: Served | None = None
        self._batcher: Batcher | None = None
        self._searches = 0
        self._metrics = Metrics(lambda: self._batcher.waiting if self._batcher else 0)
        self.api = FastAPI(lifespan=self._lifespan, docs_url=None, redoc_url=None, openapi_url=None)
        with_token = [Depends(self._check_token)]
        self.api.add_api_route("/healthz", self.health)
        self.api.add_api_route("/readyz", self.ready)
        self.api.add_api_route("/info", self.info, dependencies=with_token)
        self.api.add_api_route("/metrics", self.metrics, dependencies=with_token)
        self.api.add_api_route("/search", self.search, methods=["POST"], dependencies=with_token)

    def serve(self, served: Served) -> None:
        """Begin to search. May be called from another thread than the one that answers."""
        self._served = served

    @asynccontextmanager
    async def _lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        window, waiting, most = self.limits.window, self.limits.waiting, self.limits.bytes // _BYTES_A_PLACE
        self._batcher = Batcher(self._search, window=window, waiting=waiting, places=most)
        work = asyncio.create_task(self._batcher.run())
        try:
            yield
        finally:
            work.cancel()
            with suppress(asyncio.CancelledError):
                await work
            self._batcher.close()

    async def health(self) -> dict[str, str]:
        """That the process runs."""
        return {"status": "alive"}

    async def ready(self) -> dict[str, str]:
        """That searches are answered."""
        self._ready()
        return {"status": "ready"}

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

    async def metrics(self) -> Response:
        """What Prometheus reads."""
        stats = stats_of(self._served.retriever) if self._served else {}
        return Response(self._metrics.text(stats), media_type=self._metrics.media_type)

    async def search(self, request: Request) -> Response:
        """Hits of the queries in the body."""
        start, status = time.perf_counter(), 500
        self._searches += 1
        try:
            if self._searches > self.limits.connections * 3 // 4:  # the others are for /healthz
                raise HTTPException(503, "too many searches wait", RETRY_AFTER)
            response = await self._answer(request)
            status = response.status_code
        except HTTPException as refusal:
            status = refusal.status_code
            raise
        except ClientDisconnect:
            response = Response(status_code=(status := LEFT))  # for nobody
        finally:
            self._searches -= 1
            self._metrics.requests.labels(str(status)).inc()
            self._metrics.seconds.observe(time.perf_counter() - start)
        return response

    async def _answer(self, request: Request) -> Response:
        served = self._ready()
        catalog, wanted = served.catalog.fingerprint, request.headers.get(CATALOG)
        if wanted not in (None, catalog):
            raise HTTPException(409, f"this service holds the catalog {catalog}, and the search is for {wanted}")
        queries, k = _asked(await self._body(request))
        if len(queries) * k * _BYTES_A_PLACE > self.limits.bytes:
            raise HTTPException(413, f"{len(queries)} queries for k={k} have an answer of more than {self._limit}")
        hits, faults = await self._hits(queries, k)
        self._metrics.queries.inc(len(queries))
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

    async def _body(self, request: Request) -> bytes:
        too_large = HTTPException(413, f"the request is larger than {self._limit}")
        if int(request.headers.get("content-length", 0)) > self.limits.bytes:
            raise too_large
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > self.limits.bytes:
                raise too_large
        return bytes(body)

    @property
    def _limit(self) -> str:
        return f"{self.limits.bytes / 2**20:g} MiB, the limit of this service"

    def _ready(self) -> Served:
        if self._served is None:
            raise HTTPException(503, "the index is being opened", RETRY_AFTER)
        return self._served

    def _search(self, queries: list[Query], k: int) -> Hits:
        assert self._served
        self._metrics.batches.observe(len(queries))
        return self._served.retriever.search(queries, k)

    async def _check_token(self, request: Request) -> None:
        if self._token is None:
            return
        given = request.headers.get("authorization", "").encode()
        if not hmac.compare_digest(given, f"Bearer {self._token}".encode()):
            raise HTTPException(401, "a token is needed", {"WWW-Authenticate": "Bearer"})


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
