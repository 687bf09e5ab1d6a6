"""pymilvus' client as `milvus` uses it: opened where it is needed, its errors as ours."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from retrievers.errors import PermanentError, TransientError

EMBEDDED = ".db"
"""How the name of an embedded database ends: pymilvus tells it from an address by that."""

NOT_LOADED = 101
MAY_PASS = frozenset({1, 2, 3, 4, 5, 8, NOT_LOADED, 103})
"""Milvus' codes of faults that may pass: not ready, no connection, out of memory, too many requests, internal, over the
rate, not loaded, not all of it loaded. Newer servers mark such faults themselves."""

LASTING = ("UNAUTHENTICATED", "PERMISSION_DENIED", "INVALID_ARGUMENT", "UNIMPLEMENTED", "NOT_FOUND", "OUT_OF_RANGE")
"""gRPC's names of faults that will not."""

LOUD = ("pymilvus", "milvus_lite", "grpc._server")
"""Loggers that print the traceback of each fault, whatever becomes of it; the last two, in an embedded engine."""

_opening = threading.Lock()
"""Two threads that start one embedded database get in each other's way."""


class NotLoadedError(TransientError):
    """The collection is there, but not in the memory of the engine."""


class Connection:
    """The way to a Milvus, which is an address, or an embedded database: a folder with a name that ends in ".db".

    An embedded one lives in this process, on a port of loopback that it picks, until the process ends; all connections
    of the process share it. Safe to use from several threads; a pickled copy opens a connection of its own.
    """

    def __init__(self, uri: str, token_env: str | None, timeout: float) -> None:
        self.uri = str(Path(uri).expanduser().absolute()) if is_embedded(uri) else uri
        self.timeout = timeout
        self._token_env = token_env
        self._client: Any = None

    def __reduce__(self) -> tuple[type[Connection], tuple[str, str | None, float]]:
        return type(self), (self.uri, self._token_env, self.timeout)

    @contextmanager
    def calling(self) -> Iterator[Any]:
        """The client; what it raises is raised as `TransientError` or `PermanentError`."""
        from grpc import RpcError
        from pymilvus.exceptions import MilvusException

        try:
            yield self._client or self._opened()
        except RpcError as error:
            raise _fault_of_call(error) from error
        except MilvusException as error:
            if isinstance(error.__cause__, RpcError):  # "fail connecting", for a wrong token too
                raise _fault_of_call(error.__cause__) from error
            raise _fault(error) from error

    def _opened(self) -> Any:
        with _opening:
            self._client = self._client or self._open()
        return self._client

    def _open(self) -> Any:
        from pymilvus import MilvusClient
        from pymilvus.exceptions import ConnectionConfigException

        for library in LOUD if is_embedded(self.uri) else LOUD[:1]:
            logging.getLogger(library).setLevel(logging.CRITICAL)
        token = os.environ.get(self._token_env, "") if self._token_env else ""
        try:
            return MilvusClient(self.uri, token=token, timeout=self.timeout)
        except ConnectionConfigException as error:
            raise PermanentError(_why_closed(self.uri) if is_embedded(self.uri) else error.message) from error


def is_embedded(uri: str) -> bool:
    """Whether this is a path and no address."""
    return "://" not in uri


def connection_problems(options: Mapping[str, Any]) -> list[str]:
    """What is wrong with the options that say where Milvus is."""
    uri, variable = str(options.get("uri", "http://host")), options.get("token_env")
    problems = _path_problems(uri) if is_embedded(uri) else _address_problems(uri)
    if variable is not None and not os.environ.get(variable):
        problems.append(f"token_env: the variable {variable} is not set: put the token in it, or user:password")
    return problems


def _path_problems(uri: str) -> list[str]:
    folder = Path(uri).expanduser().absolute().parent
    if not uri.endswith(EMBEDDED):
        return [f"uri: must be an address, as http://host:19530, or a path that ends in {EMBEDDED}, got {uri!r}"]
    return [] if folder.is_dir() else [f"uri: there is no folder {folder}: make it first"]


def _address_problems(uri: str) -> list[str]:
    parts = urlsplit(uri)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return [f"uri: must be an address, as http://host:19530, or a path that ends in {EMBEDDED}, got {uri!r}"]
    if parts.username or parts.password:
        return ["uri: holds a user or password, which would stand in the run folder; use token_env"]
    return []


def _fault_of_call(error: Any) -> TransientError | PermanentError:
    name = error.code().name
    what = f"{name}: {error.details()}"[:300]
    return PermanentError(what) if name in LASTING else TransientError(what)


def _fault(error: Any) -> TransientError | PermanentError:
    code = getattr(error.code, "name", error.code)  # a code of gRPC or of Milvus
    what = f"code {code}: {error.message}"[:300]
    if code == NOT_LOADED:
        return NotLoadedError(what)
    from pymilvus.exceptions import MilvusException

    # A subclass is what the client refuses to send.
    passes = type(error) is MilvusException and not error.is_input_error and code not in LASTING
    return (
        TransientError(what)
        if passes and (error.retriable or isinstance(code, str) or code in MAY_PASS)
        else PermanentError(what)
    )


def _why_closed(path: str) -> str:
    """Why an embedded database does not open, which pymilvus writes to a log and does not say."""
    from milvus_lite.db import MilvusLite
    from milvus_lite.exceptions import DataDirLockedError, MilvusLiteError

    try:
        MilvusLite(path).close()
    except DataDirLockedError:
        return (
            f"another process has it open, and it takes one at a time. Close that one; or serve it to all, with "
            f"'milvus-lite server --data-dir {path} --host 127.0.0.1', and set uri to http://127.0.0.1:19530"
        )
    except (MilvusLiteError, OSError) as error:
        return f"it cannot be opened: {type(error).__name__}: {error}"
    return "it could not be opened a moment ago, and now it can"
