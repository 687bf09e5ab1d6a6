"""The service behind `recr1 serve-retriever`: one index in memory for every rank and machine that asks.

    GET  /healthz   200 while the process lives
    GET  /readyz    200 once the index is there, 503 before
    GET  /info      what is served, and the limits, as JSON
    GET  /metrics   for Prometheus
    POST /search    {"queries": [...], "k": 10} -> two arrays in NumPy's .npy format: rows (int32), scores (float32);
                    where an engine behind the retriever has no answer to some, then JSON: {"place": "why", ...}

Queries are texts, or lists of numbers (a history). All but the first two want the token where there is one. The client
is `retrievers.service.client`. Imported only where something is served: FastAPI is an extra.
"""

from __future__ import annotations

import asyncio
import hmac
import io
import json
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import uvicorn
from fastapi import Depends, FastAPI, HTTPException, Request, Response

from retrievers.abilities import capabilities_of, matches_everything, max_k_of, stats_of, syntax_of
from retrievers.base import Catalog, Hits, Query, Retriever
from retrievers.errors import MissingAnswers
from retrievers.service.batching import Batcher, Numbers, QueueFull
from retrievers.service.client import CATALOG, RETRIEVER, STATS
from retrievers.topk import check_k

RETRY_AFTER = 1
"""Seconds after which one that was sent away shall come again."""

GRACE = 30
"""Seconds that searches have to end in when the service is stopped."""

KEEP_ALIVE = 75
"""Seconds that an idle connection is kept: longer than a client keeps one, so that it is the client that closes it."""


@dataclass(frozen=True)
class Served:
    """What is served."""

    catalog: Catalog
    retriever: Retriever
    fingerprint: str
    """Of the retriever."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What the service takes upon itself."""

    window: float = 0.002
    """Seconds to wait for more searches to join the first."""
    waiting: int = 256
    """Searches that may wait; one more is answered 503."""
    bytes: int = 64 * 2**20
    """Of a request, and of the answer to one; more is answered 413."""


