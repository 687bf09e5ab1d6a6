"""What every service over HTTP has: health, metrics, a token, and limits of what it reads and of how much waits."""

from __future__ import annotations

import asyncio
import hmac
import json
import resource
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeAlias

from fastapi import Depends, FastAPI, HTTPException, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.requests import ClientDisconnect

from retrievers.errors import shown

RETRY_AFTER = {"Retry-After": "1"}
LEFT = 499
"""The status, in the metrics alone, of a request whose client left before the service had read it: nginx's number."""

Answer: TypeAlias = Callable[[Request], Awaitable[Response]]


@asynccontextmanager
async def beside(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Something that runs beside all else within, and is cancelled at the end."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The limits of a service."""

    window: float = 0.002
    """Seconds to wait for more work to join the first."""
    waiting: int = 256
    """How much may wait."""
    bytes: int = 64 * 2**20
    """Of a request and of its answer; more is answered 413."""
    connections: int = 512
    """Open at once, or half of the files that the process may open; see `retrievers.service.connections`."""

    def __post_init__(self) -> None:
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        most = self.connections if files == resource.RLIM_INFINITY else min(self.connections, files // 2)
        object.__setattr__(self, "connections", most)


class Metrics:
    """The metrics of one service, for Prometheus; `waiting` returns how much waits, and `asked` says what."""

    media_type = CONTENT_TYPE_LATEST

    def __init__(self, asked: str, waiting: Callable[[], int]) -> None:
        self.registry = CollectorRegistry()
        self.seconds = Histogram(f"recr1_{asked}_seconds", "Seconds of a request", registry=self.registry)
        what = "Requests by the status of their answer"
        self.requests = Counter("recr1_requests", what, ["status"], registry=self.registry)
        Gauge("recr1_waiting", "How much waits", registry=self.registry).set_function(waiting)

    def text(self) -> bytes:
        """All metrics."""
        return generate_latest(self.registry)


class HTTPService(ABC):
    """An application with the paths of health, readiness, facts and metrics.

    A subclass says what it answers (`post`), what it is (`info`), when it is ready, and what runs as long as it does.
    Clients must send `token`, if it is set.
    """

    metrics: Metrics

    def __init__(self, *, token: str | None, limits: Limits) -> None:
        self._token, self.limits = token, limits
        self._open_requests = 0
        self.api = FastAPI(lifespan=self._lifespan, docs_url=None, redoc_url=None, openapi_url=None)
        with_token = [Depends(self._check_token)]
        self.api.add_api_route("/healthz", self._health)
        self.api.add_api_route("/readyz", self._readiness)
        self.api.add_api_route("/info", self.info, dependencies=with_token)
        self.api.add_api_route("/metrics", self._all_metrics, dependencies=with_token)

    def post(self, path: str, answer: Answer) -> None:
        """Answer POST requests to a path, with the token checked and the request counted."""

        async def counted(request: Request) -> Response:
            return await self._counted(request, answer)

        self.api.add_route(path, counted, methods=["POST"])

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """What runs as long as the service does."""
        yield

    @abstractmethod
    async def info(self) -> dict[str, Any]:
        """What is served, and the limits."""

    def check_ready(self) -> None:  # noqa: B027 - ready at once, unless a subclass says otherwise
        """Raise `HTTPException` 503 where the service is not ready."""

    @asynccontextmanager
    async def _lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        async with self.running():
            yield

    async def _health(self) -> dict[str, str]:
        return {"status": "alive"}

    async def _readiness(self) -> dict[str, str]:
        self.check_ready()
        return {"status": "ready"}

    async def _all_metrics(self) -> Response:
        return Response(self.metrics.text(), media_type=self.metrics.media_type)

    async def _counted(self, request: Request, answer: Answer) -> Response:
        start, status = time.perf_counter(), 500
        self._open_requests += 1
        try:
            await self._check_token(request)
            if self._open_requests > self.limits.connections * 3 // 4:  # the others are for /healthz
                raise HTTPException(503, "too many requests wait", RETRY_AFTER)
            response = await answer(request)
            status = response.status_code
        except HTTPException as refusal:
            status = refusal.status_code
            raise
        except ClientDisconnect:
            response = Response(status_code=(status := LEFT))  # for nobody
        finally:
            self._open_requests -= 1
            self.metrics.requests.labels(str(status)).inc()
            self.metrics.seconds.observe(time.perf_counter() - start)
        return response

    async def body(self, request: Request) -> bytes:
        """The body of a request; raises `HTTPException` 413 where it is larger than the limit."""
        too_large = HTTPException(413, f"the request is larger than {self.limit}")
        if int(request.headers.get("content-length", 0)) > self.limits.bytes:
            raise too_large
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > self.limits.bytes:
                raise too_large
        return bytes(body)

    async def asked(self, request: Request) -> dict[str, Any]:
        """The JSON object of a request; raises `HTTPException` 400 for anything else, and as `body`."""
        body = await self.body(request)
        try:
            asked = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise HTTPException(400, f"the request cannot be read: {error}") from error
        if not isinstance(asked, dict):
            raise HTTPException(400, f"the request must be a JSON object, got {shown(asked)}")
        return asked

    @property
    def limit(self) -> str:
        """The largest request, in words."""
        return f"{self.limits.bytes / 2**20:g} MiB, the limit of this service"

    async def _check_token(self, request: Request) -> None:
        if self._token is None:
            return
        given = request.headers.get("authorization", "").encode()
        if not hmac.compare_digest(given, f"Bearer {self._token}".encode()):
            raise HTTPException(401, "a token is needed", {"WWW-Authenticate": "Bearer"})
