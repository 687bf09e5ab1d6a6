"""Lucene through our retriever and through pyserini, on the same index.

    OMP_NUM_THREADS=1 python benchmarks/lucene.py --items 10000 100000
    OMP_NUM_THREADS=1 python benchmarks/lucene.py --items 1000000 --threads 1

Pyserini's line makes the calls of its `LuceneSearcher.batch_search` and reads the id and the score of each hit, without
importing its Python package (which takes seconds and 600 MB more, and is left out of the comparison). Catalog and
queries are those of retrieval.py. Times are the best of several rounds on the wall clock in which the two take turns.
Java is ours there. Each also runs in a process of its own, with Java as it starts it itself: ready is from the first
call of Java to the first answer, the index built before; memory is the most that it held beside the catalog.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from lucene_engines import open_pyserini
from retrieval import CUTOFFS, generated

from retrievers import Catalog
from retrievers.lucene.lucene import Lucene

ROUNDS = 5

Search = Callable[[Sequence[str], int], object]


def open_ours(catalog: Catalog, store: str, threads: int) -> Search:
    return Lucene(catalog, store=store, threads=threads).search


def open_theirs(catalog: Catalog, store: str, threads: int) -> Search:
    (folder,) = Path(store).glob("lucene-*/")
    search = open_pyserini(catalog, folder)
    return lambda queries, k: search(queries, k, threads)


ENGINES = {"lucene": open_ours, "pyserini": open_theirs}


def ready_and_memory(engine: str, items: int, store: str, threads: int) -> tuple[float, float]:
    """Seconds until the first answer, and the most megabytes beside the catalog in a step at each cutoff."""
    catalog, queries = generated(items)
    _ = catalog.fingerprint  # known by then in any run
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak of generating
    before = megabytes("VmRSS")
    start = time.perf_counter()
    search = ENGINES[engine](catalog, store, threads)
    search(queries[:1], CUTOFFS[0])
    ready = time.perf_counter() - start
    for k in CUTOFFS:
        search(queries, k)
    return ready, megabytes("VmHWM") - before


def megabytes(name: str) -> float:
    """A figure of this process, from Linux."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status[name].split()[0]) / 1024


def in_a_process(engine: str, items: int, store: str, threads: int) -> tuple[float, float]:
    command = [sys.executable, __file__, "--one", engine, "--items", str(items), "--threads", str(threads)]
    done = subprocess.run([*command, "--store", store], check=True, capture_output=True, text=True)
    ready, memory = json.loads(done.stdout.splitlines()[-1])
    return ready, memory


def per_query(searches: Mapping[str, Search], queries: Sequence[str], k: int) -> dict[str, float]:
    """Seconds a query of each engine: the best of several rounds in which they take turns, so that load hits all."""
    best = dict.fromkeys(searches, float("inf"))
    for _ in range(ROUNDS):
        for engine, search in searches.items():
            start = time.perf_counter()
            search(queries, k)
            best[engine] = min(best[engine], (time.perf_counter() - start) / len(queries))
    return best


def report(items: int, threads: int) -> None:
    catalog, queries = generated(items)
    with tempfile.TemporaryDirectory() as store:
        start = time.perf_counter()
        searches = {engine: open_it(catalog, store, threads) for engine, open_it in ENGINES.items()}
        built = time.perf_counter() - start
        size = sum(file.stat().st_size for file in Path(store).rglob("*") if file.is_file()) / 2**20
        print(f"\n{items:,} items, {threads} threads; built in {built:.1f} s, {size:.0f} MB on disk")
        alone = {engine: in_a_process(engine, items, store, threads) for engine in ENGINES}
        taken = {k: per_query(searches, queries, k) for k in CUTOFFS}
        for engine, (ready, memory) in alone.items():
            rates = "".join(
                f" | {1 / each[engine]:7,.0f} ({each[engine] / each['lucene']:5.1f})" for each in taken.values()
            )
            print(f"{engine:9} ready {ready:4.1f} s{rates} | {memory:6,.0f} MB ({memory / alone['lucene'][1]:3.1f})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, nargs="+", default=[10_000, 100_000], help="catalog sizes, 1000 or more")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="how many threads search")
    parser.add_argument("--one", choices=ENGINES, help=argparse.SUPPRESS)
    parser.add_argument("--store", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(ready_and_memory(options.one, options.items[0], options.store, options.threads)))
        return
    print(
        f"Queries per second at k={', '.join(map(str, CUTOFFS))}. In brackets: how many times that of the first line."
    )
    for items in options.items:
        report(items, options.threads)


if __name__ == "__main__":
    main()
