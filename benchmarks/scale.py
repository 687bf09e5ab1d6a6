"""What large data costs: seconds, CPU seconds and memory to read, index, open and search it, each in a fresh process.

    python benchmarks/scale.py esci                            # 1.2 million products, 600,000 judgements
    python benchmarks/scale.py esci --share 0.05               # a twentieth of it
    python benchmarks/scale.py corpus --gb 1                   # corpora of 1 GB beside polars, where it is installed
    python benchmarks/scale.py catalog --items 1000000 10000000

- esci: files as those of the Shopping Queries data, read by `task: esci`, indexed by `bm25`, until the answer to the
  first query; then the same again with the index in the store. Lengths of texts are as in its American part, from
  memory: titles of 18 words, descriptions (half of the products) of 130, bullet points (five of six) of 110. A third of
  the descriptions has HTML, a tenth of the texts signs outside of Latin-1.
- corpus: the rows of a file as our reader and as polars give them, as Python values.
- catalog: items of 30 words of 50,000 by Zipf's law, and queries of 8, as in retrieval.py: to build, to open in a fresh
  process, and a query at k = 10, 100 and 1000. The last column is the cost of a query over that at the first size.

Seconds are from the start of a process to its end, or of a part of it; CPU seconds are all of the process, so that a
busy machine shows. Memory is the largest of the process. The data go into a temporary folder, or into --folder, where
they are used again.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

PRODUCTS, JUDGED = 1_200_000, 600_000
WORDS = 400_000
"""Different words of the products, by Zipf's law."""
BLOCK = 20_000
ZIPF_WORDS, ITEM_WORDS, QUERY_WORDS, QUERIES = 50_000, 30, 8, 64
SYLLABLES = [a + b for a in "bcdfglmnprstvz" for b in ("a", "e", "i", "o", "u", "er", "an")]
ODD = ("\u2019s", "\u2013", "\u00ae", "caf\u00e9", "\u2714", "\U0001f31f", "\u65e5\u672c")
HTML = ("<p>", "</p>", "<br>", "<b>", "</b>", "&amp;", "&nbsp;", "<li>", "</li>", '<span class="a">')


def vocabulary(count: int) -> np.ndarray[Any, Any]:
    """Different words, short ones first."""
    base = len(SYLLABLES)
    words = []
    for number in range(count):
        word, rest = SYLLABLES[number % base], number // base
        while rest:
            word, rest = word + SYLLABLES[rest % base], rest // base
        words.append(word)
    return np.array(words, object)


def zipf(rng: np.random.Generator, count: int, words: int) -> np.ndarray[Any, Any]:
    """Places of words, by Zipf's law."""
    frequencies = np.cumsum(1 / np.arange(1, words + 1))
    return np.searchsorted(frequencies, rng.random(count) * frequencies[-1])


def texts(
    rng: np.random.Generator, words: Any, share: float, mean: int, extra: tuple[str, ...], often: float
) -> list[Any]:
    """A text or None for each item of a block; some have extra words at one place in twelve."""
    lengths = np.where(rng.random(BLOCK) < share, np.maximum(rng.gamma(2, mean / 2, BLOCK).astype(int), 3), 0)
    chosen = words[zipf(rng, lengths.sum(), len(words))]
    has_extra = np.repeat(rng.random(BLOCK) < often, lengths) & (rng.random(len(chosen)) < 1 / 12)
    chosen[has_extra] = np.array(extra, object)[rng.integers(0, len(extra), has_extra.sum())]
    ends = np.cumsum(lengths)
    chosen = chosen.tolist()
    return [" ".join(chosen[end - length : end]) if length else None for end, length in zip(ends, lengths, strict=True)]


