"""What codes of texts (`vqrec`) give beside text vectors and free ids: accuracy, and how much text is left in them.

    OMP_NUM_THREADS=1 python benchmarks/codes.py FOLDER --seeds 0 1 2

FOLDER is what `source: {type: interactions, path: FOLDER}` reads. A user's last basket is asked for; what came before
is the history, whose items are no targets. Text coupling is measured twice: Spearman's correlation of the cosines of
text vectors and of learned vectors, over 50,000 random pairs of items, and the share of an item's ten nearest by one
that are among its ten nearest by the other.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from recr1.tasks.behaviour.reader import Interactions
from retrievers import PARTS
from retrievers.base import Floats

PAIRS, NEAR = 50_000, 10


def coupling(texts_ND: Floats, learned_ND: Floats) -> tuple[float, float]:
    """Spearman's correlation of cosines, and the overlap of the nearest ten."""
    first, second = np.random.default_rng(0).integers(0, len(texts_ND), (2, PAIRS))
    cosines = [np.einsum("pd,pd->p", one[first], one[second])[first != second] for one in (texts_ND, learned_ND)]
    near = []
    for vectors in (texts_ND, learned_ND):
        alike = vectors @ vectors.T
        np.fill_diagonal(alike, -np.inf)
        near.append(np.argpartition(-alike, NEAR, axis=1)[:, :NEAR])
    shared = [len(set(own) & set(other)) / NEAR for own, other in zip(*map(np.ndarray.tolist, near), strict=True)]
    return float(spearmanr(*cosines)[0]), float(np.mean(shared))


def unit(vectors: Floats) -> Floats:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--features", nargs="+", default=["codes", "text", "ids"])
    parser.add_argument("--encoder", type=json.loads, default={"type": "hashing", "ngrams": 3}, help="a part, as JSON")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--learning-rate", type=float, default=3e-3)
    options = parser.parse_args()
    source = Interactions(path=options.folder, split="leave_last", per_user=0)
    catalog, asked = source.catalog, []
    for past in source.pasts("test"):
        if targets := set(past.targets) - set(past.history):
            asked.append((past.history, targets))
    gains = 1 / np.log2(np.arange(2, 12))
    texts = unit(PARTS.build("encoder", options.encoder).encode_items(catalog.texts))
    taken = np.unique(catalog.interactions["row"])
    print(f"{len(asked):,} users asked, {len(taken):,} of {len(catalog):,} items with training events, {options}")
    for seed in options.seeds:
        for features in options.features:
            encoder: Any = {} if features == "ids" else {"encoder": options.encoder}
            part = {"type": "vqrec", "features": features, "epochs": options.epochs, "seed": seed, "store": None}
            began, cpu = time.perf_counter(), time.process_time()
            model = PARTS.build("retriever", {**part, **encoder, "learning_rate": options.learning_rate}, catalog)
            took = f"{time.perf_counter() - began:.0f} s, {time.process_time() - cpu:.0f} s of CPU"
            found = model.search([history for history, _ in asked], 10).rows_QK.tolist()
            hits = [np.array([row in targets for row in rows]) for rows, (_, targets) in zip(found, asked, strict=True)]
            ndcg = [hit @ gains / gains[: len(targets)].sum() for hit, (_, targets) in zip(hits, asked, strict=True)]
            spearman, overlap = coupling(texts[taken], model.item_vectors()[taken])
            hit, shared = np.mean([one.any() for one in hits]), model.stats.get("codes/shared", 0)
            print(f"seed {seed} {features:6} HR@10 {hit:.4f}  nDCG@10 {np.mean(ndcg):.4f}  ", end="")
            print(f"Spearman {spearman:.3f}  overlap {overlap:.3f}  shared codes {shared:.1%}  ", end="")
            print(f"epoch {model.stats['fit/epoch']:.0f}  {took}", flush=True)


if __name__ == "__main__":
    main()
