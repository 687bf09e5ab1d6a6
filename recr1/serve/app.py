"""The service behind `recr1 serve`: from a need to the query to search for, in time whatever the model does.

    GET  /healthz              200 while the process runs
    GET  /readyz               200 once the model was loaded, 503 before
    GET  /info                 what is served, and the limits, as JSON
    GET  /metrics              for Prometheus
    POST /rewrite              {"need": "..."} -> {"query", "source", "reason", "ms"};
                               {"needs": [...]} -> {"rewrites": [...]}
    POST /v1/chat/completions  as OpenAI's: the need is the last user message, and the answer's content is the query

All but the first two need the token where there is one. Imported only where something is served.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import HTTPException, Request, Response
from fastapi.exception_handlers import http_exception_handler
from prometheus_client import Counter, Gauge, Histogram
from starlette.exceptions import HTTPException as AnyHTTPException

from recr1.errors import shown
from recr1.serve.bundle import Bundle
from recr1.serve.model import Model, RewriteLimits
from recr1.serve.rewriter import TOO_LONG, Known, Rewrite, raw, rewrite_of
from recr1.serve.table import Entry, Table
from retrievers.service.batching import SIZES
from retrievers.service.paths import RETRY_AFTER, HTTPService, Metrics, beside

LATE = "deadline"
"""A reason for the raw need, beside those of `recr1.serve.rewriter` and `recr1.serve.model`."""
LONGEST = 2000
"""Characters of a need; a longer one is searched as it came, and not kept."""
OPENAI = "/v1/"
"""The beginning of the paths whose errors have the form of OpenAI's."""


class RewriteMetrics(Metrics):
    """The metrics of rewriting."""

    def __init__(self, model: Model) -> None:
        super().__init__("rewrite", lambda: model.waiting)
        own = self.registry
        self.rewrites = Counter("recr1_rewrites", "Needs by source and reason", ["source", "reason"], registry=own)
        what = "Needs that the model got at once"
        self.batches = Histogram("recr1_batch_needs", what, buckets=SIZES, registry=own)
        self.model_seconds = Histogram("recr1_model_seconds", "Seconds of the model for a batch", registry=own)
        Gauge("recr1_model_up", "Whether the model answers", registry=own).set_function(lambda: model.ready)
        what = "How often the model was started"
        Gauge("recr1_model_starts", what, registry=own).set_function(lambda: model.starts)


