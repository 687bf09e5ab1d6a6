"""Grades from 10 million impressions: seconds and memory of `recr1 judgements clicks` for each model.

python benchmarks/clicks.py [--rows 10000000] [--kind csv]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

MODELS = ("coec", "pbm", "sdbn")
BLOCK = 1_000_000
PAGE = 10


def write_log(path: Path, rows: int) -> None:
    """Pages of ten results of 20,000 queries, popular ones more often; 30 items a query, clicks by position."""
    rng = np.random.default_rng(0)
    with path.open("w") as file:
        file.write("query,item,position,clicked,session\n")
        for start in range(0, rows, BLOCK):
            pages = min(BLOCK, rows - start) // PAGE
            query = (20_000 * rng.random(pages) ** 2).astype(int)
            shift = rng.integers(0, 21, pages)
            clicked = rng.random((pages, PAGE)) < 0.4 / np.arange(1, PAGE + 1)
            lines = []
            for page in range(pages):
                name, first, session = (
                    f"query number {query[page]}",
                    query[page] * 7 + shift[page],
                    start // PAGE + page,
                )
                for at in range(PAGE):
                    lines.append(f"{name},B{first + at:09d},{at + 1},{int(clicked[page, at])},s{session}\n")
            file.writelines(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--kind", choices=("csv", "parquet"), default="csv")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log.csv"
        write_log(log, args.rows)
        if args.kind == "parquet":
            import pyarrow.csv
            import pyarrow.parquet

            pyarrow.parquet.write_table(pyarrow.csv.read_csv(log), log.with_suffix(".parquet"))
            log = log.with_suffix(".parquet")
        print(f"{args.rows:,} impressions, {log.stat().st_size / 1e6:,.0f} MB of {args.kind}")
        print("model  seconds  CPU s  peak MB")
        for model in MODELS:
            measure(log, model, Path(folder) / f"{model}.csv")


def measure(log: Path, model: str, out: Path) -> None:
    began = time.perf_counter()
    words = ["judgements", "clicks", str(log), "--model", model, "--out", str(out)]
    process = subprocess.Popen([sys.executable, "-m", "recr1", *words], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    assert status == 0
    seconds, cpu = time.perf_counter() - began, used.ru_utime + used.ru_stime
    print(f"{model:5}  {seconds:7.1f}  {cpu:5.1f}  {used.ru_maxrss / 1024:7,.0f}")


if __name__ == "__main__":
    main()
