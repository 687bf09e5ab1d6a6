"""Any engine that answers JSON over HTTP: a template of the request, with headers, and paths into the answer."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from math import isfinite
from time import monotonic
from typing import Any, Literal
from urllib.parse import urlsplit

from retrievers.base import Catalog
from retrievers.errors import PermanentError, TransientError, shown
from retrievers.options import PositiveFloat, PositiveInt, checked
from retrievers.remote.answers import Answer, RemoteRetriever
from retrievers.remote.client import EngineClient, fault_of_status, require

SHOWN = 300
"""Characters of a faulty answer that a message shows."""


@checked
class HTTP(RemoteRetriever):
    """Any JSON endpoint, described by its request and its answer.

    It sends one request per query, several at a time, and reads the items of the answer in the order of their scores,
    or in the engine's own order where it gives none (the scores are then 1, 1/2, 1/3 ...). Equal scores are put in the
    order of rows; the engine chooses which of them it returns. Its ids must be the catalog's: an answer with an unknown
    id is an error.

    `{query}` and `{k}` in `params` and in the strings of `body` become the query and the number of items; the text
    "{k}" alone becomes a number. A transient error is tried again, then raised as `EngineError`. A blank query finds
    nothing and is not sent. Searching is safe from several threads.

    Args:
        catalog: What the engine searches.
        url: The address, without a password or token in it.
        method: The HTTP method.
        headers: Sent with each request. `${NAME}` in a value is read from the environment.
        params: The query string, name -> value.
        body: What a "POST" sends as JSON.
        items: The path to the list of items in the answer, such as "hits.hits"; "" where the answer is that list.
        id: The path to the id in an item; "" where an item is its id.
        score: The path to the score in an item; null where there is none.
        timeout: Seconds for one request and its whole answer.
        attempts: How often one query is sent before its error is raised, with growing pauses.
        rate: Requests per second of each process; null for no limit.
        threads: Requests at the same time.
        cooldown: Seconds without requests after three queries in a row failed in every attempt.
        max_chars: A longer query is cut here.
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
        timeout: PositiveFloat = 10.0,
        attempts: PositiveInt = 6,
        rate: PositiveFloat | None = None,
        threads: PositiveInt = 8,
        cooldown: PositiveFloat = 30.0,
        max_chars: PositiveInt = 1024,
    ) -> None:
        require("httpx", "http", "remote")
        self._catalog, self._url, self._method = catalog, url, method
        self._headers, self._params, self._body = Headers(headers), params or {}, body
        self._items, self._id, self._score = items, id, score
        self._timeout, self._threads, self._max_chars = timeout, threads, max_chars
        address = urlsplit(url)._replace(query="", fragment="").geturl()
        self._engine = EngineClient("http", address, attempts=attempts, rate=rate, threads=threads, cooldown=cooldown)
        self._connect()

    @staticmethod
    def check_options(options: Mapping[str, Any]) -> list[str]:
        """What is wrong with the options, before anything is asked."""
        templates = [options.get("params") or {}, options.get("body") or {}]
        problems = address_problems("url", options.get("url", "http://host"))
        if not any(map(has_query, templates)):
            problems.append("body: must contain {query} in one of its texts, or params; else all queries are the same")
        if options.get("method") == "GET" and options.get("body"):
            problems.append("body: a GET request has no body; use params, or method=POST")
        return problems + Headers(options.get("headers")).problems()

    def _connect(self) -> None:
        import httpx

        limits = httpx.Limits(max_connections=self._threads, max_keepalive_connections=self._threads)
        self._session = httpx.Client(headers=self._headers.sent(), timeout=self._timeout, limits=limits)

    def _ask(self, text: str, k: int) -> Answer:
        raw = self._fetch(filled(self._params, text, k, as_text=True), filled(self._body, text, k))
        try:
            answer = json.loads(raw)
        except (ValueError, RecursionError) as error:
            raise TransientError(f"the answer is not JSON ({error}): {self._shown(raw)}") from error
        found = _at(answer, self._items, "items")
        if not isinstance(found, list):
            raise PermanentError(f"items: expected a list at {self._items!r} in the answer, got {_named(found)}")
        return [self._item(item, place) for place, item in enumerate(found)]

    def _fetch(self, params: dict[str, str], body: Any) -> bytes:
        """The body of the answer; raises `TransientError` (also for a late one) or `PermanentError`."""
        import httpx

        deadline = monotonic() + self._timeout
        content = {} if body is None else {"json": body}
        try:
            with self._session.stream(self._method, self._url, params=params or None, **content) as response:
                raw = bytearray()
                for chunk in response.iter_bytes():
                    raw += chunk
                    if monotonic() > deadline:  # httpx limits each chunk only
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
            raise PermanentError(f"id: expected a text or an integer at {self._id!r} of an item, got {_named(found)}")
        if self._score is None:
            return str(found), 1 / (place + 1)
        score = _at(item, self._score, "score")
        if isinstance(score, bool) or not isinstance(score, int | float) or not isfinite(score):
            what = f"expected a finite number at {self._score!r} of item {shown(found)}, got {_named(score)}"
            raise PermanentError(f"score: {what}")
        return str(found), float(score)

    def _shown(self, raw: bytes) -> str:
        """The beginning of an answer, for a message, without secrets: some engines repeat a wrong token."""
        return f"{self._headers.without_secrets(raw.decode('utf-8', 'replace'))[:SHOWN]!r}"


