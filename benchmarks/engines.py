"""The engines that retrieval.py compares, and the process in which one of them is measured.

Every engine gets the same texts and queries and splits them, within the measured time, into the same lower-case
words. A search reads the row and the score of each hit, and nothing else.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from lucene_engines import Search, build_lucene, build_pyserini, open_lucene, open_pyserini

from retrievers import Catalog

FEW, TURN = 4, 2.0
"""A turn searches as many of the queries as take about TURN seconds, and these at least."""

SETTLED = 3000
"""Queries that are searched before the first turn, if they take no more than 5 turns: Java goes on compiling for two
thousand and more, in which a query takes up to three times as long."""

SHORT = 0.5
"""A turn that takes less is repeated until it took that long; the best time counts."""


class Engine(NamedTuple):
    """What is measured: how it is built into a folder, and opened from there."""

    build: Callable[[Catalog, Path], object]
    """What it gives back is held while memory is read."""
    open: Callable[[Catalog, Path], Search]
    ours: bool = False


def in_threads(search: Callable[[Sequence[str], int], object]) -> Search:
    """A search without an option for threads, called from several at once with a part of the queries each."""

    def spread(queries: Sequence[str], k: int, threads: int) -> object:
        if threads == 1:
            return search(queries, k)
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(lambda part: search(part, k), [queries[part::threads] for part in range(threads)]))

    return spread


def ours(spec: dict[str, Any]) -> Engine:
    """One of our retrievers, as a recipe writes it; those of two threads search halves."""

    def build(catalog: Catalog, folder: Path) -> Any:
        from retrievers import PARTS

        parts = {"parts": [{**part, "store": str(folder)} for part in spec["parts"]]} if "parts" in spec else {}
        store = {} if parts else {"store": str(folder)}
        return PARTS.build("retriever", {**spec, **parts, **store}, catalog)

    return Engine(build, lambda catalog, folder: in_threads(build(catalog, folder).search), ours=True)


def build_bm25s(catalog: Catalog, folder: Path) -> Any:
    import bm25s

    from retrievers.analyzer import Analyzer

    index = bm25s.BM25(k1=1.2, b=0.75, method="lucene", backend="numba")
    index.index([Analyzer().terms(text) for text in catalog.texts], show_progress=False)
    index.save(folder, show_progress=False)
    return index


def open_bm25s(_: Catalog, folder: Path) -> Search:
    import bm25s

    from retrievers.analyzer import Analyzer

    index = bm25s.BM25.load(folder, mmap=True)
    index.backend = "numba"
    cut = Analyzer().terms
    return lambda queries, k, threads: index.retrieve(
        [cut(query) for query in queries], k=k, n_threads=threads, show_progress=False
    )


def build_rank_bm25(catalog: Catalog, _: Path) -> Any:
    from rank_bm25 import BM25Okapi

    from retrievers.analyzer import Analyzer

    return BM25Okapi([Analyzer().terms(text) for text in catalog.texts])


def open_rank_bm25(catalog: Catalog, folder: Path) -> Search:
    """It has no files: opening it is building it."""
    import numpy as np

    from retrievers.analyzer import Analyzer

    index, cut = build_rank_bm25(catalog, folder), Analyzer().terms

    def search(queries: Sequence[str], k: int) -> object:
        return [np.argsort(index.get_scores(cut(query)))[::-1][:k] for query in queries]

    return in_threads(search)


def build_tantivy(catalog: Catalog, folder: Path) -> None:
    import tantivy

    schema = tantivy.SchemaBuilder().add_text_field("text", index_option="freq").add_integer_field("row", fast=True)
    writer = tantivy.Index(schema.build(), path=str(folder)).writer(num_threads=1)
    for row, text in enumerate(catalog.texts):
        writer.add_document(tantivy.Document(text=text, row=row))
    writer.commit()
    writer.wait_merging_threads()


def open_tantivy(_: Catalog, folder: Path) -> Search:
    import tantivy

    index = tantivy.Index.open(str(folder))
    searcher = index.searcher()

    def search(queries: Sequence[str], k: int) -> object:
        found = [searcher.search(index.parse_query(query, ["text"]), k, count=False).hits for query in queries]
        rows = searcher.fast_field_values("row", [address for hits in found for _, address in hits])
        return found, rows

    return in_threads(search)


HASHING = {"type": "hashing"}

ENGINES = {
    "bm25": ours({"type": "bm25", "backend": "numba"}),
    "bm25-numpy": ours({"type": "bm25", "backend": "numpy"}),
    "lucene": Engine(build_lucene, open_lucene, ours=True),
    "dense-exact": ours({"type": "dense", "encoder": HASHING, "device": "cpu"}),
    "dense-flat": ours({"type": "dense", "encoder": HASHING, "index": "flat"}),
    "dense-hnsw": ours({"type": "dense", "encoder": HASHING, "index": "hnsw"}),
    "hybrid": ours(
        {"type": "hybrid", "depth": 3000, "parts": [{"type": "bm25"}, {"type": "dense", "encoder": HASHING}]}
    ),
    "bm25s": Engine(build_bm25s, open_bm25s),
    "pyserini": Engine(build_pyserini, open_pyserini),
    "tantivy": Engine(build_tantivy, open_tantivy),
    "rank-bm25": Engine(build_rank_bm25, open_rank_bm25),
}


def megabytes(name: str) -> float:
    """A figure of this process, from Linux: VmRSS is its memory now, VmHWM the most it ever had."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status[name].split()[0]) / 1024


