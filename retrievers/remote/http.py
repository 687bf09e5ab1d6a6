"""Any engine that answers JSON over HTTP, by a template of the request and paths into the answer."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from math import isfinite
from time import monotonic
from typing import Any, Literal
from urllib.parse import urlsplit

from retrievers.base import Catalog, Hits, Query
from retrievers.errors import PermanentError, TransientError
from retrievers.remote.answers import Answer, search_remotely
from retrievers.remote.client import EngineClient, client_problems, fault_of_status, require
from retrievers.remote.request import Headers, address_problems, filled, has_query

SHOWN = 300
"""Characters of a faulty answer that a message shows."""


class HTTP:
    """Any JSON endpoint, described by its request and its answer.

    For each query of a search it sends one request, several at a time, and reads the items of the answer in the order
    of their scores, or in the engine's own where it gives none (the scores are then 1, 1/2, 1/3 ...). Equal scores are
    put in the order of rows; which of them stand before the last place that was asked for is the engine's choice. The
    engine's ids must be the catalog's: an answer with an unknown id is an error that says how many there are.

    `{query}` and `{k}` in `params` and in the strings of `body` become the query and how many items are wanted; the
    text "{k}" alone becomes a number. What fails in a way that may pass is tried again, then raised as `EngineError`; a
    blank query finds nothing and is not sent. Searching is safe from several threads. A pickled retriever reads the
    environment variables again.

    Args:
        catalog: What the engine searches.
        url: The address, without a password or token in it.
        method: How it is asked.
        headers: Sent with each request. `${NAME}` in a value is read from the environment, so that a token stands in no
            recipe, run folder or message.
        params: The query string, name -> value.
        body: What is sent as JSON, of "POST".
        items: The path to the list of items in the answer, such as "hits.hits"; "" where the answer is that list.
        id: The path to the id in an item; "" where an item is its id.
        score: The path to the score in an item; null where there is none.
        timeout: Seconds for one request and its whole answer.
        attempts: How often one query is sent before its fault is raised, with growing pauses.
        rate: Requests a second, in each process; null for no limit.
        threads: Requests at a time.
        cooldown: Seconds that an engine is left alone after three queries in a row outlived their attempts.
        max_chars: Where a longer query is cut.

    Raises:
        ValueError: For an option that cannot be used, with what can.
    """

    def __init__(
        self,
        catalog: Catalog,
        *,
        url: str,
        method: Literal["GET", "POST"] = "POST",
        headers: dict[str, str] | None = None,
        params: dict[str, str] | None = None,
        body: dict[str, Any] | None = None,
        items: str = "hits",
        id: str = "id",
        score: str | None = "score",
        timeout: float = 10.0,
        attempts: int = 6,
        rate: float | None = None,
        threads: int = 8,
        cooldown: float = 30.0,
        max_chars: int = 1024,
    ) -> None:
        require("httpx", "http", "remote")
        problems = self.check_options(locals())
        if problems:
            raise ValueError(problems[0])
        parts = urlsplit(url)
        self._catalog, self._url, self._method = catalog, url, method
        self._headers, self._params, self._body = Headers(headers), params or {}, body
        self._items, self._id, self._score = items, id, score
        self._timeout, self._threads, self._max_chars = timeout, threads, max_chars
        self._engine = EngineClient(
            "http",
            f"{parts.scheme}://{parts.netloc}{parts.path}",
            attempts=attempts,
            rate=rate,
            threads=threads,
            cooldown=cooldown,
        )
        self._connect()

    @staticmethod
    def check_options(options: Mapping[str, Any]) -> list[str]:
        """What is wrong with the options, before anything is asked."""
        templates = [options.get("params") or {}, options.get("body") or {}]
        problems = address_problems("url", options.get("url", "http://host")) + client_problems(options)
        if not any(map(has_query, templates)):
            problems.append("body: must hold {query} in one of its texts, or params must; else all queries are one")
        if options.get("method") == "GET" and options.get("body"):
            problems.append("body: a GET request has none; use params, or method=POST")
        return problems + Headers(options.get("headers")).problems()

    def search(self, queries: Sequence[Query], k: int) -> Hits:
        """Hits of shape (len(queries), k).

        Raises:
            ValueError: For a query that is not text or a k below 1.
            EngineError: Where a query got no usable answer.
        """
        return search_remotely(
            self._engine, self._catalog, queries, k, lambda text: self._ask(text, k), max_chars=self._max_chars
        )

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_client"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._connect()

    def _connect(self) -> None:
        import httpx

        limits = httpx.Limits(max_connections=self._threads, max_keepalive_connections=self._threads)
        self._client = httpx.Client(headers=self._headers.sent(), timeout=self._timeout, limits=limits)

    def _ask(self, text: str, k: int) -> Answer:
        raw = self._fetch(filled(self._params, text, k, as_text=True), filled(self._body, text, k))
        try:
            answer = json.loads(raw)
        except (ValueError, RecursionError) as error:
            raise TransientError(f"the answer is no JSON ({error}): {self._shown(raw)}") from error
        found = _at(answer, self._items, "items")
        if not isinstance(found, list):
            raise PermanentError(f"items: there is no list at {self._items!r} in the answer, but {_named(found)}")
        return [self._item(item, place) for place, item in enumerate(found)]

    def _fetch(self, params: dict[str, str], body: Any) -> bytes:
        """The body of the answer; raises `TransientError` (also for a late one) or `PermanentError`."""
        import httpx

        deadline = monotonic() + self._timeout
        content = {} if body is None else {"json": body}
        try:
            with self._client.stream(self._method, self._url, params=params or None, **content) as response:
                raw = bytearray()
                for chunk in response.iter_bytes():
                    raw += chunk
                    if monotonic() > deadline:  # httpx's own limit is on each chunk
                        raise TransientError(f"the answer was not complete after {self._timeout:g} s")
        except httpx.TimeoutException as error:
            raise TransientError(f"no answer within {self._timeout:g} s ({type(error).__name__})") from error
        except (httpx.TransportError, httpx.DecodingError) as error:
            raise TransientError(f"{type(error).__name__}: {error}") from error
        if not 200 <= response.status_code < 300:
            what = f"status {response.status_code}: {self._shown(bytes(raw))}"
            raise fault_of_status(response.status_code, what, response.headers.get("retry-after"))
        return bytes(raw)

    def _item(self, item: Any, place: int) -> tuple[str, float]:
        found = _at(item, self._id, "id")
        if isinstance(found, bool) or not isinstance(found, str | int):
            raise PermanentError(f"id: the id of an item at {self._id!r} is {_named(found)}, and not a text or integer")
        if self._score is None:
            return str(found), 1 / (place + 1)
        score = _at(item, self._score, "score")
        if isinstance(score, bool) or not isinstance(score, int | float) or not isfinite(score):
            raise PermanentError(
                f"score: the score of {found!r} at {self._score!r} is {_named(score)}, and not a number"
            )
        return str(found), float(score)

    def _shown(self, raw: bytes) -> str:
        """The beginning of an answer, for a message; some engines repeat a token that they refuse."""
        return f"{self._headers.without_secrets(raw.decode('utf-8', 'replace'))[:SHOWN]!r}"


def _at(value: Any, path: str, option: str) -> Any:
    """What stands at a path of keys with dots between; a number is a place in a list."""
    for key in path.split(".") if path else ():
        if isinstance(value, dict) and key in value:
            value = value[key]
        elif isinstance(value, list) and key.isdecimal() and int(key) < len(value):
            value = value[int(key)]
        else:
            what = (
                f"has {', '.join(map(repr, value)) or 'nothing'}" if isinstance(value, dict) else f"is {_named(value)}"
            )
            raise PermanentError(f"{option}: the answer has no {path!r}: what should hold {key!r} {what}")
    return value


def _named(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:60]}..."
