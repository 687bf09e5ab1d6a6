"""The compiled search in blocks has the hits of the one that reads all postings, to the last bit."""

from __future__ import annotations

import numpy as np
import pytest

from retrievers import Catalog
from retrievers.bm25.blocks import BLOCK, SAMPLED, SAMPLES, best_keys_in_blocks, sampled_rows
from retrievers.bm25.bm25 import BM25, Terms, _best_keys_numpy
from retrievers.bm25.index import COMMON, Postings, bounds_of
from retrievers.topk import hits_from_keys

WORDS = 3000
FREQUENCIES = 1 / np.arange(1, WORDS + 1) / (1 / np.arange(1, WORDS + 1)).sum()


def zipf_texts(seed, texts, words):
    drawn = np.random.default_rng(seed).choice(WORDS, (texts, words), p=FREQUENCIES)
    return [" ".join(f"w{word}" for word in row) for row in drawn]


def both(texts, **options):
    catalog = Catalog([str(row) for row in range(len(texts))], texts)
    return BM25(catalog, backend="numba", **options), BM25(catalog, backend="numpy", **options)


def check_same(retrievers, queries, k):
    ours, theirs = (retriever.search(queries, k) for retriever in retrievers)
    for got, expected in zip(ours, theirs, strict=True):
        assert got.tobytes() == expected.tobytes()


@pytest.fixture(scope="module")
def many():
    """More items than two blocks hold, which do not fill the last one."""
    return both(zipf_texts(0, 2 * BLOCK + 1234, 8))


def test_the_queries_below_are_searched_in_blocks(many):
    postings = many[0]._postings
    assert np.diff(postings.ends).max() > BLOCK


@pytest.mark.parametrize("k", [1, 10, 100, 3000])
@pytest.mark.parametrize("words", [2, 8, 20])
def test_hits_are_those_of_numpy(many, k, words):
    check_same(many, zipf_texts(words, 12, words), k)


def test_a_word_that_nearly_all_items_hold_can_stand_alone(many):
    check_same(many, ["w0", "w0 w0 w0", "w0 w1", "w2999 w0"], 50)


def test_more_items_than_match_can_be_asked_for(many):
    check_same(many, ["w0 w1 w2", "w2998 w0"], 2 * BLOCK + 1234)


@pytest.mark.parametrize("items", [2 * BLOCK - 1, 2 * BLOCK, 2 * BLOCK + 1])
def test_rows_at_the_end_of_a_block_are_found(items):
    texts = ["dull grey"] * items
    for row in (0, 63, 64, BLOCK - 1, BLOCK, items - 1):
        texts[row] = "dull grey bright"
    retrievers = both(texts)
    assert retrievers[0].search(["dull grey bright"], 6).rows_QK.tolist() == [
        sorted({0, 63, 64, BLOCK - 1, BLOCK, items - 1})
    ]
    check_same(retrievers, ["dull grey bright"], 100)


def test_a_sample_that_promises_too_much_loses_nothing():
    """Only the rows of the sample hold both words: far fewer than k items reach what it lets expect."""
    items = 4 * BLOCK
    texts = ["common plain"] * items
    for sample in range(SAMPLES):
        first = sample * (items // SAMPLES)
        for row in range(first, first + items // (SAMPLED * SAMPLES)):
            texts[row] = "common rare"
    retrievers = both(texts)
    k = 2 * items // SAMPLED
    check_same(retrievers, ["common rare"], k)
    assert (retrievers[0].search(["common rare"], k).rows_QK >= 0).all()


def test_sums_that_64_bits_would_round_are_added_in_the_order_of_columns():
    """The smallest first, these weights come to just above the middle between two scores; else to the middle itself."""
    items, columns = BLOCK + 100, 4
    weights = np.repeat(np.array([1, 2**-24, 2**-53, 2**-53], np.float32), items)
    rows = np.tile(np.arange(items, dtype=np.int32), columns)
    postings = Postings(weights, rows, np.arange(columns + 1) * items)
    terms = Terms(np.arange(columns), np.ones(columns, np.float32), np.array([0, columns]))
    ours = hits_from_keys(best_keys_in_blocks(postings, bounds_of(postings, items), terms, items, 10), 10)
    assert (
        ours.scores_QK.tolist() == hits_from_keys(_best_keys_numpy(postings, terms, items, 10), 10).scores_QK.tolist()
    )
    assert ours.scores_QK.tolist() == [[1.0] * 10]


@pytest.mark.parametrize("items", [10**5, SAMPLES * SAMPLED * BLOCK, SAMPLES * SAMPLED * BLOCK + 10**4, 10**9])
def test_the_rows_of_a_sample_fit_the_sums_of_a_block(items):
    """Compiled code writes beyond the end of an array without a word."""
    assert 0 < sampled_rows.py_func(items) <= BLOCK


def test_bounds_are_the_extremes_of_weights_and_the_rows_of_common_columns():
    items = 130
    common = np.array([0, 63, 64, 100, 129])
    rare = np.array([5])
    assert len(rare) * COMMON < items <= len(common) * COMMON
    weights = np.array([7, 1, 2, 3, 4, 2], np.float32)
    postings = Postings(weights, np.concatenate([rare, common]).astype(np.int32), np.array([0, 1, 6]))
    bounds = bounds_of(postings, items)
    assert bounds.extremes_2C.tolist() == [[7, 1], [7, 4]]
    assert bounds.places_C.tolist() == [-1, 0]
    assert bounds.held_DW2.tolist() == [[[1 | 1 << 63, 1], [1 | 1 << 36, 3], [2, 5]]]


def test_an_index_without_words_has_bounds():
    retriever = BM25(Catalog(["1"], [""]), backend="numba")
    assert retriever.search(["shoe"], 3).rows_QK.tolist() == [[-1, -1, -1]]
