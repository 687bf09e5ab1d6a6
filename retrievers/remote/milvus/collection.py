"""Collections of Milvus: one that is made of a catalog, and one that is there."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from retrievers.base import Floats
from retrievers.errors import EngineError, PermanentError
from retrievers.progress import tracked
from retrievers.remote.client import EngineClient
from retrievers.remote.milvus.client import Connection, is_embedded

ROW, VECTOR = "row", "vector"
"""The fields of a collection of ours."""
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
    index_type: str


class Index(NamedTuple):
    """How the vectors of a collection are found, in Milvus' words."""

    metric_type: str
    index_type: str
    params: Mapping[str, Any]


def repeats(texts: Sequence[str]) -> dict[int, list[int]]:
    """For the first item of each text that several items have, the others.

    Vectors that many items share crowd out all else, and tear graphs apart, whose links lead to nothing but equals.
    """
    first: dict[str, int] = {}
    others: dict[int, list[int]] = {}
    for row, text in enumerate(texts):
        place = first.setdefault(text, row)
        if place != row:
            others.setdefault(place, []).append(row)
    return others


def load(connection: Connection, place: Place) -> None:
    """Brings a collection into the memory of the engine, where it is not; else it cannot be searched."""
    with connection.calling() as client:
        client.load_collection(place.collection, timeout=PATIENCE)


def their_place(
    connection: Connection, collection: str, id_field: str | None, vector_field: str | None, dim: int
) -> Place:
    """A collection that is there.

    Raises `ValueError` where it has no such fields, vectors of other than `dim` dimensions, or no index.
    """
    from pymilvus import DataType

    with connection.calling() as client:
        fields = {field["name"]: field for field in client.describe_collection(collection)["fields"]}
        id_field = id_field or next(name for name, field in fields.items() if field.get("is_primary"))
        if id_field not in fields:
            raise ValueError(f"id_field: collection '{collection}' has no field '{id_field}', only {', '.join(fields)}")
        vectors = [name for name, field in fields.items() if field["type"] == DataType.FLOAT_VECTOR]
        vector_field = vector_field or (vectors[0] if len(vectors) == 1 else "")
        if vector_field not in vectors:
            has = ", ".join(vectors) or "none"
            raise ValueError(f"vector_field: name one of the fields of float vectors of '{collection}': {has}")
        stored = int(fields[vector_field]["params"]["dim"])
        if stored != dim:
            raise ValueError(
                f"encoder: its vectors have {dim} dimensions, and those of field '{vector_field}' of '{collection}' "
                f"have {stored}: use the encoder that the collection was filled with"
            )
        names = client.list_indexes(collection, field_name=vector_field)
        if not names:
            raise ValueError(f"collection: '{collection}' has no index of the field '{vector_field}', and needs one")
        index = client.describe_index(collection, names[0])
    return Place(collection, id_field, vector_field, index["metric_type"], index["index_type"])


class Making:
    """The collection of a catalog, there whole under its name, or not at all.

    Args:
        engine: The way to the engine.
        connection: The client.
        key: All that the vectors depend on, as JSON; with the index it gives the collection its name.
        index: How they are found.
    """

    def __init__(self, engine: EngineClient, connection: Connection, key: Mapping[str, Any], index: Index) -> None:
        digest = hashlib.sha256(json.dumps([key, index], sort_keys=True).encode()).hexdigest()
        name = f"recr1_{digest[:16]}"
        self.place = Place(name, ROW, VECTOR, index.metric_type, index.index_type)
        self._beside = f"{name}_partial"
        self._engine, self._connection, self._index = engine, connection, index

    def is_done(self) -> bool:
        """Whether the collection is there."""
        return self._engine.ask(partial(self._exists, self.place.collection))

    def fill(self, vectors: Floats, rows: Sequence[int], folder: Path) -> None:
        """Writes the vectors of some rows, unless they are there; one process of this machine does, others wait.

        They go into a collection beside, which gets the name when it is whole. What a killed process left is written
        over: an item that is written again is the same.
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

        if self._exists(self._beside):
            return
        with self._connection.calling() as client:
            schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
            schema.add_field(ROW, DataType.INT64, is_primary=True)
            schema.add_field(VECTOR, DataType.FLOAT_VECTOR, dim=dim)
            client.create_collection(self._beside, schema=schema, timeout=self._connection.timeout)

    def _write(self, rows: Sequence[int], vectors: Floats) -> None:
        items = [{ROW: row, VECTOR: vectors[row]} for row in rows]
        with self._connection.calling() as client:
            client.upsert(self._beside, items, timeout=self._connection.timeout)

    def _finish(self, items: int) -> None:
        if self._exists(self.place.collection):  # an attempt got through, and its answer did not
            return
        with self._connection.calling() as client:
            client.flush(self._beside, timeout=PATIENCE)
            if not client.list_indexes(self._beside):
                waits = not is_embedded(self._connection.uri)  # an embedded one is built by loading
                client.create_index(self._beside, self._index_params(client), timeout=PATIENCE, sync=waits)
            client.load_collection(self._beside, timeout=PATIENCE)
            # "Strong" waits until all that was written is seen, so that no later search sees less.
            answer = client.query(
                self._beside, output_fields=["count(*)"], consistency_level="Strong", timeout=PATIENCE
            )
            if answer[0]["count(*)"] != items:
                shows = f"collection '{self._beside}' shows {answer[0]['count(*)']} of the {items} items written to it"
                raise PermanentError(f"{shows}: drop it, and it is made again")
            client.rename_collection(self._beside, self.place.collection, timeout=self._connection.timeout)

    def _index_params(self, client: Any) -> Any:
        metric, kind, params = self._index
        # "params" twice: the client takes one off, and Milvus reads them with or without, but milvus-lite only with.
        nested = {"params": dict(params)} if params else {}
        return client.prepare_index_params(VECTOR, metric_type=metric, index_type=kind, params=nested)
