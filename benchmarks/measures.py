"""Speed of our measures beside pytrec_eval, ir_measures and ranx, in one run.

    OMP_NUM_THREADS=1 python benchmarks/measures.py
    OMP_NUM_THREADS=1 python benchmarks/measures.py --lists 384 --depth 100 --peers pytrec_eval ir_measures

Each is handed rankings and qrels in its own form, and the time to make that form is left out for all: dictionaries for
pytrec_eval and ir_measures, whose evaluators hold the qrels already; its `Qrels` and `Run` for ranx, all of whose
functions are compiled before; `Qrels` and an array of rows for ours. On each call ranx turns its objects into typed
lists first: a line of its own shows it with that done before as well. Another shows ours with the making of its `Qrels`
from dictionaries in the time. All use one thread. Times are CPU time, the best of several rounds, every candidate
measured in each round. ranx takes half a minute or more to compile. The numbers of all are compared to 1e-6 before any
is timed.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import os
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from rewards.base import Qrels
from rewards.measures import Measure, measure_all, parse_measure

Run = Callable[[], Mapping[str, Sequence[float]]]
"""Computes the measures: name -> one number for each list, in order; the conversion of the answer is not timed."""


class Data(NamedTuple):
    """The same judgements and rankings, for us and for peers."""

    rows_BK: np.ndarray
    grades: list[dict[int, int]]
    trec_qrels: dict[str, dict[str, int]]
    trec_run: dict[str, dict[str, float]]


def generated(lists: int, depth: int, judged: int, items: int) -> Data:
    """Random rankings; half of the judged items are among those ranked, and grades are 0 to 3."""
    rng = np.random.default_rng(0)
    rows_BK = np.stack([rng.choice(items, depth, replace=False) for _ in range(lists)]).astype(np.int32)
    grades: list[dict[int, int]] = []
    for row_K in rows_BK:
        rows = [*rng.choice(row_K, min(depth, judged // 2), replace=False), *rng.integers(0, items, judged // 2)]
        grades.append({int(row): int(rng.integers(0, 4)) for row in rows})
    # Fixed width, so that the order of names is that of numbers for every peer.
    trec_qrels = {f"n{b:06}": {f"i{row:09}": grade for row, grade in q.items()} for b, q in enumerate(grades)}
    trec_run = {
        f"n{b:06}": {f"i{row:09}": float(depth - place) for place, row in enumerate(row_K)}
        for b, row_K in enumerate(rows_BK)
    }
    return Data(rows_BK, grades, trec_qrels, trec_run)


def ours(data: Data, measures: Sequence[Measure]) -> tuple[Callable[[], Any], Run]:
    qrels_B = [Qrels(grades) for grades in data.grades]

    def compute() -> dict[str, Any]:
        return measure_all(measures, data.rows_BK, qrels_B)

    return compute, compute


def ours_from_dictionaries(data: Data, measures: Sequence[Measure]) -> tuple[Callable[[], Any], Run]:
    def compute() -> dict[str, Any]:
        return measure_all(measures, data.rows_BK, [Qrels(grades) for grades in data.grades])

    return compute, compute


def with_pytrec_eval(data: Data, measures: Sequence[Measure]) -> tuple[Callable[[], Any], Run]:
    import pytrec_eval

    names = {"nDCG": "ndcg_cut", "R": "recall", "AP": "map_cut", "P": "P", "Success": "success"}
    asked = {f"{names[m.symbol]}.{m.cutoff}" for m in measures}
    evaluator = pytrec_eval.RelevanceEvaluator(data.trec_qrels, asked)

    def answer() -> dict[str, list[float]]:
        values = evaluator.evaluate(data.trec_run)
        return {m.name: [values[q][f"{names[m.symbol]}_{m.cutoff}"] for q in data.trec_qrels] for m in measures}

    return lambda: evaluator.evaluate(data.trec_run), answer


def with_ir_measures(data: Data, measures: Sequence[Measure]) -> tuple[Callable[[], Any], Run]:
    import ir_measures

    evaluator = ir_measures.evaluator([ir_measures.parse_measure(m.name) for m in measures], data.trec_qrels)

    def compute() -> list[Any]:
        return list(evaluator.iter_calc(data.trec_run))

    def answer() -> dict[str, list[float]]:
        values = {(str(metric.measure), metric.query_id): metric.value for metric in compute()}
        return {m.name: [values[m.name, q] for q in data.trec_qrels] for m in measures}

    return compute, answer


def with_ranx(data: Data, measures: Sequence[Measure], *, typed: bool = False) -> tuple[Callable[[], Any], Run]:
    import ranx

    names = {"nDCG": "ndcg", "R": "recall", "AP": "map", "P": "precision", "Success": "hit_rate"}
    asked = [f"{names[m.symbol]}@{m.cutoff}" for m in measures]
    qrels, run = ranx.Qrels(data.trec_qrels), ranx.Run(data.trec_run)
    if typed:
        qrels, run = qrels.to_typed_list(), run.to_typed_list()

    def compute() -> Any:
        return ranx.evaluate(qrels, run, asked, save_results_in_run=False, threads=1)

    def answer() -> dict[str, Any]:
        # Twice the list: for one name, ranx 0.3.21 has only the mean to give.
        values = ranx.evaluate(qrels, run, asked * 2, return_mean=False, save_results_in_run=False, threads=1)
        return {m.name: values[a] for m, a in zip(measures, asked, strict=True)}

    return compute, answer


OURS = {"ours": ours, "ours, Qrels made in the time": ours_from_dictionaries}
PEERS = {
    "pytrec_eval": {"pytrec_eval": with_pytrec_eval},
    "ir_measures": {"ir_measures": with_ir_measures},
    "ranx": {"ranx, warm": with_ranx, "ranx, warm, typed lists": partial(with_ranx, typed=True)},
}
PACKAGES = {"pytrec_eval": "pytrec-eval-terrier", "ir_measures": "ir-measures", "ranx": "ranx"}


def installed(peer: str) -> bool:
    try:
        importlib.import_module(peer)
    except ImportError:
        print(f"{peer}: not installed, left out (pip install -c constraints.txt {PACKAGES[peer]})")
        return False
    print(f"{peer} {importlib.metadata.version(PACKAGES[peer])}")
    return True


def check(name: str, answer: Mapping[str, Sequence[float]], expected: Mapping[str, Sequence[float]]) -> None:
    """Stops the benchmark where a candidate measures something else."""
    for measure, values_B in expected.items():
        np.testing.assert_allclose(answer[measure], values_B, rtol=0, atol=1e-6, err_msg=f"{name} {measure}")


def best_times(candidates: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """CPU seconds of the best round of each."""
    best = dict.fromkeys(candidates, float("inf"))
    for _ in range(rounds):
        for name, compute in candidates.items():
            start = time.process_time()
            compute()
            best[name] = min(best[name], time.process_time() - start)
    return best


def compare(data: Data, names: Sequence[str], peers: Sequence[str], rounds: int) -> None:
    """Prints a line for each candidate."""
    measures = [parse_measure(name) for name in names]
    others = {name: make for peer in peers for name, make in PEERS[peer].items()}
    made = {name: make(data, measures) for name, make in {**OURS, **others}.items()}
    expected = made["ours"][1]()
    for name, (_, answer) in made.items():
        check(name, answer(), expected)
    best = best_times({name: compute for name, (compute, _) in made.items()}, rounds)
    lists, depth = data.rows_BK.shape
    print(f"\n{', '.join(names)}; {lists} lists to depth {depth}, graded")
    for name, seconds in best.items():
        print(
            f"  {name:<30} {seconds * 1e3:9.2f} ms {seconds / lists * 1e6:8.2f} us/list {seconds / best['ours']:7.1f}x"
        )
    if others:
        fastest = min(others, key=best.__getitem__)
        print(f"  ours is {best[fastest] / best['ours']:.1f} times as fast as the fastest other, {fastest}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lists", type=int, default=1024)
    parser.add_argument("--depth", type=int, default=1000)
    parser.add_argument("--judged", type=int, default=50, help="judgements of each need")
    parser.add_argument("--items", type=int, default=100_000, help="items in the catalog")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS))
    given = parser.parse_args()
    os.environ["NUMBA_NUM_THREADS"] = "1"  # before ranx brings numba in
    peers = [peer for peer in given.peers if installed(peer)]
    data = generated(given.lists, given.depth, given.judged, given.items)
    compare(data, [f"nDCG@{given.depth}"], peers, given.rounds)
    compare(data, [f"{symbol}@{given.depth}" for symbol in ("nDCG", "R", "AP", "P", "Success")], peers, given.rounds)


if __name__ == "__main__":
    main()
