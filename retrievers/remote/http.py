"""Any engine that answers JSON over HTTP: a template of the request, with headers, and paths into the answer."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from math import isfinite
from typing import Any, ClassVar, Literal

from retrievers.base import Catalog
from retrievers.errors import PermanentError, told
from retrievers.options import PositiveFloat, PositiveInt, checked
from retrievers.remote.address import connection_problems, proxy_problems, split_query
from retrievers.remote.answers import Answer, RemoteRetriever
from retrievers.remote.client import EngineClient, require
from retrievers.remote.session import SHOWN, Session
from retrievers.secrets import VARIABLE, read, resolved, texts_of


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
        url: The address. `${NAME}` in it, and in headers, params and body, is read from the environment.
        method: The HTTP method.
        headers: Sent with each request.
        params: The query string, name -> value; it is added to one that `url` has.
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
        ca_file: The certificates to trust, in PEM form; null trusts the usual ones.
    """

    filled: ClassVar[tuple[str, ...]] = ("url", "headers", "params", "body")

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
        ca_file: str | None = None,
    ) -> None:
        require("httpx", "http", "remote")
        self._catalog, self._method, self._ca_file = catalog, method, ca_file
        self._url, asked = split_query(url)
        self._headers, self._params, self._body = headers or {}, asked | (params or {}), body
        self._items, self._id, self._score = items, id, score
        self._timeout, self._threads, self._max_chars = timeout, threads, max_chars
        self._engine = EngineClient("http", self._url, attempts=attempts, rate=rate, threads=threads, cooldown=cooldown)
        self._connect()

    @classmethod
    def check_options(cls, options: Mapping[str, Any]) -> list[str]:
        """What is wrong with the options, before anything is asked."""
        problems = connection_problems(options, cls.filled)
        url, params = str(options.get("url", "")), options.get("params") or {}
        if PLACES.search(VARIABLE.sub("", url)):
            problems.append("url: {query} and {k} belong in params or body, where they are quoted")
        if not problems:
            problems += [f"url: {what}" for what in proxy_problems(url)]
            twice = [name for name in split_query(resolved(url))[1] if name in params]
            problems += [f"params.{name}: is in url too: write it in one place" for name in twice]
        if not has_query([params, options.get("body") or {}]):
            problems.append("body: must contain {query} in one of its texts, or params; else all queries are the same")
        if options.get("method") == "GET" and options.get("body"):
            problems.append("body: a GET request has no body; use params, or method=POST")
        return problems

    def _connect(self) -> None:
        resolved({"params": self._params, "body": self._body})  # a variable that is not set is named now
        self._session = Session(self._url, self._headers, self._timeout, self._threads, self._ca_file)

    def _ask(self, text: str, k: int) -> Answer:
        params = filled(self._params, text, k, as_text=True)
        answer = self._session.answer(self._method, "", params, filled(self._body, text, k))
        found = _at(answer, self._items, "items")
        if not isinstance(found, list):
            raise PermanentError(f"items: expected a list at {self._items!r} in the answer, got {_named(found)}")
        return [self._item(item, place) for place, item in enumerate(found)]

    def _item(self, item: Any, place: int) -> tuple[str, float]:
        found = _at(item, self._id, "id")
        if isinstance(found, bool) or not isinstance(found, str | int):
            raise PermanentError(f"id: expected a text or an integer at {self._id!r} of an item, got {_named(found)}")
        if self._score is None:
            return str(found), 1 / (place + 1)
        score = _at(item, self._score, "score")
        if isinstance(score, bool) or not isinstance(score, int | float) or not isfinite(score):
            what = f"expected a finite number at {self._score!r} of item {_named(found)}, got {_named(score)}"
            raise PermanentError(f"score: {what}")
        return str(found), float(score)


def _at(value: Any, path: str, option: str) -> Any:
    """The value at a path of keys with dots between; a number is a place in a list."""
    for key in path.split(".") if path else ():
        if isinstance(value, dict) and key in value:
            value = value[key]
        elif isinstance(value, list) and key.isdecimal() and int(key) < len(value):
            value = value[int(key)]
        else:
            keys = isinstance(value, dict)
            what = f"has {told(', '.join(map(repr, value)), SHOWN) or 'nothing'}" if keys else f"is {_named(value)}"
            raise PermanentError(f"{option}: the answer has no {path!r}: what should hold {key!r} {what}")
    return value


def _named(value: Any) -> str:
    return told(json.dumps(value), 60)


PLACES = re.compile(r"\$\{(?P<variable>\w+)\}|\{(?P<place>query|k)\}")


def filled(template: Any, text: str, k: int, *, as_text: bool = False) -> Any:
    """A template, its places and variables filled in at once: nothing in a query is taken for either, or for JSON."""
    if isinstance(template, dict):
        return {name: filled(value, text, k, as_text=as_text) for name, value in template.items()}
    if isinstance(template, list):
        return [filled(value, text, k, as_text=as_text) for value in template]
    if template == "{k}" and not as_text:
        return k
    if isinstance(template, str):
        return PLACES.sub(
            lambda found: read(found[1]) if found[1] else text if found[2] == "query" else str(k), template
        )
    return template


def has_query(template: Any) -> bool:
    """Whether a text of a template has a place for the query."""
    texts = (str(text.value) for text in texts_of(template))
    return any(found["place"] == "query" for text in texts for found in PLACES.finditer(text))