class RewriteService(HTTPService):
    """The application. Clients must send `token`, if it is set.

    `cache` is a file that keeps what the model writes; without one it is kept in memory alone. `load` are the options
    of `Rewriter.load` for the process with the model.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        table: Table | None = None,
        cache: Path | None = None,
        load: Mapping[str, Any] | None = None,
        token: str | None = None,
        limits: RewriteLimits | None = None,
    ) -> None:
        self.limits: RewriteLimits = limits or RewriteLimits()
        super().__init__(token=token, limits=self.limits)
        self._bundle, self._known = bundle, Known(table, disk=cache, by=bundle.id)
        asked = {"bundle": str(bundle.path.resolve()), "facts": bundle.facts, **(load or {})}
        self.model = Model(asked, self.limits, self._wrote)
        self.metrics: RewriteMetrics = RewriteMetrics(self.model)
        self.post("/rewrite", self._rewrite)
        self.post(f"{OPENAI}chat/completions", self._chat)
        self.api.add_exception_handler(AnyHTTPException, _refusal)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The process with the model runs."""
        async with beside(self.model.run()):
            yield

    def check_ready(self) -> None:
        """Raise `HTTPException` 503 until the model is loaded; a model that fails later takes no answer away."""
        if not self.model.was_ready:
            raise HTTPException(503, "the model is being loaded; needs are answered as they came", RETRY_AFTER)

    async def info(self) -> dict[str, Any]:
        """What is served, and the limits."""
        named = ("made", "recr1", "run", "policy", "format")
        facts = {name: self._bundle.facts[name] for name in named if name in self._bundle.facts}
        table = self._known.table
        process = {"ready": self.model.ready, "starts": self.model.starts, "process": self.model.process}
        rows = len(table.entries) if table else 0
        return {"bundle": self._bundle.id, **facts, "table": rows, "model": process, "limits": vars(self.limits)}

    async def rewrites(self, needs: Sequence[str]) -> list[Rewrite]:
        """The rewrite of each need, not later than the deadline."""
        began, deadline = time.perf_counter(), time.monotonic() + self.limits.deadline
        found = [self._known_or_asked(need, deadline) for need in needs]
        if asked := {one for one in found if isinstance(one, asyncio.Future)}:
            await asyncio.wait(asked, timeout=max(0.0, deadline - time.monotonic()))
        made = [_made(*pair) for pair in zip(needs, found, strict=True)]
        ms = (time.perf_counter() - began) * 1000
        for one in made:
            self.metrics.rewrites.labels(one.source, one.reason).inc()
        return [one._replace(ms=ms) for one in made]

    def _known_or_asked(self, need: str, deadline: float) -> Rewrite | Entry | asyncio.Future[Entry]:
        if len(need) > LONGEST:
            return raw(need, TOO_LONG)
        return self._known.known(need) or self.model.ask(need, deadline)

    def _wrote(self, entries: Sequence[Entry], seconds: float) -> None:
        self.metrics.batches.observe(len(entries))
        self.metrics.model_seconds.observe(seconds)
        asyncio.get_running_loop().run_in_executor(None, self._known.save, self._known.remember(entries))

    async def _rewrite(self, request: Request) -> Response:
        asked = await self.asked(request)
        needs = asked.get("needs", [asked.get("need")])
        if not isinstance(needs, list) or not all(isinstance(need, str) for need in needs):
            wanted = 'the body must be {"need": "red shoe"} or {"needs": ["red shoe", "tent"]}'
            raise HTTPException(400, f"{wanted}, with texts, got {shown(asked)}")
        made = [_written(one) for one in await self.rewrites(needs)]
        return _json({"rewrites": made} if "needs" in asked else made[0])

    async def _chat(self, request: Request) -> Response:
        asked = await self.asked(request)
        if asked.get("stream") or asked.get("n", 1) != 1:
            raise HTTPException(400, "a rewrite is one whole answer: leave out stream and n")
        [one] = await self.rewrites([_last_user_message(asked.get("messages"))])
        message = {"role": "assistant", "content": one.query}
        answer = {
            "id": f"chatcmpl-{time.time_ns():x}",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": self._bundle.id,
            "choices": [{"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}],
            "recr1": _written(one),
        }
        return _json(answer)


def _made(need: str, found: Rewrite | Entry | asyncio.Future[Entry]) -> Rewrite:
    if isinstance(found, Rewrite):
        return found
    entry = found if isinstance(found, Entry) else found.result() if found.done() else raw(need, LATE)
    return rewrite_of(need, "model", entry)


def _written(one: Rewrite) -> dict[str, Any]:
    return {"query": one.query, "source": one.source, "reason": one.reason, "ms": round(one.ms, 3)}


def _json(answer: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    # Only ASCII is sent as it is: half of a surrogate pair in a need must not end in an error.
    return Response(json.dumps(answer), status, headers, media_type="application/json")


def _last_user_message(messages: object) -> str:
    """The text of the last message of a user, which may be in parts; raises `HTTPException` 400."""
    listed = messages if isinstance(messages, list) else []
    said = [one.get("content") for one in listed if isinstance(one, dict) and one.get("role") == "user"]
    last = said[-1] if said else None
    if isinstance(last, list):
        texts = [part.get("text") for part in last if isinstance(part, dict)]
        last = "\n".join(text for text in texts if isinstance(text, str))
    if not isinstance(last, str):
        raise HTTPException(400, f"messages must have a user message with a text, got {shown(messages)}")
    return last


async def _refusal(request: Request, error: Exception) -> Response:
    """The answer to a request that is refused, in the form of its path."""
    assert isinstance(error, AnyHTTPException)
    if not request.url.path.startswith(OPENAI):
        return await http_exception_handler(request, error)
    kind = "server_error" if error.status_code >= 500 else "invalid_request_error"
    told = {"message": error.detail, "type": kind, "param": None, "code": None}
    return _json({"error": told}, error.status_code, error.headers)
