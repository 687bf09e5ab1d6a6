"""Milvus, through its official client: the nearest vectors, in a cluster or an embedded database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, Literal, TypeAlias

from retrievers import PARTS
from retrievers.base import Catalog, Floats, Hits, Query
from retrievers.dense.encoders import Encoder
from retrievers.dense.vectors import embed, on_grid
from retrievers.errors import PermanentError, TransientError
from retrievers.options import PositiveFloat, PositiveInt, checked
from retrievers.remote.answers import Answer, search_in_batches, sendable
from retrievers.remote.client import EngineClient, require
from retrievers.remote.collections import (
    Connection,
    NewCollection,
    NotLoadedError,
    Place,
    is_embedded,
    load,
    milvus_problems,
)
from retrievers.store import Store
from retrievers.topk import check_k

LIMIT = 16_384
"""The most items that Milvus returns in a search."""
TOGETHER = 64
"""Queries in a request; at 100,000 items a request costs as much as searching some tens of them."""
HITS_A_REQUEST = 2**16
"""At most, so that an answer is far below gRPC's limit."""
BOUNDS = ("ef", "search_list", "reorder_k")
"""Milvus' search params that are a limit of k."""

Found: TypeAlias = list[tuple[Any, float]]
"""Values of the field that holds ids, each with its score, best first."""