def _at(value: Any, path: str, option: str) -> Any:
    """The value at a path of keys with dots between; a number is a place in a list."""
    for key in path.split(".") if path else ():
        if isinstance(value, dict) and key in value:
            value = value[key]
        elif isinstance(value, list) and key.isdecimal() and int(key) < len(value):
            value = value[int(key)]
        else:
            keys = isinstance(value, dict)
            what = f"has {', '.join(map(repr, value)) or 'nothing'}" if keys else f"is {_named(value)}"
            raise PermanentError(f"{option}: the answer has no {path!r}: what should hold {key!r} {what}")
    return value


def _named(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:60]}..."


PLACES = re.compile(r"\{(query|k)\}")
VARIABLE = re.compile(r"\$\{(\w+)\}")
SECRET = re.compile(r"auth|cookie|token|secret|key|password", re.IGNORECASE)


def filled(template: Any, text: str, k: int, *, as_text: bool = False) -> Any:
    """A template with its places filled in, so that nothing in the query can be taken for a place or for JSON."""
    if isinstance(template, dict):
        return {name: filled(value, text, k, as_text=as_text) for name, value in template.items()}
    if isinstance(template, list):
        return [filled(value, text, k, as_text=as_text) for value in template]
    if template == "{k}" and not as_text:
        return k
    if isinstance(template, str):
        return PLACES.sub(lambda place: text if place[1] == "query" else str(k), template)
    return template


def has_query(template: Any) -> bool:
    """Whether a text of a template has a place for the query."""
    return bool(filled(template, "a", 1) != filled(template, "b", 1))


def address_problems(option: str, url: str) -> list[str]:
    """What is wrong with the address of an engine, under the name of its option."""
    parts, what = urlsplit(url), ""
    if parts.scheme not in ("http", "https") or not parts.hostname:
        what = f"must be a whole address, as http://host:9200/search, got {shown(url)}"
    elif parts.username or parts.password:
        what = "holds a user or password, which would be written to the run folder; use a header with ${NAME}"
    elif PLACES.search(url):
        what = "{query} and {k} belong into params or body, where they are quoted"
    return [f"{option}: {what}"] if what else []


class Headers:
    """Headers whose secrets stay in the environment, also when pickled: `${NAME}` is read when a value is sent."""

    def __init__(self, templates: Mapping[str, str] | None) -> None:
        self._templates = dict(templates or {})

    def problems(self) -> list[str]:
        """What is wrong with them here: a variable that is not set, or a secret that would be written to disk."""
        problems = []
        for name, value in self._templates.items():
            missing = [variable for variable in VARIABLE.findall(value) if variable not in os.environ]
            if missing:
                problems.append(f"headers: '{name}' needs the environment variable {missing[0]}, which is not set")
            elif SECRET.search(name) and not VARIABLE.search(value):
                remedy = "take it from the environment as ${NAME}"
                problems.append(f"headers: '{name}' would be written to the run folder; {remedy}")
        return problems

    def sent(self) -> dict[str, str]:
        """The headers with their secrets; raises `ValueError` where a variable is not set."""
        problems = self.problems()
        if problems:  # an unpickled one may have come to where the environment is another
            raise ValueError(problems[0])
        return {name: VARIABLE.sub(lambda found: os.environ[found[1]], text) for name, text in self._templates.items()}

    def without_secrets(self, text: str) -> str:
        """A text for messages: some engines repeat a wrong token."""
        for name in VARIABLE.findall(" ".join(self._templates.values())):
            if os.environ.get(name):
                text = text.replace(os.environ[name], f"${{{name}}}")
        return text