def write_esci(folder: Path, share: float) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng, words = np.random.default_rng(0), vocabulary(WORDS)
    products, judged = int(PRODUCTS * share) // BLOCK * BLOCK, int(JUDGED * share)
    prefix = "shopping_queries_dataset_"
    brands = words[zipf(rng, products, 50_000)]
    writer = None
    for first in range(0, products, BLOCK):
        block = {
            "product_id": [f"B{first + place:09d}" for place in range(BLOCK)],
            "product_title": texts(rng, words, 1, 18, ODD, 0.1),
            "product_description": texts(rng, words, 0.5, 130, (*HTML, *ODD), 0.33),
            "product_bullet_point": texts(rng, words, 0.84, 110, ODD, 0.1),
            "product_brand": brands[first : first + BLOCK].tolist(),
            "product_color": texts(rng, words, 0.7, 3, ODD, 0),
            "product_locale": ["us"] * BLOCK,
        }
        table = pa.table(block)
        writer = writer or pq.ParquetWriter(folder / f"{prefix}products.parquet", table.schema)
        writer.write_table(table)
    assert writer
    writer.close()
    need = np.sort(rng.integers(0, judged // 20, judged))
    text = [" ".join(row) for row in words[zipf(rng, judged // 20 * 4, WORDS).reshape(-1, 4)]]
    examples = {
        "example_id": np.arange(judged),
        "query": [f"{text[number]} {number}" for number in need],
        "query_id": need,
        "product_id": [f"B{row:09d}" for row in rng.integers(0, products, judged)],
        "product_locale": ["us"] * judged,
        "esci_label": np.array(list("ESCI"))[rng.choice(4, judged, p=[0.65, 0.22, 0.03, 0.1])].tolist(),
        "small_version": np.ones(judged, int),
        "large_version": np.ones(judged, int),
        "split": np.where(need % 4 == 0, "test", "train").tolist(),
    }
    pq.write_table(pa.table(examples), folder / f"{prefix}examples.parquet")


def write_corpus(path: Path, gigabytes: float) -> None:
    rng, words = np.random.default_rng(0), vocabulary(WORDS)
    with path.open("w") as file:
        first = 0
        while file.tell() < gigabytes * 1e9:
            titles, bodies = texts(rng, words, 1, 10, ODD, 0.1), texts(rng, words, 1, 100, ODD, 0.1)
            rows = enumerate(zip(titles, bodies, strict=True), first)
            if path.suffix == ".jsonl":
                lines = (json.dumps({"_id": f"d{n}", "title": title, "text": body}) + "\n" for n, (title, body) in rows)
            else:
                lines = (f"d{n}\t{title}\t{body}\n" for n, (title, body) in rows)
                file.write("" if first else "_id\ttitle\ttext\n")
            file.writelines(lines)
            first += BLOCK


def write_items(path: Path, items: int) -> None:
    words = np.array([f"w{word}" for word in range(ZIPF_WORDS)], object)
    rng = np.random.default_rng(0)
    queries = words[zipf(rng, QUERIES * QUERY_WORDS, ZIPF_WORDS).reshape(-1, QUERY_WORDS)]
    path.with_suffix(".queries").write_text("".join(" ".join(row) + "\n" for row in queries.tolist()))
    with path.open("w") as file:
        for first in range(0, items, BLOCK):
            count = min(BLOCK, items - first)
            rows = words[zipf(rng, count * ITEM_WORDS, ZIPF_WORDS).reshape(-1, ITEM_WORDS)]
            file.writelines(" ".join(row) + "\n" for row in rows.tolist())


class Clock:
    """Seconds and CPU seconds of the parts of a process."""

    def __init__(self) -> None:
        self.parts: dict[str, Any] = {}
        self._last = time.perf_counter(), time.process_time()

    def part(self, name: str) -> None:
        """Ends a part."""
        last, self._last = self._last, (time.perf_counter(), time.process_time())
        seconds, cpu = (now - before for now, before in zip(self._last, last, strict=True))
        self.parts[name] = f"{seconds:.2f} s ({cpu:.2f} CPU s)"


def open_esci(folder: Path) -> dict[str, Any]:
    clock = Clock()
    from recr1.tasks.published.esci import EsciTask
    from retrievers.bm25.bm25 import BM25

    task = EsciTask(path=str(folder), store=str(folder / "store"))
    clock.part("task")
    bm25 = BM25(task.catalog, store=str(folder / "store"))
    clock.part("bm25")
    hits = bm25.search([task.needs("test")[0].text], 100)
    clock.part("search")
    return {**clock.parts, "items": len(task.catalog), "found": int((hits.rows_QK >= 0).sum())}


def read_ours(path: Path) -> dict[str, Any]:
    from recr1.tasks.readers import records

    return {"rows": sum(1 for _ in records(path, "rows"))}


def read_catalog(path: Path) -> dict[str, Any]:
    from collections import Counter

    from recr1.tasks import tables

    how = tables.Reading(tables.COLUMNS, None, (), Counter())
    return {"rows": len(tables.read_catalog(path, how, None))}


def read_polars(path: Path) -> dict[str, Any]:
    import polars

    table = polars.read_ndjson(path) if path.suffix == ".jsonl" else _polars_table(path)
    return {"rows": len(table)}


def read_polars_values(path: Path) -> dict[str, Any]:
    import polars

    table = polars.read_ndjson(path) if path.suffix == ".jsonl" else _polars_table(path)
    return {"rows": sum(1 for _ in table.iter_rows(named=True))}


def _polars_table(path: Path) -> Any:
    import polars

    if path.suffix == ".parquet":
        return polars.read_parquet(path)
    return polars.read_csv(path, separator="\t", quote_char=None)


def loaded(path: Path) -> Any:
    from retrievers import Catalog

    with path.open() as file:
        rows = [line[:-1] for line in file]
    return Catalog([str(row) for row in range(len(rows))], rows)


def build_items(path: Path) -> dict[str, Any]:
    from retrievers.bm25.bm25 import BM25

    catalog, clock = loaded(path), Clock()
    BM25(catalog, store=str(path.with_suffix(".store")))
    clock.part("build")
    return clock.parts


def search_items(path: Path) -> dict[str, Any]:
    from retrievers.bm25.bm25 import BM25

    catalog, clock = loaded(path), Clock()
    queries = path.with_suffix(".queries").read_text().splitlines()
    bm25 = BM25(catalog, store=str(path.with_suffix(".store")))
    clock.part("open")
    bm25.search(queries[:1], 10)
    clock.part("first search")
    for k in (10, 100, 1000):
        bm25.search(queries, k)
        best = min(cpu_of(bm25, queries, k) for _ in range(5))
        clock.parts[f"CPU ms k={k}"] = round(1000 * best / len(queries), 3)
    return clock.parts


def cpu_of(bm25: Any, queries: list[str], k: int) -> float:
    """CPU seconds of a search, of one thread."""
    start = time.process_time()
    bm25.search(queries, k)
    return time.process_time() - start


STEPS: dict[str, Callable[[Path], dict[str, Any]]] = {
    step.__name__: step
    for step in (open_esci, read_ours, read_catalog, read_polars, read_polars_values, build_items, search_items)
}


def measured(step: str, path: Path) -> dict[str, Any]:
    """What a step measured in a process of its own, and what that process took."""
    load, began = os.getloadavg()[0], time.perf_counter()
    command = [sys.executable, __file__, "step", step, str(path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    answer = process.stdout.read().strip().splitlines()
    _, status, used = os.wait4(process.pid, 0)
    parts = json.loads(answer[-1]) if status == 0 else {"failed": status}
    whole = {"seconds": time.perf_counter() - began, "CPU s": used.ru_utime + used.ru_stime}
    line = {**{name: round(value, 1) for name, value in whole.items()}, "peak MB": used.ru_maxrss // 1024, **parts}
    print(
        f"{step:18} {path.name:20} "
        + "  ".join(f"{n} {v if isinstance(v, str) else f'{v:,}'}" for n, v in line.items()),
        f" load {load:.1f}",
        flush=True,
    )
    return line


def prepared(folder: Path, name: str, write: Callable[[Path], None]) -> Path:
    """Data that are written unless they are there."""
    path = folder / name
    if not path.exists():
        began = time.perf_counter()
        write(path)
        print(f"wrote {path} in {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
    return path


def measurements(options: argparse.Namespace, folder: Path) -> None:
    if options.what == "esci":

        def write(path: Path) -> None:
            path.mkdir()
            write_esci(path, options.share)

        data = prepared(folder, f"esci-{options.share:g}", write)
        measured("open_esci", data)
        measured("open_esci", data)
    elif options.what == "corpus":
        for ending in options.endings:
            data = prepared(folder, f"corpus-{options.gb:g}.{ending}", lambda path: write_corpus(path, options.gb))
            for step in ("read_polars", "read_polars_values", "read_ours", "read_catalog"):
                measured(step, data)
    else:
        for items in options.items:
            data = prepared(folder, f"items-{items}.txt", lambda path, items=items: write_items(path, items))
            measured("build_items", data)
            measured("search_items", data)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("esci", "corpus", "catalog"))
    parser.add_argument("--share", type=float, default=1.0, help="of the products and judgements")
    parser.add_argument("--gb", type=float, default=1.0, help="size of a corpus")
    parser.add_argument("--endings", nargs="+", choices=("jsonl", "tsv"), default=["jsonl", "tsv"])
    parser.add_argument("--items", type=int, nargs="+", default=[1_000_000], help="catalog sizes")
    parser.add_argument("--folder", type=Path, help="a folder for the data, which stay there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(exist_ok=True)
        measurements(options, folder)


if __name__ == "__main__":
    if sys.argv[1] == "step":
        print(json.dumps(STEPS[sys.argv[2]](Path(sys.argv[3]))))
    else:
        main()