class SearchService:
    """The application. It answers from its start, and searches from `serve` on.

    Args:
        token: What a client must show; None lets everybody in.
        limits: See `Limits`.
    """

    def __init__(self, *, token: str | None = None, limits: Limits | None = None) -> None:
        self._token, self._limits = token, limits or Limits()
        self._served: Served | None = None
        self._batcher: Batcher | None = None
        self._numbers = Numbers(self._waiting)
        self.api = FastAPI(lifespan=self._lifespan, docs_url=None, redoc_url=None, openapi_url=None)
        known = [Depends(self._check_token)]
        self.api.add_api_route("/healthz", self.health)
        self.api.add_api_route("/readyz", self.ready)
        self.api.add_api_route("/info", self.info, dependencies=known)
        self.api.add_api_route("/metrics", self.metrics, dependencies=known)
        self.api.add_api_route("/search", self.search, methods=["POST"], dependencies=known)

    def serve(self, served: Served) -> None:
        """Begin to search. May be called from another thread than the one that answers."""
        self._served = served

    @asynccontextmanager
    async def _lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        limits = self._limits
        self._batcher = Batcher(
            self._search, window=limits.window, waiting=limits.waiting, places=limits.bytes // _BYTES_A_PLACE
        )
        work = asyncio.create_task(self._batcher.run())
        try:
            yield
        finally:
            work.cancel()
            with suppress(asyncio.CancelledError):
                await work
            self._batcher.close()

    async def health(self) -> dict[str, str]:
        """That the process lives."""
        return {"status": "alive"}

    async def ready(self) -> dict[str, str]:
        """That searches are answered."""
        self._now()
        return {"status": "ready"}

    async def info(self) -> dict[str, Any]:
        """What is served and how much of it can be asked for."""
        served = self._now()
        return {
            "catalog": served.catalog.fingerprint,
            "retriever": served.fingerprint,
            "items": len(served.catalog),
            "capabilities": sorted(capabilities_of(served.retriever)),
            "syntax": syntax_of(served.retriever),
            "max_k": max_k_of(served.retriever),
            "matches_everything": matches_everything(served.retriever),
            "max_bytes": self._limits.bytes,
        }

    async def metrics(self) -> Response:
        """What Prometheus reads."""
        stats = stats_of(self._served.retriever) if self._served else {}
        return Response(self._numbers.text(stats), media_type=self._numbers.media_type)

    async def search(self, request: Request) -> Response:
        """Hits of the queries in the body."""
        start, status = time.perf_counter(), 500
        try:
            response = await self._answer(request)
            status = response.status_code
        except HTTPException as refusal:
            status = refusal.status_code
            raise
        finally:
            self._numbers.answered(status, time.perf_counter() - start)
        return response

    async def _answer(self, request: Request) -> Response:
        served = self._now()
        theirs = request.headers.get(CATALOG)
        if theirs not in (None, served.catalog.fingerprint):
            what = f"this service holds the catalog {served.catalog.fingerprint}, and the search is for {theirs}"
            raise HTTPException(409, what)
        queries, k = _asked(await self._body(request))
        if len(queries) * k * _BYTES_A_PLACE > self._limits.bytes:
            raise HTTPException(413, f"{len(queries)} queries for k={k} have an answer of more than {self._limit}")
        hits, faults = await self._hits(queries, k)
        self._numbers.queries(len(queries))
        stats = json.dumps(stats_of(served.retriever))
        headers = {CATALOG: served.catalog.fingerprint, RETRIEVER: served.fingerprint, STATS: stats}
        body = _npy(hits) + (json.dumps(faults).encode() if faults else b"")
        return Response(body, media_type="application/octet-stream", headers=headers)

    async def _hits(self, queries: list[Query], k: int) -> tuple[Hits, dict[int, str]]:
        """Hits, and why some queries have none."""
        assert self._batcher
        try:
            return await self._batcher.search(queries, k), {}
        except MissingAnswers as error:
            return error.hits, {place: str(fault) for place, fault in error.faults.items()}
        except QueueFull:
            raise HTTPException(503, "too many searches wait", {"Retry-After": str(RETRY_AFTER)}) from None
        except ValueError as error:
            raise HTTPException(400, str(error)) from error
        except (ConnectionError, TimeoutError) as error:  # an engine behind the retriever does not answer
            raise HTTPException(502, str(error)) from error

    async def _body(self, request: Request) -> bytes:
        too_much = HTTPException(413, f"the request is larger than {self._limit}")
        if int(request.headers.get("content-length", 0)) > self._limits.bytes:
            raise too_much
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > self._limits.bytes:
                raise too_much
        return bytes(body)

    @property
    def _limit(self) -> str:
        return f"{self._limits.bytes / 2**20:g} MiB, the limit of this service"

    def _now(self) -> Served:
        if self._served is None:
            raise HTTPException(503, "the index is being opened", {"Retry-After": str(RETRY_AFTER)})
        return self._served

    def _search(self, queries: list[Query], k: int) -> Hits:
        assert self._served
        self._numbers.batch(len(queries))
        return self._served.retriever.search(queries, k)

    def _waiting(self) -> int:
        return self._batcher.waiting if self._batcher else 0

    async def _check_token(self, request: Request) -> None:
        if self._token is None:
            return
        shown = request.headers.get("authorization", "").encode()
        if not hmac.compare_digest(shown, f"Bearer {self._token}".encode()):
            raise HTTPException(401, "a token is needed", {"WWW-Authenticate": "Bearer"})


class Serving(NamedTuple):
    """A service that answers."""

    address: str
    ended: threading.Event
    """Set when it does not answer any more."""


@contextmanager
def serving(service: SearchService, listener: socket.socket) -> Iterator[Serving]:
    """Answers on a bound socket from a thread of its own.

    At the end it takes no more connections, and the searches that it has still end.
    """
    config = uvicorn.Config(
        service.api,
        log_level="warning",
        access_log=False,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=GRACE,
        server_header=False,
    )
    # Connections take this over; else an answer waits up to 40 ms for the client to acknowledge its headers.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    server = uvicorn.Server(config)
    ended = threading.Event()

    def run() -> None:
        try:
            server.run(sockets=[listener])
        finally:
            ended.set()

    thread = threading.Thread(target=run, name="service", daemon=True)
    thread.start()
    try:
        while not server.started and not ended.wait(0.005):
            pass
        host, port = listener.getsockname()[:2]
        yield Serving(f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}", ended)
    finally:
        server.should_exit = True
        thread.join()


_BYTES_A_PLACE = 8


def _asked(body: bytes) -> tuple[list[Query], int]:
    """The queries and k of a request; a refusal that says what is wrong with it."""
    try:
        asked = json.loads(body)
        if not isinstance(asked, Mapping) or not isinstance(asked.get("queries"), list):
            raise ValueError('the body is an object like {"queries": ["red shoe"], "k": 10}')
        k = asked.get("k")
        if type(k) is not int:
            raise ValueError(f"k is a whole number, not {k!r}")
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
    raise ValueError(f"a query is a text or a list of numbers, not {query!r}")


def _npy(hits: Hits) -> bytes:
    """Both arrays in NumPy's format, one after the other."""
    buffer = io.BytesIO()
    for array in hits:
        np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()
