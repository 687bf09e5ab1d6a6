"""FAISS indexes over vectors: they find candidates quickly, and those are ranked by their exact scores."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from math import ceil, sqrt
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from retrievers.base import Floats, Hits, Rows
from retrievers.store import Entry, save_array
from retrievers.topk import no_hits

FILE = "index.faiss"
PQ_CENTROIDS = 256
"""Of each part of a vector in `pq`, which is one byte."""
CODES_PER_HIT = 4
"""How many items `pq` returns for each that is wanted: it compares bytes, and ranks only approximately."""
EXAMPLES_PER_GROUP = 64
"""The most that FAISS learns from: more cost memory and change little."""
ITEMS_PER_GROUP = 39
"""FAISS asks for this many examples of each group that it learns."""


class Build(NamedTuple):
    """What an index is built with; part of its key in the store."""

    kind: str
    nlist: int = 0
    hnsw_m: int = 0
    ef_construction: int = 0
    pq_m: int = 0


def resolved(kind: str, items: int, dim: int, options: Mapping[str, int | None]) -> Build:
    """The options of an index for this many items, with the defaults of those that were not given, which are None.

    Raises `ValueError` for a value that does not fit the catalog or the encoder.
    """
    if kind == "ivf":
        nlist = options["nlist"] or max(1, min(round(4 * sqrt(items)), items // ITEMS_PER_GROUP))
        if nlist > items:
            raise ValueError(f"nlist: there cannot be {nlist} groups of {items} items; leave it out, or name fewer")
        return Build("ivf", nlist=nlist)
    if kind == "hnsw":
        return Build("hnsw", hnsw_m=options["hnsw_m"] or 32, ef_construction=options["ef_construction"] or 100)
    if kind == "pq":
        parts = options["pq_m"] or next(parts for parts in range(max(1, dim // 8), 0, -1) if dim % parts == 0)
        if dim % parts:
            raise ValueError(f"pq_m: {dim} dimensions cannot be cut into {parts} equal parts; name a divisor")
        return Build("pq", pq_m=parts)
    return Build(kind)


def library() -> Any:
    """The module faiss; raises `ValueError` where it is not installed."""
    try:
        import faiss
    except ModuleNotFoundError as error:
        raise ValueError(f"index: needs the library faiss ({error}); pip install 'recr1[dense]', or exact") from error
    return faiss


def write_index(vectors_ND: Floats, build: Build, folder: Path) -> None:
    """Trains an index, adds each different vector once, and saves it in a folder with the items of each vector.

    A vector that many items share is added once, because in a graph each would link to its equals only; blank ones are
    left out, because they are never found.
    """
    faiss = library()
    first_N = _first_places(vectors_ND)
    members = np.argsort(first_N, kind="stable")[np.count_nonzero(first_N < 0) :]
    different, counts = np.unique(first_N[members], return_counts=True)
    index = _empty(faiss, vectors_ND.shape[1], len(different), build)
    if not index.is_trained:
        # Items are repeated where there are fewer than FAISS wants to learn from; it need not warn.
        (index.pq if build.kind == "pq" else index).cp.min_points_per_centroid = 1
        groups = PQ_CENTROIDS if build.kind == "pq" else index.nlist
        examples, most = np.resize(different, max(groups, len(different))), groups * EXAMPLES_PER_GROUP
        if len(different) > most:
            examples = np.random.default_rng(0).choice(different, most, replace=False)
        index.train(vectors_ND[examples])
    for first in range(0, len(different), 2**16):
        index.add(vectors_ND[different[first : first + 2**16]])
    faiss.write_index(index, str(folder / FILE))
    save_array(folder, "members", members.astype(np.int32))
    save_array(folder, "ends", np.concatenate([[0], np.cumsum(counts)]))


class Approximate:
    """An index on disk, opened. Vector u of it belongs to the items from `ends[u]` to `ends[u + 1]` of `members`."""

    def __init__(self, entry: Entry, vectors_ND: Floats, *, mapped: bool) -> None:
        faiss = library()
        self._index = faiss.read_index(str(entry.folder / FILE), faiss.IO_FLAG_MMAP_IFC if mapped else 0)
        self._vectors_ND = vectors_ND
        self._has_codes = isinstance(self._index, faiss.IndexPQ)
        members, ends = entry.array("members"), entry.array("ends")
        self._members, self._ends = (members, ends) if mapped else (members.copy(), ends.copy())

    def search(self, queries_QD: Floats, k: int, candidates: int, *, nprobe: int | None, ef_search: int | None) -> Hits:
        """Hits of shape (Q, k): FAISS finds the nearest vectors approximately; those are compared exactly.

        Effort that is not fixed grows with k: on clustered catalogs the recall of a constant effort falls with k.
        """
        hits = no_hits(len(queries_QD), k)
        depth = min(self._index.ntotal, max(candidates, CODES_PER_HIT * k if self._has_codes else k))
        if not depth:
            return hits
        effort = self._effort(depth, nprobe, ef_search or 2 * k)
        _, vectors_QU = self._index.search(np.ascontiguousarray(queries_QD), depth, params=effort)
        for place, (query_D, vectors_U) in enumerate(zip(queries_QD, vectors_QU, strict=True)):
            rows, scores = self._ranked(query_D, vectors_U[vectors_U >= 0], k)
            hits.rows_QK[place, : len(rows)], hits.scores_QK[place, : len(rows)] = rows, scores
        return hits

    def _ranked(self, query_D: Floats, vectors_U: NDArray[np.int64], k: int) -> tuple[Rows, Floats]:
        """The k best items that have one of some vectors, and their scores."""
        starts_U = self._ends[vectors_U]
        compared = self._vectors_ND[self._members[starts_U]].astype(np.float64)
        scores_U = (compared @ query_D.astype(np.float64)).astype(np.float32)
        counts_U = np.minimum(self._ends[vectors_U + 1] - starts_U, k)
        before_U = np.cumsum(counts_U) - counts_U
        rows = self._members[np.arange(counts_U.sum()) + np.repeat(starts_U - before_U, counts_U)]
        scores = np.repeat(scores_U, counts_U) + np.float32(0)  # one zero, not two
        best = np.lexsort((rows, -scores))[:k]
        return rows[best], scores[best]

    def _effort(self, depth: int, nprobe: int | None, ef_search: int) -> Any:
        faiss = library()
        if isinstance(self._index, faiss.IndexIVF):
            enough = max(8, ceil(8 * depth * self._index.nlist / self._index.ntotal))
            return faiss.SearchParametersIVF(nprobe=min(self._index.nlist, nprobe or enough))
        if isinstance(self._index, faiss.IndexHNSW):
            return faiss.SearchParametersHNSW(efSearch=max(depth, ef_search))
        return None


def _empty(faiss: Any, dim: int, items: int, build: Build) -> Any:
    """An empty index of a kind; where there is nothing to learn from, the one that needs no training."""
    inner = faiss.METRIC_INNER_PRODUCT
    if build.kind == "ivf" and items:
        return faiss.index_factory(dim, f"IVF{min(build.nlist, items)},Flat", inner)
    if build.kind == "hnsw":
        index = faiss.IndexHNSWFlat(dim, build.hnsw_m, inner)
        index.hnsw.efConstruction = build.ef_construction
        return index
    if build.kind == "pq" and items:
        return faiss.IndexPQ(dim, build.pq_m, 8, inner)
    return faiss.IndexFlatIP(dim)


def _first_places(vectors_ND: Floats) -> NDArray[np.int64]:
    """For each row, the first row with the same vector; -1 for a blank one."""
    places: dict[bytes, int] = {}
    blank = blake2b(bytes(4 * vectors_ND.shape[1])).digest()
    first_N = np.empty(len(vectors_ND), np.int64)
    for row, vector in enumerate(vectors_ND):
        digest = blake2b((vector + np.float32(0)).tobytes()).digest()  # plus zero: -0.0 is 0.0
        first_N[row] = -1 if digest == blank else places.setdefault(digest, row)
    return first_N
