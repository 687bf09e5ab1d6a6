"""Any engine that answers JSON over HTTP, by a template of the request and paths into the answer."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from math import isfinite
from time import monotonic
from typing import Any, Literal
from urllib.parse import urlsplit

from retrievers.base import Catalog, Hits, Query
from retrievers.line import Line
from retrievers.remote import Answer, Passing, Refused, fault_of_status, line_problems, require, search_remotely

PLACES = re.compile(r"\{(query|k)\}")
VARIABLE = re.compile(r"\$\{(\w+)\}")
SECRET = re.compile(r"auth|cookie|token|secret|key|password", re.IGNORECASE)
SHOWN = 300
"""Characters of a faulty answer that a message shows."""


class HTTP:
    """Any JSON endpoint, described by its request and its answer.

    For each query of a search it sends one request, several at a time, and reads the items of the answer in the order
    of their scores, or in the engine's own where it gives none (the scores are then 1, 1/2, 1/3 ...). Equal scores are
    put in the order of rows; which of them stand before the last place that was asked for is the engine's choice. The
    engine's ids must be the catalog's: an answer with an unknown id is an error that says how many there are.

    `{query}` and `{k}` in `params` and in the strings of `body` become the query and how many items are wanted; the
    text "{k}" alone becomes a number. What fails in a way that may pass is tried again, then raised as `RemoteError`; a
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
        problems = self.check_options(
            {"url": url, "method": method, "headers": headers, "params": params, "body": body}
            | {"timeout": timeout, "max_chars": max_chars}
        )
        if problems:
            raise ValueError(problems[0])
        parts = urlsplit(url)
        self._catalog, self._url, self._method = catalog, url, method
        self._headers, self._params, self._body = headers or {}, params or {}, body
        self._items, self._id, self._score = items, id, score
        self._timeout, self._threads, self._max_chars = timeout, threads, max_chars
        self._line = Line(
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
        problems = _url_problems(options.get("url", "http://host")) + line_problems(options)
        if not any("query" in PLACES.findall(text) for text in map(_spelled, templates)):
            problems.append("body: must hold {query} in one of its texts, or params must; else all queries are one")
        if options.get("method") == "GET" and options.get("body"):
            problems.append("body: a GET request has none; use params, or method=POST")
        for name, value in (options.get("headers") or {}).items():
            problems += _header_problems(name, value)
        return problems

    def search(self, queries: Sequence[Query], k: int) -> Hits:
        """Hits of shape (len(queries), k).

        Raises:
            ValueError: For a query that is not text or a k below 1.
            RemoteError: Where a query got no usable answer.
        """
        return search_remotely(
            self._line, self._catalog, queries, k, lambda text: self._ask(text, k), max_chars=self._max_chars
        )

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("_client", "_secrets")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._connect()

    def _connect(self) -> None:
        import httpx

        problems = [problem for name, value in self._headers.items() for problem in _header_problems(name, value)]
        if problems:  # an unpickled one may have come to where the environment is another
            raise ValueError(problems[0])
        names = {name for value in self._headers.values() for name in VARIABLE.findall(value)}
        self._secrets = {name: os.environ[name] for name in names}
        headers = {
            name: VARIABLE.sub(lambda found: self._secrets[found[1]], value) for name, value in self._headers.items()
        }
        limits = httpx.Limits(max_connections=self._threads, max_keepalive_connections=self._threads)
        self._client = httpx.Client(headers=headers, timeout=self._timeout, limits=limits)

    def _ask(self, text: str, k: int) -> Answer:
        raw = self._fetch(_filled(self._params, text, k, as_text=True), _filled(self._body, text, k))
        try:
            answer = json.loads(raw)
        except (ValueError, RecursionError) as error:
            raise Passing(f"the answer is no JSON ({error}): {self._shown(raw)}") from error
        found = _at(answer, self._items, "items")
        if not isinstance(found, list):
            raise Refused(f"items: there is no list at {self._items!r} in the answer, but {_named(found)}")
        return [self._item(item, place) for place, item in enumerate(found)]

    def _fetch(self, params: dict[str, str], body: Any) -> bytes:
        """The body of the answer; raises `Passing` or `Refused` for any other end, a late one included."""
        import httpx

        deadline = monotonic() + self._timeout
        content = {} if body is None else {"json": body}
        try:
            with self._client.stream(self._method, self._url, params=params or None, **content) as response:
                raw = bytearray()
                for chunk in response.iter_bytes():
                    raw += chunk
                    if monotonic() > deadline:  # httpx's own limit is on each chunk
                        raise Passing(f"the answer was not complete after {self._timeout:g} s")
        except httpx.TimeoutException as error:
            raise Passing(f"no answer within {self._timeout:g} s ({type(error).__name__})") from error
        except (httpx.TransportError, httpx.DecodingError) as error:
            raise Passing(f"{type(error).__name__}: {error}") from error
        if not 200 <= response.status_code < 300:
            what = f"status {response.status_code}: {self._shown(bytes(raw))}"
            raise fault_of_status(response.status_code, what, response.headers.get("retry-after"))
        return bytes(raw)

    def _item(self, item: Any, place: int) -> tuple[str, float]:
        found = _at(item, self._id, "id")
        if isinstance(found, bool) or not isinstance(found, str | int):
            raise Refused(f"id: the id of an item at {self._id!r} is {_named(found)}, and not a text or integer")
        if self._score is None:
            return str(found), 1 / (place + 1)
        score = _at(item, self._score, "score")
        if isinstance(score, bool) or not isinstance(score, int | float) or not isfinite(score):
            raise Refused(f"score: the score of {found!r} at {self._score!r} is {_named(score)}, and not a number")
        return str(found), float(score)

    def _shown(self, raw: bytes) -> str:
        """The beginning of an answer, for a message; some engines repeat a token that they refuse."""
        text = raw.decode("utf-8", "replace")
        for name, secret in self._secrets.items():
            text = text.replace(secret, f"${{{name}}}") if secret else text
        return f"{text[:SHOWN]!r}"


def _filled(template: Any, text: str, k: int, *, as_text: bool = False) -> Any:
    """A template with its places filled in, so that nothing in the query can be taken for a place or for JSON."""
    if isinstance(template, dict):
        return {name: _filled(value, text, k, as_text=as_text) for name, value in template.items()}
    if isinstance(template, list):
        return [_filled(value, text, k, as_text=as_text) for value in template]
    if template == "{k}" and not as_text:
        return k
    if isinstance(template, str):
        return PLACES.sub(lambda place: text if place[1] == "query" else str(k), template)
    return template


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
            raise Refused(f"{option}: the answer has no {path!r}: what should hold {key!r} {what}")
    return value


def _named(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:60]}..."


def _spelled(template: Any) -> str:
    """The texts of a template, its keys left out, one after the other."""
    if isinstance(template, dict):
        return " ".join(map(_spelled, template.values()))
    if isinstance(template, list):
        return " ".join(map(_spelled, template))
    return template if isinstance(template, str) else ""


def _url_problems(url: str) -> list[str]:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return [f"url: must be a whole address, as http://host:9200/search, got {url!r}"]
    if parts.username or parts.password:
        return ["url: holds a user or password, which would stand in the run folder; send it as a header with ${NAME}"]
    if PLACES.search(url):
        return ["url: {query} and {k} belong into params or body, where they are quoted"]
    return []


def _header_problems(name: str, value: str) -> list[str]:
    missing = [variable for variable in VARIABLE.findall(value) if variable not in os.environ]
    if missing:
        return [f"headers: '{name}' needs the environment variable {missing[0]}, which is not set"]
    if SECRET.search(name) and not VARIABLE.search(value):
        return [f"headers: '{name}' would stand in the run folder; write its secret as ${{NAME}}, from the environment"]
    return []
