"""What a cache saves and what a service costs, side by side in one run: `python benchmarks/service.py`.

A step is one search of 384 different queries of 8 words (as in `benchmarks/retrieval.py`). Cached: the same step
again, from memory (best of 5) and from disk (a new cache each time, best of 2), against its first time and against no
cache. Service: the same step on an index in this process and on one in a process of its own on loopback, in turns (best
of 7); the difference is transfer, framing and the window of 2 ms.
"""

from __future__ import annotations

import argparse
import multiprocessing
import socket
import statistics
import tempfile
import time
from multiprocessing.connection import Connection

from retrieval import generated

from retrievers import BUILTIN, Catalog
from retrievers.base import Retriever
from retrievers.cache import Cached
from retrievers.fingerprint import retriever_fingerprint
from retrievers.nested import build_nested
from retrievers.service import Service

CUTOFFS = (10, 100, 1000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, nargs="+", default=[100_000], help="catalog sizes")
    parser.add_argument("--types", nargs="+", default=["bm25"], help="retrievers: bm25, rank_bm25, lucene ...")
    options = parser.parse_args()
    for items in options.items:
        catalog, queries = generated(items)
        for name in options.types:
            print(f"\n{name}, {items:,} items, {len(queries)} queries a step; milliseconds")
            cache(catalog, queries, {"type": name})
            service(catalog, queries, {"type": name}, items)


def cache(catalog: Catalog, queries: list[str], spec: dict[str, str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        plain = build_nested(spec, BUILTIN, catalog, path="retriever")
        plain.search(queries[:2], 10)  # compiles, or loads what was compiled
        for k in CUTOFFS:
            fresh = Cached(catalog, retriever=spec, disk=folder)
            first = _milliseconds(fresh, queries, k)
            assert fresh.stats["hit_rate"] == 0, fresh.stats
            again = min(_milliseconds(fresh, queries, k) for _ in range(5))
            assert fresh.stats["hit_rate"] == 1, fresh.stats
            disk = min(_milliseconds(Cached(catalog, retriever=spec, disk=folder), queries, k) for _ in range(2))
            alone = min(_milliseconds(plain, queries, k) for _ in range(5))
            print(
                f"  cached   k={k:<5} uncached {alone:8.2f}   first {first:8.2f}   "
                f"memory {again:7.3f} ({again / first:.2%} of first, {again / alone:.2%} of uncached)   "
                f"disk {disk:7.2f} ({disk / first:.1%})"
            )


def service(catalog: Catalog, queries: list[str], spec: dict[str, str], items: int) -> None:
    here = build_nested(spec, BUILTIN, catalog, path="retriever")
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(theirs, items, spec))
    process.start()
    client = Service(catalog, url=ours.recv())
    for k in CUTOFFS:
        pairs = []
        for _ in range(7):  # in turns, so that both meet the same load
            pairs.append((_milliseconds(here, queries, k), _milliseconds(client, queries, k)))
        alone, there = (min(column) for column in zip(*pairs, strict=True))
        median = statistics.median(b - a for a, b in pairs)
        print(
            f"  service  k={k:<5} in process {alone:8.2f}   service {there:8.2f}   overhead {there - alone:7.2f} "
            f"(median {median:.2f})"
        )
    ours.send(None)
    process.join()


def serve(pipe: Connection, items: int, spec: dict[str, str]) -> None:
    from retrievers.service_app import SearchService, Served, serving

    catalog, queries = generated(items)
    retriever = build_nested(spec, BUILTIN, catalog, path="retriever")
    retriever.search(queries[:2], 10)
    app = SearchService()
    with serving(app, socket.create_server(("127.0.0.1", 0))) as running:
        app.serve(Served(catalog, retriever, retriever_fingerprint(spec, catalog, retriever)))
        pipe.send(running.address)
        pipe.recv()


def _milliseconds(retriever: Retriever, queries: list[str], k: int) -> float:
    start = time.perf_counter()
    retriever.search(queries, k)
    return 1000 * (time.perf_counter() - start)


if __name__ == "__main__":
    main()
