"""Search speed, side by side in one run: our two backends, bm25s's own numba search, and the library rank-bm25.

    OMP_NUM_THREADS=1 python benchmarks/retrieval.py --items 10000 100000
    OMP_NUM_THREADS=1 python benchmarks/retrieval.py --items 1000000

Items are 30 words of a vocabulary of 50,000 and queries are 8, drawn with Zipf's frequencies, common words included.
All four are given text and cut it into the same terms within the time. Times are the best of three on the wall clock,
compiling left out.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from retrievers import Catalog
from retrievers.analyzer import Analyzer
from retrievers.bm25 import BM25

CUTOFFS = (10, 100, 1000)
STEP = 384
"""Queries per search: those of a large training step."""


class Engine(NamedTuple):
    """What is measured."""

    name: str
    build: Callable[[Catalog], Callable[[Sequence[str], int], object]]
    queries: int
    """How many are timed: fewer for what is slow."""


def generated(items: int, seed: int = 0) -> tuple[Catalog, list[str]]:
    rng = np.random.default_rng(seed)
    words = np.array([f"w{word}" for word in range(50_000)])
    frequencies = 1 / np.arange(1, len(words) + 1)
    frequencies /= frequencies.sum()
    texts = [" ".join(row) for row in words[rng.choice(len(words), (items, 30), p=frequencies)]]
    queries = [" ".join(row) for row in words[rng.choice(len(words), (STEP, 8), p=frequencies)]]
    return Catalog([str(row) for row in range(items)], texts), queries


def build_ours(backend: str) -> Callable[[Catalog], Callable[[Sequence[str], int], object]]:
    return lambda catalog: BM25(catalog, backend=backend).search


def build_bm25s(catalog: Catalog) -> Callable[[Sequence[str], int], object]:
    import bm25s

    cut = Analyzer().terms
    index = bm25s.BM25(k1=1.2, b=0.75, method="lucene", backend="numba")
    index.index([cut(text) for text in catalog.texts], show_progress=False)
    return lambda queries, k: index.retrieve([cut(query) for query in queries], k=k, show_progress=False)


def build_rank_bm25(catalog: Catalog) -> Callable[[Sequence[str], int], object]:
    from rank_bm25 import BM25Okapi

    cut = Analyzer().terms
    index = BM25Okapi([cut(text) for text in catalog.texts])

    def search(queries: Sequence[str], k: int) -> object:
        return [np.argsort(index.get_scores(cut(query)))[::-1][:k] for query in queries]

    return search


ENGINES = [
    Engine("bm25, numba", build_ours("numba"), STEP),
    Engine("bm25, numpy", build_ours("numpy"), STEP),
    Engine("bm25s, numba", build_bm25s, STEP),
    Engine("rank-bm25", build_rank_bm25, 4),
]


def seconds(job: Callable[[], object], times: int = 3) -> float:
    best = float("inf")
    for _ in range(times):
        start = time.perf_counter()
        job()
        best = min(best, time.perf_counter() - start)
    return best


def measure(engine: Engine, catalog: Catalog, queries: list[str]) -> tuple[float, list[float]]:
    """Seconds to build, and seconds per query at each cutoff."""
    start = time.perf_counter()
    search = engine.build(catalog)
    built = time.perf_counter() - start
    asked = queries[: engine.queries]
    search(asked[:2], CUTOFFS[0])  # compiles, or loads what was compiled
    return built, [seconds(lambda k=k: search(asked, k)) / len(asked) for k in CUTOFFS]  # type: ignore[misc]


def report(items: int, engines: Sequence[Engine]) -> None:
    catalog, queries = generated(items)
    print(
        f"\n{items:,} items" + "".join(f" | queries/s k={k}" for k in CUTOFFS) + f" | {STEP} queries, k={CUTOFFS[-1]}"
    )
    ours: list[float] = []
    for engine in engines:
        built, each = measure(engine, catalog, queries)
        ours = ours or each
        rates = "".join(f" | {1 / at_k:10,.0f} ({at_k / best:5.1f})" for at_k, best in zip(each, ours, strict=True))
        print(f"{engine.name:12} build {built:6.1f} s{rates} | {STEP * each[-1]:8.3f} s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, nargs="+", default=[10_000, 100_000], help="catalog sizes, 1000 or more")
    parser.add_argument("--without-rank-bm25", action="store_true", help="leave out the one that takes minutes")
    options = parser.parse_args()
    print("In brackets: how many times the time of the first line.")
    for items in options.items:
        report(items, ENGINES[:3] if options.without_rank_bm25 else ENGINES)


if __name__ == "__main__":
    main()
