"""What a cache saves and what an index in another process costs: `python benchmarks/service.py`.

    OMP_NUM_THREADS=1 python benchmarks/service.py --types bm25 lucene "{type: dense, encoder: hashing}"

A step is one search of 384 different queries of 8 words (as in `benchmarks/retrieval.py`). Cached: the same step
again, from memory, from disk alone (best of 5 each), and as the first step of a new process from disk, beside its
first time, in which it was searched and written. Service: the same step on an index in this process and on one in
another process on loopback, in turns (best of 7). The difference is transfer, framing and the window of 2 ms.
"""

from __future__ import annotations

import argparse
import gc
import json
import multiprocessing
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from typing import Any

import yaml
from retrieval import generated

from retrievers import PARTS, Catalog
from retrievers.abilities import retriever_fingerprint
from retrievers.base import Retriever
from retrievers.combine.cached import Cached
from retrievers.service.client import Service

CUTOFFS = (10, 100, 1000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, nargs="+", default=[100_000], help="catalog sizes")
    parser.add_argument("--types", nargs="+", default=["bm25"], help="retrievers: bm25, lucene, {type: dense, ...}")
    parser.add_argument("--only", choices=["cached", "service"], help="leave the other out")
    parser.add_argument("--again", nargs=2, metavar=("FOLDER", "K"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.again:
        folder, k = options.again
        catalog, queries = generated(options.items[0])
        fresh = Cached(catalog, retriever=spec_of(options.types[0]), disk=folder)
        print(json.dumps([_milliseconds(fresh, queries, int(k)), fresh.stats["hit_rate"]]))
        return
    for items in options.items:
        catalog, queries = generated(items)
        for name in options.types:
            print(f"\n{name}, {items:,} items, {len(queries)} queries a step; milliseconds")
            if options.only != "service":
                cache(catalog, queries, name)
            if options.only != "cached":
                service(catalog, queries, spec_of(name), items)


def spec_of(name: str) -> dict[str, Any]:
    """A retriever as a recipe writes it, or its type alone."""
    spec = yaml.safe_load(name)
    return spec if isinstance(spec, dict) else {"type": spec}


def cache(catalog: Catalog, queries: list[str], name: str) -> None:
    spec = spec_of(name)
    with tempfile.TemporaryDirectory() as folder:
        plain = PARTS.build("retriever", spec, catalog)
        plain.search(queries[:2], 10)  # compiles, or loads what was compiled
        for k in CUTOFFS:
            fresh = Cached(catalog, retriever=spec, disk=folder)
            first = _milliseconds(fresh, queries, k)
            assert fresh.stats["hit_rate"] == 0, fresh.stats
            again = min(_milliseconds(fresh, queries, k) for _ in range(5))
            assert fresh.stats["hit_rate"] == 1, fresh.stats
            forgets = Cached(catalog, retriever=spec, disk=folder, memory=0)
            disk = min(_milliseconds(forgets, queries, k) for _ in range(5))
            assert forgets.stats["hit_rate_total"] == 1, forgets.stats
            command = [sys.executable, __file__, "--items", str(len(catalog)), "--types", name]
            done = subprocess.run([*command, "--again", folder, str(k)], check=True, capture_output=True, text=True)
            new, hit_rate = json.loads(done.stdout.splitlines()[-1])
            assert hit_rate == 1, hit_rate
            alone = min(_milliseconds(plain, queries, k) for _ in range(3))
            print(f"  cached   k={k:<5} uncached {alone:9.2f}   first {first:9.2f}   of first: ", end="")
            print(f"memory {again / first:.2%}, disk {disk / first:.2%}, disk in a new process {new / first:.2%}")


def service(catalog: Catalog, queries: list[str], spec: dict[str, Any], items: int) -> None:
    here = PARTS.build("retriever", spec, catalog)
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


def serve(pipe: Connection, items: int, spec: dict[str, Any]) -> None:
    from retrievers.service.app import SearchService, Served
    from retrievers.service.server import serving

    catalog, queries = generated(items)
    retriever = PARTS.build("retriever", spec, catalog)
    retriever.search(queries[:2], 10)
    app = SearchService()
    with serving(app, socket.create_server(("127.0.0.1", 0))) as running:
        app.serve(Served(catalog, retriever, retriever_fingerprint(spec, catalog, retriever)))
        pipe.send(running.address)
        pipe.recv()


def _milliseconds(retriever: Retriever, queries: list[str], k: int) -> float:
    gc.collect()  # what is due by now is not the step's
    start = time.perf_counter()
    retriever.search(queries, k)
    return 1000 * (time.perf_counter() - start)


if __name__ == "__main__":
    main()
