"""What `milvus` needs of Milvus: a connection whose errors are ours, and collections, made here or already there."""

from __future__ import annotations

import hashlib
import json
import logging
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from retrievers.base import Floats
from retrievers.errors import EngineError, PermanentError, TransientError, shown, told
from retrievers.progress import tracked
from retrievers.remote.address import connection_problems, fault_of_connection
from retrievers.remote.client import EngineClient
from retrievers.secrets import resolved
from retrievers.store import expanded

EMBEDDED = ".db"
"""The end of the path of an embedded database, by which pymilvus tells it from an address."""
NOT_LOADED = 101
TRANSIENT = frozenset({1, 2, 3, 4, 5, 8, NOT_LOADED, 103})
"""Milvus' codes of transient errors: not ready, no connection, out of memory, too many requests, internal, over the
rate, not loaded, partly loaded. Newer servers mark such errors themselves."""

PERMANENT = ("UNAUTHENTICATED", "PERMISSION_DENIED", "INVALID_ARGUMENT", "UNIMPLEMENTED", "NOT_FOUND", "OUT_OF_RANGE")
"""gRPC's names of permanent errors."""

LOGGERS = ("pymilvus", "milvus_lite", "grpc._server")
"""Loggers that print the traceback of each error, even if it is handled; the last two, in an embedded engine."""

_opening = threading.Lock()
"""Only one thread may start an embedded database."""


class NotLoadedError(TransientError):
    """The collection is not in the memory of the engine."""


class Connection:
    """A connection to Milvus at an address, or to an embedded database: a folder with a name that ends in ".db".

    An embedded one runs in this process, on a free port of loopback, until the process ends; all connections of the
    process share it. Safe to use from several threads; a pickled copy opens its own connection.
    """

    def __init__(self, uri: str, token: str | None, timeout: float, ca_file: str | None = None) -> None:
        self.uri = str(expanded(uri).absolute()) if is_embedded(uri) else uri
        self.timeout = timeout
        self._token, self._ca_file = token, ca_file
        self._client: Any = None

    def __reduce__(self) -> tuple[type[Connection], tuple[str, str | None, float, str | None]]:
        return type(self), (self.uri, self._token, self.timeout, self._ca_file)

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
        from pymilvus import MilvusClient
        from pymilvus.exceptions import ConnectionConfigException

        for library in LOGGERS if is_embedded(self.uri) else LOGGERS[:1]:
            logging.getLogger(library).setLevel(logging.CRITICAL)
        more = {"server_pem_path": self._ca_file} if self._ca_file else {}
        more |= {"uri": resolved(self.uri), "token": resolved(self._token or "")}
        try:
            with _opening:
                self._client = self._client or MilvusClient(timeout=self.timeout, **more)
        except ConnectionConfigException as error:
            raise PermanentError(_why_closed(self.uri) if is_embedded(self.uri) else error.message) from error
        return self._client


def is_embedded(uri: str) -> bool:
    """Whether this is a path and no address."""
    return "://" not in uri and "${" not in uri


def milvus_problems(options: Mapping[str, Any], filled: Collection[str]) -> list[str]:
    """What is wrong with the options that say where Milvus is."""
    uri = str(options.get("uri", "http://host"))
    folder = expanded(uri).absolute().parent
    if not is_embedded(uri):
        return connection_problems(options, filled, "uri")
    problems = connection_problems(options, filled, "")
    if not uri.endswith(EMBEDDED):
        what = f"must be an address, as http://host:19530, or a path that ends in {EMBEDDED}, got {shown(uri)}"
        problems.append(f"uri: {what}")
    elif not folder.is_dir():
        problems.append(f"uri: there is no folder {folder}: make it first")
    return problems


def _fault_of_call(error: Any) -> TransientError | PermanentError:
    name = error.code().name
    what = f"{name}: {told(error.details(), 300)}"
    return PermanentError(what) if name in PERMANENT else fault_of_connection(what)


def _fault(error: Any) -> TransientError | PermanentError:
    code = getattr(error.code, "name", error.code)  # a code of gRPC or of Milvus
    what = f"code {code}: {told(error.message, 300)}"
    if code == NOT_LOADED:
        return NotLoadedError(what)
    from pymilvus.exceptions import MilvusException

    # A subclass is what the client refuses to send.
    permanent = type(error) is not MilvusException or error.is_input_error or code in PERMANENT
    if permanent or not (error.retriable or isinstance(code, str) or code in TRANSIENT):
        return PermanentError(what)
    return TransientError(what)


