"""A sound data folder, generated: in every format, with ids that no single changed character turns into others."""

from __future__ import annotations

import csv
import gzip
import io
import json
import random
import signal
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

REFUSED, REPORTED, SAME, VALUE = "refused", "reported", "same", "one value"
"""What may become of a fault; VALUE: one text or one grade is another, which no reader can know."""
TEXT_FORMATS = (".csv", ".tsv", ".jsonl")
FORMATS = (*TEXT_FORMATS, *(f"{ending}.gz" for ending in TEXT_FORMATS), ".parquet")
WORDS = "müsli – bowl grün red 5” oak tea, café lamp desk 12 cm; naïve pan «soft» rug blue | tent iron".split(" ")
QRELS = ("query-id", "corpus-id", "score")


@contextmanager
def at_most(seconds):
    def stop(*_):
        raise TimeoutError("it hangs")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def checked_id(kind: str, number: int) -> str:
    """An id of which no other is one changed, lost or added character away: each digit stands twice."""
    return kind + "".join(digit * 2 for digit in f"{number:02d}")


@dataclass
class Case:
    """A sound folder of 12 items and 60 needs, all judged; a mutation changes its rows, its files or the folder."""

    rng: random.Random
    ending: dict[str, str] = field(default_factory=dict)
    tables: dict[str, list[dict]] = field(default_factory=dict)
    encode: dict[str, Callable[[bytes], bytes]] = field(default_factory=dict)
    """What is done to the bytes of a file."""
    after: Callable[[Path], object] = lambda folder: None
    """What is done to the folder."""
    options: dict = field(default_factory=dict)
    line: int | None = None
    """The line that a refusal must name, where it is known."""

    def __post_init__(self) -> None:
        rng = self.rng
        some = lambda count: " ".join(rng.choice(WORDS) for _ in range(count))  # noqa: E731
        kinds = rng.choice([("i", "q"), ("7", "8")])  # words, or numbers
        items, needs = [checked_id(kinds[0], n) for n in range(12)], [checked_id(kinds[1], n) for n in range(60)]
        corpus = [{"_id": i, "title": f"{i[-1]} {some(3)}", "text": some(6), "price": n} for n, i in enumerate(items)]
        queries = [{"_id": need, "text": f"need {n} {some(4)}"} for n, need in enumerate(needs)]
        judged = []
        for n, need in enumerate(needs):
            wanted = [items[n % 12], *rng.sample([item for item in items if item != items[n % 12]], rng.randrange(3))]
            judged += [dict(zip(QRELS, (need, item, rng.choice((1, 2, 3))), strict=True)) for item in wanted]
        self.tables = {"corpus": corpus, "queries": queries, "qrels": judged}
        if rng.random() < 0.5:
            self.tables |= {f"qrels/{name}": [] for name in ("train", "dev", "test")}
            for row in self.tables.pop("qrels"):
                number = needs.index(row["query-id"])
                self.tables[f"qrels/{'train' if number < 40 else 'dev' if number < 50 else 'test'}"].append(row)
        else:
            self.options["splits"] = {"train": 0.6, "validation": 0.2, "test": 0.2}
        self.ending = {name: rng.choice(FORMATS) for name in self.tables}

    def pick(self, *formats: str, of: str = "") -> str:
        """A table, any or one whose name begins so, written in one of these formats."""
        name = self.rng.choice([name for name in self.tables if name.startswith(of)])
        if formats:
            self.ending[name] = self.rng.choice(formats)
        return name

    def row(self, name: str) -> dict:
        """A row of a table, whose line a refusal must name."""
        place = self.rng.randrange(len(self.tables[name]))
        self.line = place + (2 if self.ending[name].startswith((".csv", ".tsv")) else 1)
        return self.tables[name][place]

    def write(self, folder: Path) -> None:
        for name, rows in self.tables.items():
            path = folder / f"{name}{self.ending[name]}"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(self.encode.get(name, bytes)(written(rows, self.ending[name])))
        self.after(folder)


def written(rows: list[dict], ending: str) -> bytes:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    if ending == ".parquet":
        import pyarrow
        import pyarrow.parquet

        stream = io.BytesIO()
        mixed = {
            name for name in columns if len({type(row.get(name)) for row in rows if row.get(name) is not None}) > 1
        }
        whole = [{name: row.get(name) for name in columns} for row in rows]
        for row in whole:
            row.update({name: str(row[name]) for name in mixed if row[name] is not None})
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(whole), stream, write_page_checksum=True)
        return stream.getvalue()
    if ending.startswith(".jsonl"):
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    else:
        cells = [columns, *([row.get(name) for name in columns] for row in rows)]
        text = table(cells, "\t" if ending.startswith(".tsv") else ",")
    content = text.encode("utf-8", "surrogatepass")
    return gzip.compress(content, mtime=0) if ending.endswith(".gz") else content


def table(cells: list, separator: str) -> str:
    if separator == "\t":
        return "".join("\t".join("" if cell is None else str(cell) for cell in row) + "\n" for row in cells)
    stream = io.StringIO()
    csv.writer(stream, delimiter=separator, lineterminator="\n").writerows(cells)
    return stream.getvalue()
