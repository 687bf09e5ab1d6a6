"""An index of bm25 that is kept in a store finds what one in memory finds, and is built once."""

from __future__ import annotations

import logging
import os
import pickle

import numpy as np
import pytest

from retrievers import Catalog
from retrievers.bm25.bm25 import BM25

TEXTS = ["Red shoe", "blue shoe", "", "reading lamp \u65e5\u672c", "the red lamp of the house"]
CATALOG = Catalog([str(row) for row in range(5)], TEXTS, {"title": TEXTS[::-1], "empty": [""] * 5})
QUERIES = ["red lamp", "shoe", "", "\u65e5"]


def same(found, expected):
    return all(np.array_equal(one, other) for one, other in zip(found, expected, strict=True))


@pytest.mark.parametrize(
    "options",
    [{}, {"fields": {"title": 2.0, "texts": 1.0, "empty": 1.0}}, {"stemmer": "english", "stopwords": "english"}],
)
@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_it_finds_what_an_index_in_memory_finds(tmp_path, backend, options):
    expected = BM25(CATALOG, backend=backend, **options).search(QUERIES, 4)
    for _ in ("built", "opened"):
        assert same(BM25(CATALOG, backend=backend, store=str(tmp_path), **options).search(QUERIES, 4), expected)
    assert len(list(tmp_path.glob("bm25-*/"))) == 1


def test_a_catalog_without_a_word_is_kept_too(tmp_path):
    silent = Catalog(["a"], [""])
    for _ in ("built", "opened"):
        assert BM25(silent, store=str(tmp_path)).search(["red"], 1).rows_QK.tolist() == [[-1]]


def test_every_option_that_changes_a_ranking_has_an_index_of_its_own(tmp_path):
    kinds = [{}, {"k1": 1.0}, {"b": 0.5}, {"fields": {"title": 1}}, {"fields": {"title": 2}}, {"lowercase": False}]
    kinds += [{"stopwords": ["the"]}, {"stemmer": "english"}]
    for options in kinds:
        BM25(CATALOG, store=str(tmp_path), **options)
    assert len(list(tmp_path.glob("bm25-*/"))) == len(kinds)
    for backend in ("numpy", "numba"):
        BM25(CATALOG, store=str(tmp_path), backend=backend)
    assert len(list(tmp_path.glob("bm25-*/"))) == len(kinds), "the backend ranks the same and shares the index"


def test_it_pickles_as_a_path(tmp_path):
    texts = [f"word{row} common" for row in range(3000)]
    kept = BM25(Catalog(texts, texts), store=str(tmp_path))
    data = pickle.dumps(kept)
    assert len(data) < 2000
    assert same(pickle.loads(data).search(["word7"], 2), kept.search(["word7"], 2))


def test_a_truncated_index_is_built_again(tmp_path, caplog):
    expected = BM25(CATALOG, store=str(tmp_path)).search(QUERIES, 3)
    (weights,) = tmp_path.glob("bm25-*/weights.npy")
    os.truncate(weights, weights.stat().st_size - 4)
    with caplog.at_level(logging.WARNING):
        assert same(BM25(CATALOG, store=str(tmp_path)).search(QUERIES, 3), expected)
    assert "weights.npy has" in caplog.text