def load(data: Path) -> Catalog:
    """The catalog that was written there; the most memory is counted from then on."""
    texts = (data / "texts.txt").read_text().splitlines()
    catalog = Catalog([str(row) for row in range(len(texts))], texts)
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")
    return catalog


def report_build(engine: Engine, data: Path, folder: Path) -> dict[str, float]:
    """Seconds that it takes, the memory before, and the most while."""
    catalog = load(data)
    before = megabytes("VmRSS")
    start = time.perf_counter()
    held = engine.build(catalog, folder)
    built = time.perf_counter() - start
    peak, kept = megabytes("VmHWM"), megabytes("VmRSS")
    files = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 2**20
    size = {"index_mb": files} if files else {"index_mb": kept - before, "in_memory": True}
    del held
    return {"build_s": built, "catalog_mb": before, "build_peak_mb": peak, **size}


def serve(engine: Engine, data: Path, folder: Path, started: float) -> None:
    """Opens the engine, answers one query, and then does what each line of the input says."""
    catalog = load(data)
    queries = (data / "queries.txt").read_text().splitlines()
    start = time.perf_counter()
    search = engine.open(catalog, folder)
    opened = time.perf_counter() - start
    search(queries[:1], 10, 1)
    first = time.perf_counter() - start
    say({"open_s": opened, "first_s": first, "ready_s": time.time() - started})
    settle(search, queries)
    counts: dict[str, int] = {}
    for line in sys.stdin:
        k, threads = json.loads(line)
        hold_to(threads)
        asked_in = partial(seconds, search, k=k, threads=threads)
        if line not in counts:
            each = warm(asked_in, queries, threads)
            counts[line] = min(len(queries), max(FEW, int(TURN / each)))
        asked = queries[: counts[line]]
        say({"query_s": best(asked_in, asked) / len(asked), "queries": len(asked), "peak_mb": megabytes("VmHWM")})


CORES = sorted(os.sched_getaffinity(0))


def hold_to(cores: int) -> None:
    """Limits all threads of this process to this number of cores.

    What an engine is asked to do in one thread it may do in two: pyserini's batch_search takes twice the CPU time of
    what it is timed at.
    """
    for thread in os.listdir("/proc/self/task"):
        with contextlib.suppress(ProcessLookupError):  # it has ended
            os.sched_setaffinity(int(thread), CORES[:cores])


def seconds(search: Search, queries: Sequence[str], k: int, threads: int) -> float:
    start = time.perf_counter()
    search(queries, k, threads)
    return time.perf_counter() - start


def warm(asked_in: Callable[[Sequence[str]], float], queries: Sequence[str], threads: int) -> float:
    """Lets numba and Java compile for a turn; gives seconds per query then."""
    each, until = asked_in(queries[: 2 * threads]), time.perf_counter() + TURN
    for first in range(0, len(queries), FEW * threads):
        some = queries[first : first + FEW * threads]
        each = asked_in(some) / len(some)
        if time.perf_counter() > until:
            break
    return each


def settle(search: Search, queries: Sequence[str]) -> None:
    """Searches until compilers have little left to do."""
    until = time.perf_counter() + 5 * TURN
    for first in range(0, SETTLED, 2 * FEW):
        if time.perf_counter() > until:
            return
        search([queries[(first + place) % len(queries)] for place in range(2 * FEW)], 10, 1)


def best(asked_in: Callable[[Sequence[str]], float], queries: Sequence[str]) -> float:
    until = time.perf_counter() + SHORT
    least = asked_in(queries)
    while time.perf_counter() < until:
        least = min(least, asked_in(queries))
    return least


def say(record: dict[str, float]) -> None:
    """One line for retrieval.py: libraries write to the output too."""
    print(f"\n{MARK}{json.dumps(record)}", flush=True)


MARK = "measured: "

if __name__ == "__main__":
    if len(sys.argv) == 1:
        print(f"retrieval.py measures these: {', '.join(ENGINES)}")
    elif sys.argv[1] == "build":
        say(report_build(ENGINES[sys.argv[2]], Path(sys.argv[3]), Path(sys.argv[4])))
    else:
        serve(ENGINES[sys.argv[2]], Path(sys.argv[3]), Path(sys.argv[4]), float(sys.argv[5]))
