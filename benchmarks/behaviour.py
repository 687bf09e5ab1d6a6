"""Recommenders: how accurate they are on users who were not trained on, and what they cost.

    OMP_NUM_THREADS=1 python benchmarks/behaviour.py FOLDER --seeds 0 1 2 --items 20000

FOLDER is what `source: {type: interactions, path: FOLDER}` reads; without it only the cost is printed, on a generated
shop. The protocol is that of Liang et al. (arXiv 1802.05814): users with five items or more, of whom a tenth are
validation and a fifth test; 80% of the items of such a user are the history, and the others are what should be found.
Options are chosen by nDCG@100 on validation; Recall@k is divided by min(k, items asked for). Nothing is kept on disk.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from multiprocessing import get_context
from typing import Any, NamedTuple

import numpy as np

from recr1.tasks.behaviour.reader import Interactions
from recr1.tasks.behaviour.source import Past
from retrievers import PARTS, Catalog
from retrievers.behaviour.base import EVENT, matrix_of
from retrievers.behaviour.ease import weights_of

LEAST = 5
"""Different items of a user that is trained on or asked."""
STEP = 512
"""Histories per search: those of a large training step."""
NEIGHBOURS = (5, 10, 20, 50, 100, 200, 500)
L2 = (1, 10, 50, 100, 200, 500, 1000, 3000)


def grid(name: str, **options: Sequence[Any]) -> list[dict[str, Any]]:
    """The retriever with each combination of options, not kept on disk."""
    kept: dict[str, Any] = {} if name == "popularity" else {"store": None}
    return [{"type": name, **kept, **dict(zip(options, values, strict=True))} for values in product(*options.values())]


MODELS: Mapping[str, Sequence[Mapping[str, Any]]] = {
    "popularity": grid("popularity"),
    "ease": grid("ease", l2=L2),
    "ease, no zero diagonal": grid("ease", zero_diagonal=[False], l2=L2),
    "ease, clipped": grid("ease", clip=[True], l2=L2),
    "item_knn, cosine": grid("item_knn", neighbours=NEIGHBOURS, weighting=["cosine"]),
    "item_knn, tfidf": grid("item_knn", neighbours=NEIGHBOURS, weighting=["tfidf"]),
    "item_knn, bm25": grid("item_knn", neighbours=NEIGHBOURS, weighting=["bm25"]),
    "als": grid("als", alpha=[1, 3, 10], l2=[1, 3, 30]),
    "multvae": grid("multvae", epochs=[30]),
    "multvae, logistic": grid("multvae", likelihood=["logistic"], epochs=[30]),
    "multvae, DAE": grid("multvae", variational=[False], epochs=[30]),
    "personas, 4": grid("personas", personas=[4], epochs=[15]),
    "personas, 1": grid("personas", personas=[1], epochs=[15]),
}
"""What is compared: a name for each line, and the options of a retriever among which validation chooses."""
BY_L2 = ("ease", "ease, no zero diagonal", "ease, clipped")


class Data(NamedTuple):
    """A catalog with the events of training users, and the users who are asked, by split."""

    catalog: Catalog
    asked: Mapping[str, Sequence[tuple[tuple[int, ...], frozenset[int]]]]


def read(folder: str, seed: int, share: float) -> Data:
    source = Interactions(path=folder, split="users", shares={"validation": 0.1, "test": share}, split_seed=seed)
    catalog, events = source.catalog, source.catalog.interactions
    pairs = np.unique(np.stack([events["user"], events["row"]]), axis=1)
    taken = np.bincount(pairs[0])
    catalog.interactions = events[taken[events["user"]] >= LEAST]
    known = set(catalog.interactions["row"].tolist())

    def needs(pasts: Sequence[Past]) -> Iterator[tuple[tuple[int, ...], frozenset[int]]]:
        for past in pasts:
            if len({*past.history, *past.targets}) >= LEAST and (targets := known.intersection(past.targets)):
                yield past.history, targets

    return Data(catalog, {split: list(needs(source.pasts(split))) for split in ("validation", "test")})


def measured(retriever: Any, asked: Sequence[tuple[tuple[int, ...], frozenset[int]]]) -> np.ndarray:
    """(nDCG@100, R@20, R@50), means over the users."""
    rows_QK = retriever.search([history for history, _ in asked], 100).rows_QK
    gains_K = 1 / np.log2(np.arange(2, 102))
    scores = []
    for rows, (_, targets) in zip(rows_QK.tolist(), asked, strict=True):
        found_K = np.array([row in targets for row in rows])
        recalls = [found_K[:k].sum() / min(k, len(targets)) for k in (20, 50)]
        scores.append([found_K @ gains_K / gains_K[: len(targets)].sum(), *recalls])
    return np.mean(scores, axis=0)


def accuracy(folder: str, seeds: Sequence[int], share: float, models: Sequence[str]) -> None:
    tests: dict[str, list[Any]] = {name: [] for name in models}
    by_l2: dict[tuple[str, float], list[float]] = {}
    for seed in seeds:
        data = read(folder, seed, share)
        users, known = (len(np.unique(data.catalog.interactions[name])) for name in ("user", "row"))
        asked = {split: len(needs) for split, needs in data.asked.items()}
        print(f"\nseed {seed}: {users:,} users to learn from, {known:,} items with events, asked {asked}")
        for name in models:
            start, tried = time.perf_counter(), []
            for options in MODELS[name]:
                retriever = PARTS.build("retriever", options, data.catalog)
                test = measured(retriever, data.asked["test"])
                tried.append((measured(retriever, data.asked["validation"])[0], test, options))
                if name in BY_L2:
                    by_l2.setdefault((name, options["l2"]), []).append(test[0])
            _, test, options = max(tried, key=lambda one: one[0])
            tests[name].append(test)
            chosen = {key: value for key, value in options.items() if key not in ("type", "store")}
            took = (time.perf_counter() - start) / len(tried)
            print(
                f"  {name:24} {'  '.join(f'{value:.4f}' for value in test)}  {took:6.1f} s a fit  {chosen}", flush=True
            )
    print(f"\n{'mean over the seeds':26} nDCG@100  R@20    R@50    nDCG@100 below ease, each seed")
    for name, scores in tests.items():
        gaps = [f"{best[0] - own[0]:+.4f}" for own, best in zip(scores, tests.get("ease", scores), strict=True)]
        print(f"  {name:24} {'  '.join(f'{value:.4f}' for value in np.mean(scores, axis=0))}  {' '.join(gaps)}")
    if by_l2:
        print(f"\n{'nDCG@100 by l2':26} {'  '.join(f'{l2:6}' for l2 in L2)}")
        for name in filter(tests.__contains__, BY_L2):
            print(f"  {name:24} {'  '.join(f'{np.mean(by_l2[name, l2]):.4f}' for l2 in L2)}")


def shop(items: int) -> Catalog:
    """Generated: twice as many users as items, 25 events each, of a Zipf-like popularity."""
    rng = np.random.default_rng(0)
    events = np.zeros(50 * items, EVENT)
    events["user"] = np.repeat(np.arange(2 * items), 25)
    events["row"] = (rng.random(len(events)) ** 2 * items).astype(int)
    events["value"] = 1
    ids = [str(row) for row in range(items)]
    return Catalog(ids, ids, interactions=events)


def cost(options: Mapping[str, Any], items: int) -> str:
    """A line: seconds to fit, peak memory of the process, seconds of a search; in a process of its own."""
    catalog = shop(items)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began, cpu = time.perf_counter(), time.process_time()
    retriever = PARTS.build("retriever", options, catalog)
    fitted, cpu = time.perf_counter() - began, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    rng = np.random.default_rng(1)
    histories = [tuple(rng.integers(0, items, 50).tolist()) for _ in range(STEP)]
    searches = []
    for _ in range(3):
        began = time.perf_counter(), time.process_time()
        retriever.search(histories, 100)
        searches.append((time.perf_counter() - began[0], time.process_time() - began[1]))
    wall, own = np.min(searches, axis=0)
    return (
        f"{fitted:7.1f} ({cpu:.1f}) s  {peak / 2**20:5.1f} GiB, {(peak - before) / 2**20:.1f} above the data  "
        f"{wall:.3f} ({own:.3f}) s"
    )


def inverse(items: int, precision: str) -> str:
    """A line: CPU seconds of EASE's weights, beside numpy's inverse and one product of two matrices of that size."""
    matrix = matrix_of(shop(items))
    began = time.process_time()
    weights_of(matrix, 500.0, precision=precision)
    took, gram = [time.process_time() - began], (matrix.T @ matrix).toarray()
    gram = gram.astype(np.float64 if precision == "double" else np.float32)
    np.einsum("ii->i", gram)[:] += 500
    for other in (np.linalg.inv, lambda one: one @ one):
        began = time.process_time()
        other(gram)
        took.append(time.process_time() - began)
    own, plain, once = took
    return f"{own:.1f} s, numpy's inverse {plain:.1f} s ({plain / own:.2f}), a product {once:.1f} s ({once / own:.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", help="a folder of interactions")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--test", type=float, default=0.2, help="share of the users who are test")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument(
        "--items", type=int, nargs="*", default=[3_659], help="sizes of the generated shop; none: no cost"
    )
    parser.add_argument(
        "--weights", type=int, nargs="*", default=[], help="sizes at which EASE's weights are timed alone"
    )
    options = parser.parse_args()
    for items, precision in product(options.weights, ("double", "single")):
        print(f"weights of {items:,} items, {precision}: {inverse(items, precision)}", flush=True)
    for items in options.items:
        print(f"\n{items:,} items, {2 * items:,} users: time to fit (of CPU), peak memory; {STEP} histories, k = 100")
        for part in [
            *grid("popularity"),
            *grid("item_knn"),
            *grid("als"),
            *grid("ease", precision=["double", "single"]),
        ]:
            with ProcessPoolExecutor(1, get_context("spawn")) as alone:
                name = f"{part['type']} {part.get('precision', '')}"
                print(f"  {name:16} {alone.submit(cost, part, items).result()}", flush=True)
    if options.folder:
        accuracy(options.folder, options.seeds, options.test, options.models)


if __name__ == "__main__":
    main()
