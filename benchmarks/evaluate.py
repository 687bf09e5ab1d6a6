"""Time of an evaluation whose queries are given: search, measures, floor and ceiling, intervals and tests.

    python benchmarks/evaluate.py [--needs 10000] [--items 100000]

Words are drawn with the frequencies of a language, 30 for an item and 8 for a query; a need has one to five relevant
items. Timed is what `recr1 eval` does with them: `Evaluator` and its summary, on two threads.
"""

from __future__ import annotations

import argparse
import os
from time import perf_counter, process_time

os.environ.setdefault("OMP_NUM_THREADS", "2")

import numpy as np

from recr1.baselines.without_model import Scripted
from recr1.env import Environment
from recr1.evaluate import Evaluator
from recr1.formats import Plain
from retrievers.base import Catalog
from retrievers.bm25.bm25 import BM25
from rewards.base import Need, Qrels

WORDS, ITEM_WORDS, QUERY_WORDS, DEPTH = 50_000, 30, 8, 100
MEASURES = ["nDCG@10", "nDCG@100", "R@100", "AP@100", "RR@10"]


class Made:
    """A task of drawn words; each query shares some of them with one of its relevant items."""

    def __init__(self, items: int, needs: int) -> None:
        rng = np.random.default_rng(0)
        drawn = np.minimum(rng.zipf(1.2, (items, ITEM_WORDS)), WORDS)
        self.catalog = Catalog([f"i{row}" for row in range(items)], [_text(words) for words in drawn])
        self.format, self.counts = Plain(), {}
        rows = [rng.choice(items, rng.integers(1, 6), replace=False) for _ in range(needs)]
        self.qrels = {
            f"n{place}": Qrels({int(row): int(rng.integers(1, 4)) for row in of}) for place, of in enumerate(rows)
        }
        self._needs = [Need(f"n{place}", f"need {place} {_text(drawn[of[0], :3])}") for place, of in enumerate(rows)]
        queries = [np.append(rng.choice(drawn[of[0]], 5), rng.zipf(1.2, QUERY_WORDS - 5)) for of in rows]
        self.answers = {need.text: _text(words) for need, words in zip(self._needs, queries, strict=True)}

    def needs(self, split: str) -> list[Need]:
        """All of them, whatever the split."""
        return self._needs


def _text(words: np.ndarray) -> str:
    return " ".join(f"w{word}" for word in words)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--needs", type=int, default=10_000)
    parser.add_argument("--items", type=int, default=100_000)
    given = parser.parse_args()
    task = Made(given.items, given.needs)
    retriever = BM25(task.catalog)
    retriever.search(["w1"], DEPTH)  # compiled, and not counted
    evaluator = Evaluator(Environment(task, retriever, [], DEPTH), "test", MEASURES)
    policy = Scripted(answers=task.answers)
    wall, cpu = perf_counter(), process_time()
    last = wall

    def lap(what: str) -> None:
        nonlocal last
        now = perf_counter()
        print(f"{what:<44} {now - last:7.1f} s")
        last = now

    print(f"{given.needs} needs, {given.items} items, depth {DEPTH}, {len(MEASURES)} measures")
    _ = evaluator.references
    lap("floor and ceiling")
    evaluation = evaluator(policy)
    lap("search and measures of the given queries")
    summary = evaluation.summary
    lap("intervals and tests")
    seconds = perf_counter() - wall
    print(f"{'together':<44} {seconds:7.1f} s    {process_time() - cpu:.1f} CPU-s")
    print(", ".join(f"{name} {numbers['policy']['mean']:.3f}" for name, numbers in summary["measures"].items()))


if __name__ == "__main__":
    main()
