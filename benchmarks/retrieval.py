"""Every retriever that runs in a process, and its peers, in one table: time, memory and speed at growing sizes.

    python benchmarks/retrieval.py                                          # 10,000 and 100,000 items
    python benchmarks/retrieval.py --items 10000 100000 1000000 --json table.json
    python benchmarks/retrieval.py --items 1000000 --engines bm25 bm25s pyserini --threads 1

Items are 30 words of a vocabulary of 50,000 and queries are 8, drawn with Zipf's frequencies, common words included.
Each engine is built in a process of its own and opened in another one, so that no figure holds a trace of a neighbour:

- build: from the catalog in memory to the index, with one thread; index: its bytes on disk (of one that has no files,
  the memory that it keeps);
- memory: of the process before the build, which is the catalog, and the most in the build and in all searches;
- open: from the catalog in memory to a retriever, in a fresh process, files in the system's cache; ready: from the
  start of that process to the answer to the first query, the catalog read from text included;
- queries a second: the best of several turns, warm. In a turn, each engine searches as many of 384 queries as take
  about two seconds. Engines take turns, so that what else the machine does hits all. In brackets: how many times the
  time of the first engine. With n threads, the queries of a turn are spread over n (Lucene and bm25s do it themselves),
  and the process has n cores.

An engine that is not installed, fails, or takes longer than the limit for one step is left out, with the reason. The
line of `bm25` without compiled code is the time until ready when numba compiles first, as once on each machine. Memory
is read from Linux.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from engines import ENGINES, MARK

from retrievers import Catalog

CUTOFFS = (10, 100, 1000, 3000)
STEP = 384
"""Queries per search: those of a large training step."""

TURNS = 3

MOST_ITEMS = {"rank-bm25": 100_000, "bm25-numpy": 1_000_000, "dense-hnsw": 100_000}
"""Beyond these, an engine takes minutes a query or hours to build; --no-bounds tries."""

ONE_THREAD = dict.fromkeys(["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"], "1")
"""Threads are ours to count; libraries must not add theirs."""


class LeftOut(Exception):  # noqa: N818 - it says what happened
    """Why an engine has no figures."""


def generated(items: int, seed: int = 0) -> tuple[Catalog, list[str]]:
    rng = np.random.default_rng(seed)
    words = np.array([f"w{word}" for word in range(50_000)])
    frequencies = 1 / np.arange(1, len(words) + 1)
    frequencies /= frequencies.sum()
    texts = [" ".join(row) for row in words[rng.choice(len(words), (items, 30), p=frequencies)]]
    queries = [" ".join(row) for row in words[rng.choice(len(words), (STEP, 8), p=frequencies)]]
    return Catalog([str(row) for row in range(items)], texts), queries


def write_data(items: int, data: Path) -> None:
    catalog, queries = generated(items)
    for name, lines in (("texts", catalog.texts), ("queries", queries)):
        (data / f"{name}.txt").write_text("".join(f"{line}\n" for line in lines))


class Child:
    """A process that measures one engine; every answer must come within the limit."""

    def __init__(self, what: str, engine: str, *paths: Path, limit: float, environment: Mapping[str, str]) -> None:
        command = [sys.executable, str(Path(__file__).with_name("engines.py")), what, engine, *map(str, paths)]
        self._limit = limit
        self._errors = tempfile.TemporaryFile("w+")
        self._process = subprocess.Popen(
            [*command, str(time.time())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env={**os.environ, **ONE_THREAD, **environment},
        )
        self._answers: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            if line.startswith(MARK):
                self._answers.put(line.removeprefix(MARK))
        self._answers.put("")

    def answer(self) -> dict[str, Any]:
        """What it measured next; raises `LeftOut`."""
        try:
            line = self._answers.get(timeout=self._limit)
        except queue.Empty:
            self._fail(f"no answer within {self._limit:,.0f} s")
        if not line:
            self._fail(self._last_words())
        answer: dict[str, Any] = json.loads(line)
        return answer

    def ask(self, *request: int) -> dict[str, Any]:
        """One turn of searching; raises `LeftOut`."""
        assert self._process.stdin
        try:
            print(json.dumps(request), file=self._process.stdin, flush=True)
        except OSError:
            self._fail(self._last_words())
        return self.answer()

    def end(self) -> None:
        """Ends the process, whatever it does."""
        self._process.kill()
        self._process.wait()
        self._errors.close()

    def _last_words(self) -> str:
        status = self._process.wait()
        self._errors.seek(0)
        lines = [line for line in self._errors.read().splitlines() if line.strip()]
        return lines[-1][:200] if lines else f"ended with status {status}"

    def _fail(self, reason: str) -> NoReturn:
        self.end()
        raise LeftOut(reason)


class Table:
    """Measures all engines at one size."""

    def __init__(self, items: int, options: argparse.Namespace, folder: Path) -> None:
        self.records: dict[str, dict[str, Any]] = {
            name: {"items": items, "engine": name, "searches": {}} for name in options.engines
        }
        self._items, self._options, self._data = items, options, folder
        self._serving: dict[str, Child] = {}

    def measure(self) -> None:
        """Fills the records: builds, then opens, then searches in turns."""
        self._say("writing the catalog")
        write_data(self._items, self._data)
        try:
            for name in self.records:
                self._with(name, self._build)
            for name in self.records:
                self._with(name, self._open)
            for threads in self._options.threads:
                for k in self._options.cutoffs:
                    self._say(f"searching, k={k}, {threads} threads")
                    for _ in range(TURNS):
                        self._turn(k, threads)
        finally:
            for child in self._serving.values():
                child.end()

    def _with(self, name: str, step: Any) -> None:
        record = self.records[name]
        if "left_out" in record:
            return
        try:
            step(name, record)
        except LeftOut as reason:
            record["left_out"] = str(reason)
            self._say(f"{name} is left out: {reason}")

    def _build(self, name: str, record: dict[str, Any]) -> None:
        most = MOST_ITEMS.get(name)
        if most is not None and self._items > most and self._options.bounds:
            raise LeftOut(f"takes too long beyond {most:,} items (--no-bounds tries)")
        self._say(f"building {name}")
        (self._data / name).mkdir()
        child = self._child("build", name)
        record.update(child.answer())
        child.end()

    def _open(self, name: str, record: dict[str, Any]) -> None:
        self._say(f"opening {name}")
        if name == "bm25":
            with tempfile.TemporaryDirectory() as nothing:
                child = self._child("serve", name, NUMBA_CACHE_DIR=nothing)
                record["uncompiled_ready_s"] = child.answer()["ready_s"]
                child.end()
            child = self._child("serve", name)  # keeps compiled code, where this machine never compiled it
            child.answer()
            child.end()
        self._serving[name] = self._child("serve", name)
        record.update(self._serving[name].answer())

    def _turn(self, k: int, threads: int) -> None:
        for name, child in self._serving.items():
            self._with(name, lambda _, record, child=child: search(record, child, k, threads))

    def _child(self, what: str, name: str, **environment: str) -> Child:
        return Child(what, name, self._data, self._data / name, limit=self._options.limit, environment=environment)

    def _say(self, text: str) -> None:
        print(f"{time.strftime('%H:%M:%S')} {self._items:,} items: {text}", file=sys.stderr, flush=True)


def search(record: dict[str, Any], child: Child, k: int, threads: int) -> None:
    answer = child.ask(k, threads)
    cell = record["searches"].setdefault(f"{threads}x{k}", {"queries": answer["queries"], "query_s": float("inf")})
    cell["query_s"] = min(cell["query_s"], answer["query_s"])
    record["search_peak_mb"] = answer["peak_mb"]


def lines(records: Sequence[Mapping[str, Any]], cutoffs: Sequence[int], threads: Sequence[int]) -> list[str]:
    """The table of one size, in Markdown."""
    rates = [f"q/s k={k:,}" for k in cutoffs]
    head = [
        "engine",
        "build s",
        "index MB",
        "memory MB: catalog, build, search",
        "open s",
        "ready s",
        "threads",
        *rates,
    ]
    out = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    first = next((record for record in records if record["searches"]), None)
    for record in records:
        if "left_out" in record:
            out.append(f"| {record['engine']} | left out: {record['left_out']} |")
        if not record["searches"]:
            continue
        about = [record["engine"], *figures(record)]
        for number in threads:
            cells = [rate(record, first, f"{number}x{k}") for k in cutoffs]
            out.append("| " + " | ".join([*about, str(number), *cells]) + " |")
            about = [""] * len(about)
    return out + [
        f"\nbm25 without compiled code: ready after {record['uncompiled_ready_s']:.1f} s"
        for record in records
        if "uncompiled_ready_s" in record
    ]


def figures(record: Mapping[str, Any]) -> list[str]:
    memory = ", ".join(f"{record[name]:,.0f}" for name in ("catalog_mb", "build_peak_mb", "search_peak_mb"))
    size = f"{record['index_mb']:,.0f}" + (" (memory)" if "in_memory" in record else "")
    return [f"{record['build_s']:.1f}", size, memory, f"{record['open_s']:.2f}", f"{record['ready_s']:.1f}"]


def rate(record: Mapping[str, Any], first: Mapping[str, Any] | None, cell: str) -> str:
    assert first
    if cell not in record["searches"] or cell not in first["searches"]:
        return "-"
    took = record["searches"][cell]["query_s"]
    ratio = took / first["searches"][cell]["query_s"]
    return f"{1 / took:,.{0 if took < 0.1 else 1}f} ({ratio:,.{1 if ratio < 100 else 0}f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, nargs="+", default=[10_000, 100_000], help="catalog sizes, 3000 or more")
    parser.add_argument(
        "--engines", nargs="+", choices=ENGINES, default=list(ENGINES), help="the first is compared with"
    )
    parser.add_argument("--cutoffs", type=int, nargs="+", default=CUTOFFS, help="items per search")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="how many threads search")
    parser.add_argument("--limit", type=float, default=1800, help="seconds that one step of an engine may take")
    parser.add_argument("--no-bounds", dest="bounds", action="store_false", help="try what takes very long, too")
    parser.add_argument("--json", type=Path, help="a file for all figures, written after each size")
    options = parser.parse_args()
    known: list[dict[str, Any]] = []
    for items in options.items:
        folder = Path(tempfile.mkdtemp(prefix="retrieval-"))
        table = Table(items, options, folder)
        try:
            table.measure()
        finally:
            shutil.rmtree(folder)
        records = list(table.records.values())
        print(f"\n## {items:,} items\n\n" + "\n".join(lines(records, options.cutoffs, options.threads)), flush=True)
        known += records
        if options.json:
            options.json.write_text(json.dumps(known, indent=1) + "\n")


if __name__ == "__main__":
    main()