@checked
class Milvus:
    """Nearest vectors in Milvus: as `dense`, for catalogs that are on a cluster, or too large for one machine.

    An encoder makes vectors of texts, and Milvus finds the nearest. Every item has a score for every query: the dot
    product or the cosine, or minus the distance as Milvus gives it with L2. A text with nothing to read has the vector
    zero: such a query finds nothing, and such an item is not written, so that nothing finds it.

    A collection is made and filled from the catalog, or an existing one is searched. The index FLAT compares a query
    with all items, so that scores are exact up to the last bits of a 32-bit number; others may miss items. Equal scores
    are in the order of rows, also at the last place. Items of one text are written once, and found together.

    Queries are embedded here, together, and sent up to 64 in a request, several requests at a time. A transient error
    is tried again; after the last attempt the queries of that request have no answer. Searching is safe from several
    threads.

    Args:
        catalog: What is searched.
        encoder: What makes vectors, a part of its own: {type: hashing}, or {type: sentence_transformers, model: ...}.
        uri: The address of a cluster, "http://host:19530" or "https://host:443/database"; or the path of an embedded
            database, which must end in ".db", is made where there is none, and is open in one process at a time.
        token: The token, or user:password, as `${NAME}`, which is read from the environment as in `uri`; null sends
            none.
        collection: An existing collection, which is only read; null makes one of the catalog, named after its content,
            the encoder and these options, or finds it.
        id_field: The field of an existing collection that holds the catalog's id; null: its primary key.
        vector_field: The field of an existing collection that holds the vectors; null where there is only one.
        field: The field of the catalog that is embedded for a collection made here; an existing one has its own
            vectors, metric and index.
        metric_type: How near two vectors are, in Milvus' words.
        index_type: FLAT, HNSW, IVF_FLAT, AUTOINDEX ... , as Milvus names them.
        index_params: What Milvus takes to build it, {M: 16, efConstruction: 200} for HNSW.
        search_params: What it takes to search it, {ef: 256} for HNSW, where it must be at least k.
        store: The folder that keeps the embeddings of items; "auto" is that of RECR1_CACHE, or ~/.cache/recr1. null
            keeps nothing.
        timeout: Seconds for one request, and for a connection to be made.
        attempts: How often one request is sent before its error is raised, with growing pauses.
        rate: Requests per second of each process; null for no limit.
        threads: Requests at the same time.
        cooldown: Seconds without requests after three requests in a row failed in every attempt.
        max_chars: A longer query is cut here.
        ca_file: The certificates to trust, in PEM form; null trusts the usual ones.

    Raises `EngineError` if the collection cannot be made, found or loaded.
    """

    matches_everything: ClassVar[bool] = True
    filled: ClassVar[tuple[str, ...]] = ("uri", "token")
    renamed: ClassVar[Mapping[str, str]] = {"token_env": "token, and written as ${NAME}"}

    def __init__(
        self,
        catalog: Catalog,
        *,
        encoder: dict[str, Any],
        uri: str = "http://localhost:19530",
        token: str | None = None,
        collection: str | None = None,
        id_field: str | None = None,
        vector_field: str | None = None,
        field: str = "texts",
        metric_type: Literal["IP", "COSINE", "L2"] = "IP",
        index_type: str = "FLAT",
        index_params: dict[str, Any] | None = None,
        search_params: dict[str, Any] | None = None,
        store: str | None = "auto",
        timeout: PositiveFloat = 10.0,
        attempts: PositiveInt = 6,
        rate: PositiveFloat | None = None,
        threads: PositiveInt = 8,
        cooldown: PositiveFloat = 30.0,
        max_chars: PositiveInt = 8192,
        ca_file: str | None = None,
    ) -> None:
        for library in ("pymilvus", "milvus_lite") if is_embedded(uri) else ("pymilvus",):
            require(library, "milvus", "milvus")
        texts = catalog.column(field)
        self._catalog, self._max_chars = catalog, max_chars
        self.max_k = None if len(catalog) <= LIMIT else LIMIT
        self._repeats = repeats(texts) if collection is None else None
        self._connection = Connection(uri, token, timeout, ca_file)
        self._engine = EngineClient(
            "milvus", self._connection.uri, attempts=attempts, rate=rate, threads=threads, cooldown=cooldown
        )
        self._encoder: Encoder = PARTS.build("encoder", encoder)
        self._search_params = search_params or {}
        if collection is None:
            key = {"catalog": catalog.fingerprint, "field": field, "encoder": dict(self._encoder.identity)}
            index = metric_type, index_type, index_params or {}
            new = NewCollection(self._engine, self._connection, key, index)
            self._place = new.place
            if not new.is_done():
                self._fill(new, key, texts, store)
        else:
            wanted = (collection, id_field, vector_field, self._encoder.dim)
            self._place = self._engine.ask(lambda: existing_place(self._connection, *wanted))
        self._engine.ask(lambda: load(self._connection, self._place))

    @classmethod
    def check_options(cls, options: Mapping[str, Any]) -> list[str]:
        """What is wrong with the options, before anything is asked."""
        what = "is for an existing collection; name that collection with collection"
        exists = options.get("collection") is not None
        given = [name for name in ("id_field", "vector_field") if options.get(name) is not None]
        return milvus_problems(options, cls.filled) + [f"{name}: {what}" for name in given if not exists]

    def search(self, queries: Sequence[Query], k: int) -> Hits:
        """Hits of shape (len(queries), k).

        Raises `ValueError` for a query that is not text or a k that cannot be served, and `MissingAnswers`.
        """
        check_k(k)
        if self.max_k is not None and k > self.max_k:
            raise ValueError(f"k is {k}, and Milvus returns at most {self.max_k} items")
        texts = list(dict.fromkeys(text for query in queries if (text := sendable(query, self._max_chars))))
        vectors = dict(zip(texts, on_grid(self._encoder.encode_queries(texts)), strict=True))

        def ask(asked: Sequence[str]) -> list[Answer]:
            return self._ask([vectors[text] for text in asked], k)

        size = max(1, min(TOGETHER, HITS_A_REQUEST // k))
        return search_in_batches(self._engine, self._catalog, queries, k, ask, max_chars=self._max_chars, size=size)

    def _ask(self, vectors: Sequence[Floats], k: int) -> list[Answer]:
        """What Milvus finds for each vector, with all that tie with the k-th; nothing for the vector zero.

        Milvus cuts anywhere between equal ones, so it is asked for one more, and deeper while that one ties too.
        """
        deepest = min([LIMIT, *(int(self._search_params[name]) for name in BOUNDS if name in self._search_params)])
        first_depth = max(k, min(k + 1, deepest))
        asked = [place for place, vector in enumerate(vectors) if vector.any()]
        answers: list[Answer] = [()] * len(vectors)
        for place, found in zip(asked, self._nearest([vectors[place] for place in asked], first_depth), strict=True):
            depth = first_depth
            while len(found) >= depth and depth < deepest and found[-1][1] >= found[k - 1][1]:
                depth = min(2 * depth, deepest)
                (found,) = self._nearest([vectors[place]], depth)  # noqa: PLW2901
            answers[place] = [(item, score) for value, score in found for item in self._items(value)]
        return answers

    def _nearest(self, vectors: Sequence[Floats], depth: int) -> list[Found]:
        if not vectors:
            return []
        place = self._place
        try:
            with self._connection.calling() as client:
                answers = client.search(
                    place.collection,
                    list(vectors),
                    anns_field=place.vector_field,
                    limit=depth,
                    output_fields=[place.id_field],
                    search_params={"metric_type": place.metric_type, "params": self._search_params},
                    timeout=self._connection.timeout,
                )
        except NotLoadedError:  # released by somebody, or the engine was started again
            load(self._connection, place)
            raise
        if len(answers) != len(vectors):
            raise TransientError(f"it answered {len(answers)} queries instead of {len(vectors)}")
        sign = -1 if place.metric_type == "L2" else 1
        return [[(hit["entity"][place.id_field], sign * hit["distance"]) for hit in hits] for hits in answers]

    def _items(self, value: Any) -> list[str]:
        """The items of a hit: in a collection made here, all that have its text."""
        if self._repeats is None:
            return [str(value)]
        row = int(value)
        if not 0 <= row < len(self._catalog):
            raise PermanentError(
                f"collection '{self._place.collection}' holds the row {row}, which the catalog does not"
            )
        return [self._catalog.ids[one] for one in (row, *self._repeats.get(row, ()))]

    def _fill(self, new: NewCollection, key: Mapping[str, Any], texts: Sequence[str], store: str | None) -> None:
        with TemporaryDirectory() as nowhere:
            place = Store(nowhere if store is None else store)
            entry = place.open("embeddings", key, lambda folder: embed(self._encoder, texts, folder), resumes=True)
            vectors, unwritten = entry.array("vectors"), {*entry.array("blank").tolist()}
            unwritten.update(chain.from_iterable((self._repeats or {}).values()))
            new.fill(vectors, [row for row in range(len(vectors)) if row not in unwritten], place.folder)


def repeats(texts: Sequence[str]) -> dict[int, list[int]]:
    """For the first item of each text that several items have, the others: shared vectors would fill every answer."""
    first: dict[str, int] = {}
    others: dict[int, list[int]] = {}
    for row, text in enumerate(texts):
        place = first.setdefault(text, row)
        if place != row:
            others.setdefault(place, []).append(row)
    return others


def existing_place(
    connection: Connection, collection: str, id_field: str | None, vector_field: str | None, dim: int
) -> Place:
    """An existing collection. `ValueError` where it has no such fields or index, or no vectors of `dim` numbers."""
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
    return Place(collection, id_field, vector_field, index["metric_type"])
