"""Search by meaning: the items whose vectors are nearest to that of the query."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, Literal

import numpy as np

from retrievers import PARTS
from retrievers.base import Catalog, Floats, Hits, Query, Rows, text_of
from retrievers.dense.approximate import Approximate, library, resolved, write_index
from retrievers.dense.encoders import Encoder
from retrievers.dense.vectors import embed, on_grid, search_numpy, search_torch
from retrievers.options import PositiveInt, checked
from retrievers.store import Store
from retrievers.topk import check_k, no_hits

RECALL: Mapping[str, float] = {"exact": 1.0, "flat": 1.0, "ivf": 0.9, "hnsw": 0.95, "pq": 0.85}
"""The share of the true best k that each index finds with its own defaults, on catalogs like those it was tested on;
`Dense.recall` measures it on yours."""

READ_BY: Mapping[str, tuple[str, ...]] = {
    **{"device": ("exact",), "candidates": ("flat", "ivf", "hnsw", "pq"), "pq_m": ("pq",)},
    **dict.fromkeys(("nlist", "nprobe"), ("ivf",)),
    **dict.fromkeys(("hnsw_m", "ef_construction", "ef_search"), ("hnsw",)),
}
"""Which indexes read an option; with others it is an error."""


@checked
class Dense:
    """Nearest vectors: an encoder makes vectors of texts, and the dot product says how near two are.

    The score of an item is the dot product of its vector and the query's (the cosine, for encoders that make vectors of
    length 1). Every item has a score for every query, so a search finds k items if the catalog has k. The exception is
    a text with nothing to read, whose vector is zero: an empty query finds nothing, and an empty item is not found.

    Scores are exact and equal items are in the order of their rows, for every index, device and batch; see
    `retrievers.dense.vectors`. `exact` compares all items, with numpy, or with torch on a GPU. The others are those of
    FAISS, which return `candidates` items, ranked here by their exact scores: `flat` compares all items too, `ivf` the
    `nprobe` nearest of `nlist` groups, `hnsw` follows a graph, and `pq` compares vectors of `pq_m` bytes each. An
    approximate index may miss items (`RECALL` says how many), and `ivf` may return fewer than k.

    Items are embedded once, and kept on disk with the index; every process maps the same pages. Searching is safe from
    several threads.

    Args:
        catalog: What is searched.
        encoder: What makes vectors, a part of its own: {type: hashing}, or {type: sentence_transformers, model: ...}.
        index: How the nearest are found.
        field: The field of the catalog that is embedded; "texts" is the default text of each item.
        candidates: How many items FAISS returns at least, or k (with `pq`, 4 k) where that is more; 128.
        nlist: Groups of `ivf`; about 4 times the square root of the catalog.
        nprobe: Groups that are searched; grows with k and `candidates`.
        hnsw_m: Links of each item in `hnsw`; 32.
        ef_construction: Effort of building `hnsw`; 100.
        ef_search: Effort of searching it; 2 k, and never less than `candidates`.
        pq_m: Bytes of each item in `pq`; an eighth of the dimensions.
        device: Where `exact` computes: "cpu" or "cuda"; by default a GPU that torch can see.
        store: The folder that keeps embeddings and indexes; "auto" is the folder of RECR1_CACHE, or ~/.cache/recr1.
            None keeps nothing.
    """

    matches_everything: ClassVar[bool] = True

    def __init__(
        self,
        catalog: Catalog,
        *,
        encoder: dict[str, Any],
        index: Literal["exact", "flat", "ivf", "hnsw", "pq"] = "exact",
        field: str = "texts",
        candidates: PositiveInt | None = None,
        nlist: PositiveInt | None = None,
        nprobe: PositiveInt | None = None,
        hnsw_m: PositiveInt | None = None,
        ef_construction: PositiveInt | None = None,
        ef_search: PositiveInt | None = None,
        pq_m: PositiveInt | None = None,
        device: Literal["cpu", "cuda"] | None = None,
        store: str | None = "auto",
    ) -> None:
        sizes = {"nlist": nlist, "hnsw_m": hnsw_m, "ef_construction": ef_construction, "pq_m": pq_m}
        texts = catalog.column(field)
        self._device = usable_device(device) if index == "exact" else "cpu"
        self._encoder: Encoder = PARTS.build("encoder", encoder)
        self._candidates, self._effort = candidates or 128, {"nprobe": nprobe, "ef_search": ef_search}
        build = resolved(index, len(catalog), self._encoder.dim, sizes)
        self._kept = store is not None
        key = {"catalog": catalog.fingerprint, "field": field, "encoder": dict(self._encoder.identity)}
        with TemporaryDirectory() as nowhere:
            place = Store(nowhere if store is None else store)
            entry = place.open("embeddings", key, lambda folder: embed(self._encoder, texts, folder), resumes=True)
            self._entries = [entry]
            if index != "exact":
                key |= {"build": build._asdict(), "faiss": library().__version__}
                write = partial(write_index, entry.array("vectors"), build)
                self._entries.append(place.open(index, key, write))
            self._open()

    @staticmethod
    def check_options(options: Mapping[str, Any]) -> list[str]:
        """Options that the index does not read."""
        index = options.get("index", "exact")
        return [
            f"{name}: index {index} does not read it, only {', '.join(indexes)}; leave it out"
            for name, indexes in READ_BY.items()
            if options.get(name) is not None and index not in indexes
        ]

    def search(self, queries: Sequence[Query], k: int) -> Hits:
        """Hits of shape (len(queries), k). Raises `ValueError` for a query that is not text or a k below 1."""
        check_k(k)
        hits = no_hits(len(queries), k)
        vectors_QD = on_grid(self._encoder.encode_queries([text_of(query, "a dense retriever") for query in queries]))
        nonzero = np.flatnonzero(vectors_QD.any(axis=1))
        if len(nonzero):
            found = self._nearest(vectors_QD[nonzero], k)
            hits.rows_QK[nonzero], hits.scores_QK[nonzero] = found
        return hits

    def item_vectors(self) -> Floats:
        """(N, D) the vectors of items, as the encoder makes them, rounded; zeros for a text with nothing to read."""
        return self._vectors

    def recall(self, queries: Sequence[str], k: int) -> float:
        """The share of the true best k of some queries that a search finds, by score: a tie is as good."""
        vectors_QD = on_grid(self._encoder.encode_queries(queries))
        best_QK = search_numpy(self._vectors, self._blank, vectors_QD, k).scores_QK
        found_QK = self._nearest(vectors_QD, k).scores_QK
        possible_QK = best_QK > -np.inf
        least_Q1 = np.where(possible_QK, best_QK, np.inf).min(axis=1, keepdims=True)
        reached_QK = possible_QK & (found_QK >= least_Q1)
        return float(reached_QK.sum() / max(1, possible_QK.sum()))

    def _nearest(self, vectors_QD: Floats, k: int) -> Hits:
        if self._index is not None:
            return self._index.search(vectors_QD, k, self._candidates, **self._effort)
        if self._tensor is not None:
            return search_torch(self._tensor, self._blank, vectors_QD, k)
        return search_numpy(self._vectors, self._blank, vectors_QD, k)

    def _open(self) -> None:
        embeddings, *indexes = self._entries
        self._vectors: Floats = embeddings.array("vectors")
        self._blank: Rows = embeddings.array("blank")
        if not self._kept:  # the files are removed next
            self._vectors, self._blank = self._vectors.copy(), self._blank.copy()
        self._index = Approximate(indexes[0], self._vectors, mapped=self._kept) if indexes else None
        self._to_device()

    def _to_device(self) -> None:
        self._tensor: Any = None
        if self._device != "cpu":
            import torch

            self._tensor = torch.tensor(self._vectors, device=self._device)

    def __getstate__(self) -> dict[str, Any]:
        left_out = ("_vectors", "_blank", "_index", "_tensor") if self._kept else ("_tensor",)
        return {name: value for name, value in vars(self).items() if name not in left_out}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        if self._kept:
            self._open()
        else:
            self._to_device()


def usable_device(wanted: str | None) -> str:
    """Where to compute; raises `ValueError` for a GPU that is not there."""
    there = False
    if wanted != "cpu":
        with suppress(ModuleNotFoundError):
            import torch

            there = torch.cuda.is_available()
    if wanted == "cuda" and not there:
        raise ValueError("device: torch is not installed or sees no GPU; leave the option out, or set cpu")
    return "cuda" if there else "cpu"
