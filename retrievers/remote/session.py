"""Requests to an engine that answers JSON over HTTP, and what is raised for an answer that cannot be used."""

from __future__ import annotations

import json
from collections.abc import Mapping
from time import monotonic
from typing import Any

from retrievers.errors import TransientError, told
from retrievers.remote.address import certificates, fault_of_connection, proxy_for, split_query
from retrievers.remote.client import fault_of_status
from retrievers.secrets import resolved

SHOWN = 300
"""Characters of a faulty answer that a message shows."""


class Session:
    """Connections to one address, for several threads at once; `${NAME}` in address and headers is read at the start.

    Args:
        url: The address, whose query string is sent with each request.
        headers: Sent with each request.
        timeout: Seconds for one request and its whole answer.
        threads: Connections at the same time.
        ca_file: The certificates to trust, in PEM form; None trusts the usual ones.
    """

    def __init__(self, url: str, headers: Mapping[str, str], timeout: float, threads: int, ca_file: str | None) -> None:
        import httpx

        self._url, self._asked = split_query(resolved(url))
        self._timeout, self._proxy = timeout, proxy_for(self._url)
        self._client = httpx.Client(
            headers=resolved(headers),
            timeout=timeout,
            limits=httpx.Limits(max_connections=threads, max_keepalive_connections=threads),
            verify=certificates(ca_file),
            proxy=self._proxy and self._proxy.url,
            trust_env=False,
        )

    def answer(self, method: str, path: str, params: dict[str, Any], body: Any) -> Any:
        """The JSON of one answer; raises `TransientError` (also for a late one) or `PermanentError`."""
        raw = self._fetch(method, self._url + path, self._asked | params, {} if body is None else {"json": body})
        try:
            return json.loads(raw)
        except (ValueError, RecursionError) as error:
            page = ", but a web page: is the address right?" if raw.lstrip()[:1] == b"<" else ""
            raise TransientError(f"the answer is not JSON{page} ({error}): {_shown(raw)}") from error

    def _fetch(self, method: str, url: str, params: Mapping[str, Any], content: Mapping[str, Any]) -> bytes:
        import httpx

        deadline = monotonic() + self._timeout
        try:
            with self._client.stream(method, url, params=params, **content) as response:
                raw = bytearray()
                for chunk in response.iter_bytes():
                    raw += chunk
                    if monotonic() > deadline:  # httpx limits each chunk only
                        raise TransientError(f"the answer was not complete after {self._timeout:g} s")
        except httpx.TimeoutException as error:
            raise TransientError(f"no answer within {self._timeout:g} s ({type(error).__name__})") from error
        except (httpx.TransportError, httpx.DecodingError) as error:
            by = f" (through the proxy of {self._proxy.variable})" if self._proxy else ""
            raise fault_of_connection(f"{type(error).__name__}: {told(error)}{by}") from error
        if not 200 <= response.status_code < 300:
            raise fault_of_status(response.status_code, _shown(bytes(raw)), response.headers)
        return bytes(raw)


def _shown(raw: bytes) -> str:
    """The beginning of an answer, for a message."""
    return repr(told(raw.decode("utf-8", "replace"), SHOWN))
