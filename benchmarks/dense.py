"""Dense search: exact in numpy, the FAISS indexes of `dense`, and FAISS alone, side by side.

    OMP_NUM_THREADS=1 python benchmarks/dense.py --items 10000 100000

Vectors have 384 dimensions and form clusters of about 100 items, as in real catalogs. Queries are items with noise,
as many as in a large training step. Times are wall time without encoding, the best of three. Recall is the share of
the true best k that was found. On a machine with a GPU, exact search on the GPU has a line of its own.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from retrievers import Catalog
from retrievers.base import Floats
from retrievers.dense.dense import Dense

DIM = 384
CUTOFFS = (10, 100, 1000)
STEP = 384
"""Queries per search: those of a large training step."""

LINES: Sequence[tuple[str, Mapping[str, Any]]] = [
    ("exact", {"device": "cpu"}),
    ("flat", {"index": "flat"}),
    ("ivf", {"index": "ivf"}),
    ("hnsw", {"index": "hnsw"}),
    ("pq", {"index": "pq"}),
]


@cache
def clustered(items: int) -> Floats:
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((max(10, items // 100), DIM), np.float32)
    vectors = centres[rng.integers(0, len(centres), items)]
    vectors += 0.7 * rng.standard_normal((items, DIM), np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


class Given:
    """An encoder that takes no time: a text is the number of a vector, and a query is that with noise."""

    def __init__(self, *, items: int) -> None:
        self.dim = DIM
        self.identity = {"items": items}
        self._vectors = clustered(items)

    def encode_items(self, texts: Sequence[str]) -> Floats:
        """The vectors of these numbers."""
        return self._vectors[[int(text) for text in texts]]

    def encode_queries(self, texts: Sequence[str]) -> Floats:
        """Those, moved a little; the same each time."""
        noise = np.random.default_rng(1).standard_normal((len(texts), DIM), np.float32)
        vectors = self.encode_items(texts) + np.float32(0.02) * noise
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def seconds(job: Callable[[], object], times: int = 3) -> float:
    best = float("inf")
    for _ in range(times):
        start = time.perf_counter()
        job()
        best = min(best, time.perf_counter() - start)
    return best


def line(name: str, built: float, each: Sequence[float], first: Sequence[float], recalls: Sequence[float]) -> None:
    cells = [
        f"{STEP / took:8,.0f} ({took / slow:5.2f}) {recall:.3f}"
        for took, slow, recall in zip(each, first, recalls, strict=True)
    ]
    print(f"{name:12} | {built:7.1f} s | {' | '.join(cells)}", flush=True)


def report(items: int, store: str) -> None:
    texts = [str(row) for row in range(items)]
    catalog = Catalog(texts, texts)
    queries = np.random.default_rng(2).choice(texts, STEP).tolist()
    print(f"\n{items:,} items | build     | " + " | ".join(f"queries/s k={k}, time, recall" for k in CUTOFFS))
    first: list[float] = []
    for name, options in [*LINES, *gpu_lines()]:
        Dense(catalog, encoder=encoder(items), store=store)  # embeddings are there: only the index is timed
        start = time.perf_counter()
        dense = Dense(catalog, encoder=encoder(items), store=store, **options)
        built = time.perf_counter() - start
        each = [seconds(lambda dense=dense, k=k: dense.search(queries, k)) for k in CUTOFFS]  # type: ignore[misc]
        first = first or each
        line(name, built, each, first, [dense.recall(queries[:100], k) for k in CUTOFFS])
    peer(items, queries, first)


def encoder(items: int) -> dict[str, Any]:
    return {"type": f"{__name__}:Given", "items": items}


def gpu_lines() -> Sequence[tuple[str, Mapping[str, Any]]]:
    import torch

    return [("exact, GPU", {"device": "cuda"})] if torch.cuda.is_available() else []


def peer(items: int, queries: Sequence[str], first: Sequence[float]) -> None:
    """FAISS without us: ties in any order, scores that depend on the batch."""
    import faiss

    start = time.perf_counter()
    index = faiss.IndexFlatIP(DIM)
    index.add(clustered(items))
    built = time.perf_counter() - start
    vectors = Given(items=items).encode_queries(queries)
    line("faiss alone", built, [seconds(lambda k=k: index.search(vectors, k)) for k in CUTOFFS], first, [1.0] * 3)  # type: ignore[misc]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, nargs="+", default=[10_000, 100_000], help="catalog sizes, 1000 or more")
    options = parser.parse_args()
    print("In brackets: how many times the time of the first line.")
    with tempfile.TemporaryDirectory() as store:
        for items in options.items:
            report(items, store)


if __name__ == "__main__":
    main()
