"""The page of the playground and what it asks: two searches for a need, and the marks of the person who reads them.

    GET  /       the page: its style and script are in it, and it asks no other host
    GET  /info   who writes, retrievers, needs to try, the tally of the marks
    POST /try    {"need": "warm coat", "retriever": "bm25"} -> both queries, both lists, what moved
    POST /mark   {"trial": "...", "better": "raw", "rewritten" or "same", "blind": true} -> the tally

Without a token, requests must name this machine as their host, so that no site can reach it under a name of its own;
with or without one, what the page of another site sends is refused.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
import threading
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from time import perf_counter
from typing import Any
from urllib.parse import urlsplit

from fastapi import HTTPException, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse
from starlette.concurrency import run_in_threadpool

from recr1.env import Environment
from recr1.errors import UserError
from recr1.serve.playground.marks import BETTER, Mark, Marks
from recr1.serve.rewriter import Rewriter
from recr1.serve.table import normal
from retrievers.service.paths import HTTPService, Limits, Metrics

SHOWN = 10
"""Items of a list that are shown; their place in the other list is looked up as deep as the recipe searches."""
LONGEST, KEPT = 2000, 1000
"""Characters of a need, and pairs of lists that can still be marked."""
LIMITS = Limits(bytes=2**16, connections=64)


class Playground(HTTPService):
    """The application."""

    def __init__(
        self, rewriter: Rewriter, envs: Mapping[str, Environment], marks: Marks, needs: Sequence[str], token: str | None
    ) -> None:
        """`envs` are by the names of their retrievers, the recipe's own first; `needs` are those to try."""
        super().__init__(token=token, limits=LIMITS)
        self.metrics = Metrics("playground", lambda: 0)
        self._rewriter, self._envs, self._marks, self._needs = rewriter, envs, marks, needs
        self._lock, self._trials = threading.Lock(), OrderedDict[str, tuple[str, str, str]]()
        self._page = Path(__file__).with_name("page.html").read_text(encoding="utf-8")
        self._headers = _headers(self._page)
        self.api.middleware("http")(self._guarded)
        self.api.add_api_route("/", self._home)
        self.post("/try", self._try)
        self.post("/mark", self._mark)

    async def info(self) -> dict[str, Any]:
        """What the page shows before anything is searched."""
        return {
            "by": self._rewriter.by,
            "gate": self._rewriter.gate is not None,
            "retrievers": list(self._envs),
            "longest": LONGEST,
            "examples": self._needs,
            "marks": self._marks.tally(),
            "file": str(self._marks.path),
        }

    async def _guarded(self, request: Request, answer: Callable[[Request], Awaitable[Response]]) -> Response:
        host, origin = request.headers.get("host", ""), request.headers.get("origin")
        if (self._token is None and not _is_here(host)) or (origin is not None and urlsplit(origin).netloc != host):
            return JSONResponse({"detail": "refused: this request comes from another site"}, 403)
        response = await answer(request)
        response.headers.update(self._headers)
        return response

    async def _home(self) -> Response:
        return HTMLResponse(self._page)

    async def _try(self, request: Request) -> Response:
        asked = await self.asked(request)
        need, name = asked.get("need"), asked.get("retriever")
        # JSON can have half of a surrogate pair, which no file, tokenizer or engine can take.
        if not isinstance(need, str) or len(need) > LONGEST or not normal(need) or re.search(r"[\ud800-\udfff]", need):
            raise HTTPException(400, f"a need must be text of 1 to {LONGEST:,} characters")
        if not isinstance(name, str) or name not in self._envs:
            raise HTTPException(400, f"retriever must be one of: {', '.join(self._envs)}")
        try:
            return JSONResponse(await run_in_threadpool(self._tried, need, name))
        except (ConnectionError, TimeoutError, ValueError) as error:  # of the retriever: a rewriter raises none
            raise HTTPException(502, str(error)) from error

    def _tried(self, need: str, name: str) -> dict[str, Any]:
        env = self._envs[name]
        with self._lock:  # a retriever need not search for two at once
            [written] = self._rewriter([need])
            began = perf_counter()
            rows_2K = env.search([need, written.query]).rows_QK.tolist()
            ms, trial = (perf_counter() - began) * 1000, secrets.token_urlsafe(12)
            self._trials[trial] = need, written.query, name
            while len(self._trials) > KEPT:
                self._trials.popitem(last=False)
        raw, rewritten = ([row for row in rows_K if row >= 0] for rows_K in rows_2K)
        lists = {"raw": _list(env, raw, rewritten), "rewritten": _list(env, rewritten, raw)}
        differ = written.query != need
        return {**written._asdict(), "searched_ms": ms, "lists": lists, "trial": trial if differ else None}

    async def _mark(self, request: Request) -> Response:
        asked = await self.asked(request)
        better, trial = asked.get("better"), self._trials.get(str(asked.get("trial")))
        if better not in BETTER:
            raise HTTPException(400, f"better must be one of: {', '.join(BETTER)}")
        if trial is None:
            raise HTTPException(404, "these lists are no longer kept: search again, then mark")
        (need, query, name), now = trial, datetime.now(UTC).isoformat(timespec="seconds")
        blind, by = asked.get("blind") is True, self._rewriter.by
        try:
            return JSONResponse(self._marks.add(Mark(need, need, query, name, better, now, blind, by)))
        except UserError as error:
            raise HTTPException(507, str(error)) from error


def _list(env: Environment, rows: Sequence[int], others: Sequence[int]) -> list[dict[str, Any]]:
    """The first items of a list, and the rank of each in the other one."""
    rank, catalog = {row: rank for rank, row in enumerate(others, start=1)}, env.task.catalog
    return [{"id": catalog.ids[row], "title": catalog.title(row), "other": rank.get(row)} for row in rows[:SHOWN]]


def _is_here(host: str) -> bool:
    """Whether the header Host names this machine; its port is another one behind a tunnel."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or ip_address(name).is_loopback
    except ValueError:
        return False


def _headers(page: str) -> dict[str, str]:
    """Headers of all answers: the page runs its own style and script, by their hashes, and asks its own host alone."""
    texts = re.search("<style>(.*)</style>.*<script>(.*)</script>", page, re.DOTALL)
    assert texts
    style, script = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in texts.groups())
    own = f"style-src 'sha256-{style}'; script-src 'sha256-{script}'; connect-src 'self'; img-src data:"
    rest = "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
    more = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store"}
    return {"Content-Security-Policy": f"default-src 'none'; {own}; {rest}", **more}
