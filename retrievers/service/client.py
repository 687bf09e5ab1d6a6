"""A retriever elsewhere: the client of `recr1 serve-retriever`."""

from __future__ import annotations

import io
import json
import os
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from retrievers.base import Catalog, Hits, Query
from retrievers.errors import MissingAnswers, PermanentError, TransientError, shown, told
from retrievers.options import PositiveFloat, PositiveInt, checked
from retrievers.remote.address import certificates, connection_problems, fault_of_connection, header_problems
from retrievers.remote.client import EngineClient, fault_of_status, require
from retrievers.secrets import resolved
from retrievers.topk import check_k, no_hits

if TYPE_CHECKING:
    import httpx

CATALOG, RETRIEVER, STATS = "x-recr1-catalog", "x-recr1-retriever", "x-recr1-stats"
"""Headers: the fingerprints of the catalog and of the retriever, and what the retriever counts."""

INFO = ("catalog", "retriever", "capabilities", "syntax", "max_k", "matches_everything", "max_bytes")
"""What a client must know of a service."""

COOLDOWN = 30.0
"""Seconds without requests after several searches in a row failed in every attempt."""
IDLE = 30.0
"""Seconds that an idle connection is kept."""


@checked
class Service:
    """Searches a catalog through a service that holds the index: `recr1 serve-retriever`.

    One index in memory then serves every rank of a run, and other machines. The hits are those of the retriever in the
    service, to the last bit. The service must hold the catalog of the task, and must not change its retriever while it
    is used; both are checked with every answer. A search is asked again while the service does not answer or is full,
    with waits that double from a quarter of a second to eight. After the last attempt `EngineError` is raised: an error
    is never an empty ranking. It can be used by several threads, and by processes that were forked or spawned.

    Args:
        catalog: What is searched; the service must hold the same.
        url: Where the service is, such as `http://127.0.0.1:8080`. `${NAME}` in it is read from
            the environment. Proxies of the environment are not used.
        token: What the service wants, as `${NAME}`, which is read from the environment; None sends none.
        timeout: Seconds without a byte after which an attempt fails.
        attempts: How often a search is asked; 10 take some 40 seconds of waiting.
        ca_file: The certificates to trust, in PEM form; None trusts the usual ones.

    Raises `ValueError` if the service holds another catalog, and `EngineError` if it does not answer.
    """

    filled: ClassVar[tuple[str, ...]] = ("url", "token")
    renamed: ClassVar[Mapping[str, str]] = {"token_env": "token, and written as ${NAME}"}

    def __init__(
        self,
        catalog: Catalog,
        *,
        url: str,
        token: str | None = None,
        timeout: PositiveFloat = 60.0,
        attempts: PositiveInt = 10,
        ca_file: str | None = None,
    ) -> None:
        require("httpx", "service", "remote")
        self._url, self._token, self._timeout, self._ca_file = url.rstrip("/"), token, timeout, ca_file
        self._engine = EngineClient("service", self._url, attempts=attempts, rate=None, threads=1, cooldown=COOLDOWN)
        self._catalog, self._items = catalog.fingerprint, len(catalog)
        self._start()
        info = self._engine.ask(self._ask_info)
        if info["catalog"] != self._catalog:
            holds = f"the service at {self._url} holds the catalog {info['catalog']}"
            raise ValueError(f"url: {holds}, and this task has {self._catalog}: start it with the task of this recipe")
        self._max_bytes = int(info["max_bytes"])
        # Those of the retriever in the service.
        self.fingerprint = str(info["retriever"])
        self.capabilities: frozenset[str] = frozenset(info["capabilities"])
        self.syntax: dict[str, str] = dict(info["syntax"])
        self.matches_everything, self.max_k = bool(info["matches_everything"]), info["max_k"]

    @classmethod
    def check_options(cls, options: Mapping[str, Any]) -> list[str]:
        """What is wrong with the options, before anything is asked."""
        problems = connection_problems(options, cls.filled)
        if options.get("token") and not problems:
            problems += [f"token: {what}" for _, what in header_problems({"authorization": options["token"]})]
        if not problems and "?" in resolved(options["url"]):
            problems.append(f"url: must be like http://127.0.0.1:8080, got {shown(options['url'])}")
        return problems

    def _start(self) -> None:
        self._lock = threading.Lock()
        self._http: tuple[int, httpx.Client] | None = None
        self._stats: dict[str, float] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("_lock", "_http", "_stats")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._start()

    @property
    def stats(self) -> dict[str, float]:
        """What the retriever in the service counted when it last answered this client."""
        return self._stats

    def search(self, queries: Sequence[Query], k: int) -> Hits:
        """Hits of shape (len(queries), k).

        Raises `ValueError` for what the retriever does not take or a search above the service's limit, `MissingAnswers`
        as the retriever does, and `EngineError` if the service gave no usable answer.
        """
        check_k(k)
        if not queries:
            return no_hits(0, k)
        body = _written(queries, k)
        size, most = max(len(body), 8 * len(queries) * k), self._max_bytes
        if size > most:
            search = f"a search of {len(queries)} queries for k={k} is {size / 2**20:.3g} MiB large"
            takes = f"the service at {self._url} takes {most / 2**20:g} MiB"
            raise ValueError(f"{search}, and {takes}: start it with a higher --max-mb")
        hits, faults = self._engine.ask(lambda: self._ask(body, len(queries), k))
        if faults:
            raise MissingAnswers(hits, {place: self._engine.error(why) for place, why in faults.items()})
        return hits

    def _ask(self, body: bytes, queries: int, k: int) -> tuple[Hits, dict[int, str]]:
        response = self._request("POST", "/search", content=body, headers={CATALOG: self._catalog})
        ranked_by = response.headers.get(RETRIEVER)
        if ranked_by != self.fingerprint:
            raise PermanentError(f"its retriever was {self.fingerprint} and is {ranked_by}: one run, one retriever")
        hits, faults = _read(response.content)
        expected = ((queries, k), "int32"), ((queries, k), "float32")
        if tuple((array.shape, str(array.dtype)) for array in hits) != expected:
            raise PermanentError(f"its answer does not have the shape {(queries, k)}")
        self._stats = json.loads(response.headers.get(STATS, "{}"))
        return hits, faults

    def _ask_info(self) -> Mapping[str, Any]:
        try:
            info: Mapping[str, Any] = self._request("GET", "/info").json()
            return {name: info[name] for name in INFO}
        except (ValueError, KeyError, TypeError) as error:
            raise PermanentError(f"it is not a recr1 service: its /info cannot be read ({error!r})") from error

    def _request(self, method: str, path: str, **more: Any) -> httpx.Response:
        import httpx

        try:
            response = self._client().request(method, resolved(self._url) + path, **more)
        except (httpx.TransportError, httpx.DecodingError) as error:
            raise fault_of_connection(f"{type(error).__name__}: {error}") from error
        status = response.status_code
        if status == 400:
            raise ValueError(_reason(response))
        if status == 401:
            what = "it does not accept this token" if self._token else "it needs a token"
            raise PermanentError(f"{what} (option token)")
        if status == 500:  # raised by the retriever
            raise PermanentError(f"its retriever failed (its log says how): {_reason(response)}")
        if status != 200:
            raise fault_of_status(status, _reason(response), response.headers)
        return response

    def _client(self) -> httpx.Client:
        """This process's connections: a forked process must not write into those of its parent."""
        import httpx

        with self._lock:
            if self._http is None or self._http[0] != os.getpid():
                headers = {"authorization": f"Bearer {resolved(self._token)}"} if self._token else {}
                limits, trusted = httpx.Limits(keepalive_expiry=IDLE), certificates(self._ca_file)
                more: dict[str, Any] = {"timeout": self._timeout, "limits": limits, "verify": trusted}
                client = httpx.Client(headers=headers, trust_env=False, **more)
                self._http = os.getpid(), client
            return self._http[1]


def _written(queries: Sequence[Query], k: int) -> bytes:
    """The request: JSON that escapes all but ASCII, so that even half of a surrogate pair gets through."""
    must = "a query to a service must be a string or a tuple of numbers"
    for query in queries:
        if not isinstance(query, str | int | float | tuple):
            raise ValueError(f"{must}, got {shown(query)}")
    try:
        return json.dumps({"k": k, "queries": list(queries)}).encode()
    except TypeError as error:
        raise ValueError(f"{must}: {error}") from error


def _read(content: bytes) -> tuple[Hits, dict[int, str]]:
    """The hits, and why some queries have none."""
    buffer = io.BytesIO(content)
    try:
        hits = Hits(*(np.load(buffer, allow_pickle=False) for _ in Hits._fields))
        return hits, {int(place): str(why) for place, why in json.loads(buffer.read() or "{}").items()}
    except (ValueError, EOFError, OSError, AttributeError) as error:
        raise TransientError(f"its answer cannot be read: {error}") from error


def _reason(response: httpx.Response) -> str:
    """What FastAPI says is wrong, or the beginning of what somebody else says."""
    try:
        return told(response.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return told(response.text.strip(), 200) or response.reason_phrase