def _why_closed(path: str) -> str:
    """Why an embedded database does not open, which pymilvus only logs."""
    from milvus_lite.db import MilvusLite
    from milvus_lite.exceptions import DataDirLockedError, MilvusLiteError

    try:
        MilvusLite(path).close()
    except DataDirLockedError:
        return (
            f"another process has it open, and only one can. Close that one, or serve it to all with "
            f"'milvus-lite server --data-dir {path} --host 127.0.0.1', and set uri to http://127.0.0.1:19530"
        )
    except (MilvusLiteError, OSError) as error:
        return f"it cannot be opened: {type(error).__name__}: {error}"
    return "it could not be opened at first, and now it can: try again"


ROW, VECTOR = "row", "vector"
"""The fields of a collection made here."""
BATCH = 1000
"""Items of one request that writes."""
PATIENCE = 3600.0
"""Seconds that Milvus may take to write everything to disk, to build an index, or to load it."""


class Place(NamedTuple):
    """A collection, and what a search of it must know."""

    collection: str
    id_field: str
    vector_field: str
    metric_type: str


IndexSpec: TypeAlias = tuple[str, str, Mapping[str, Any]]
"""How the vectors of a collection are found: Milvus' metric type, index type and index parameters."""


def load(connection: Connection, place: Place) -> None:
    """Loads a collection into the memory of the engine, where it is searched."""
    with connection.calling() as client:
        client.load_collection(place.collection, timeout=PATIENCE)


class NewCollection:
    """The collection of a catalog, which exists under its name when it is complete.

    `key` is all that the vectors depend on, as JSON; with the index it gives the collection its name.
    """

    def __init__(self, engine: EngineClient, connection: Connection, key: Mapping[str, Any], index: IndexSpec) -> None:
        digest = hashlib.sha256(json.dumps([key, index], sort_keys=True).encode()).hexdigest()
        name = f"recr1_{digest[:16]}"
        self.place = Place(name, ROW, VECTOR, index[0])
        self._partial = f"{name}_partial"
        self._engine, self._connection, self._index = engine, connection, index

    def is_done(self) -> bool:
        """Whether the collection exists."""
        return self._engine.ask(partial(self._exists, self.place.collection))

    def fill(self, vectors: Floats, rows: Sequence[int], folder: Path) -> None:
        """Writes the vectors of some rows, unless they are there; one process of this machine does, others wait.

        They go into another collection, which gets the name when it is complete. What a killed process left is
        written again.
        """
        from filelock import FileLock

        with FileLock(folder / f"{self.place.collection}.lock"):
            if self.is_done():
                return
            try:
                self._fill(vectors, rows)
            except EngineError:
                if not self.is_done():  # else another machine was faster
                    raise

    def _fill(self, vectors: Floats, rows: Sequence[int]) -> None:
        self._engine.ask(partial(self._create, vectors.shape[1]))
        waiting = iter(tracked(rows, "sending items"))
        while batch := list(islice(waiting, BATCH)):
            self._engine.ask(partial(self._write, batch, vectors))
        self._engine.ask(partial(self._finish, len(rows)))

    def _exists(self, collection: str) -> bool:
        with self._connection.calling() as client:
            return bool(client.has_collection(collection, timeout=self._connection.timeout))

    def _create(self, dim: int) -> None:
        from pymilvus import DataType

        if self._exists(self._partial):
            return
        with self._connection.calling() as client:
            schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
            schema.add_field(ROW, DataType.INT64, is_primary=True)
            schema.add_field(VECTOR, DataType.FLOAT_VECTOR, dim=dim)
            client.create_collection(self._partial, schema=schema, timeout=self._connection.timeout)

    def _write(self, rows: Sequence[int], vectors: Floats) -> None:
        items = [{ROW: row, VECTOR: vectors[row]} for row in rows]
        with self._connection.calling() as client:
            client.upsert(self._partial, items, timeout=self._connection.timeout)

    def _finish(self, items: int) -> None:
        if self._exists(self.place.collection):  # an attempt got through, and its answer did not
            return
        with self._connection.calling() as client:
            client.flush(self._partial, timeout=PATIENCE)
            if not client.list_indexes(self._partial):
                metric, kind, params = self._index
                # Twice "params": the client takes one off, and milvus-lite reads them only inside the other.
                nested = {"params": dict(params)} if params else {}
                index = client.prepare_index_params(VECTOR, metric_type=metric, index_type=kind, params=nested)
                waits = not is_embedded(self._connection.uri)  # an embedded one is built by loading
                client.create_index(self._partial, index, timeout=PATIENCE, sync=waits)
            client.load_collection(self._partial, timeout=PATIENCE)
            # "Strong" waits until all that was written is seen, so that no later search sees less.
            (answer,) = client.query(
                self._partial, output_fields=["count(*)"], consistency_level="Strong", timeout=PATIENCE
            )
            if answer["count(*)"] != items:
                shows = f"collection '{self._partial}' shows {answer['count(*)']} of the {items} items written to it"
                raise PermanentError(f"{shows}: drop it, and it is made again")
            client.rename_collection(self._partial, self.place.collection, timeout=self._connection.timeout)
