"""The index of bm25 holds the weights of the library bm25s to the last bit, however its chunks fall."""

from __future__ import annotations

import bm25s
import numpy as np
import pytest

from retrievers.analyzer import Analyzer
from retrievers.bm25 import index as bm25_index
from retrievers.bm25.index import index_fields

WORDS = ["shoe", "shoes", "Shoe", "running", "run", "the", "\u65e5\u672c", "stra\u00dfe", "e\u0301tude"]
WORDS += [f"w{n}" for n in range(60)]


def random_texts(seed, items, longest=40):
    rng = np.random.default_rng(seed)
    frequencies = 1 / np.arange(1, len(WORDS) + 1)
    frequencies /= frequencies.sum()
    return [" ".join(rng.choice(WORDS, rng.integers(0, longest), p=frequencies)) for _ in range(items)]


def by_bm25s(analyzer, texts, k1, b):
    columns = {}
    columns_N = [[columns.setdefault(term, len(columns)) for term in analyzer.terms(text)] for text in texts]
    weigher = bm25s.BM25(k1=k1, b=b, method="lucene", backend="numpy")
    index = weigher.build_index_from_ids(list(columns.values()), columns_N, show_progress=False)
    return columns, [index["data"], index["indices"], index["indptr"]]


@pytest.mark.parametrize(("items", "tokens"), [(1, 10**6), (7, 10**6), (10**6, 1), (10**6, 100), (300, 10**6)])
@pytest.mark.parametrize("options", [{}, {"stemmer": "english", "stopwords": "english"}, {"lowercase": False}])
@pytest.mark.parametrize(("k1", "b"), [(1.2, 0.75), (0.9, 0.4), (0, 1), (2, 0)])
def test_weights_rows_and_columns_are_those_of_bm25s_to_the_last_bit(monkeypatch, items, tokens, options, k1, b):
    monkeypatch.setattr(bm25_index, "CHUNK_ITEMS", items)
    monkeypatch.setattr(bm25_index, "CHUNK_TOKENS", tokens)
    analyzer, texts = Analyzer(**options), random_texts(0, 300)
    (columns,), postings = index_fields(analyzer, [(texts, 1.0)], k1, b)
    their_columns, their_postings = by_bm25s(analyzer, texts, k1, b)
    assert list(columns.items()) == list(their_columns.items())
    for ours, theirs in zip(postings, their_postings, strict=True):
        assert ours.dtype == theirs.dtype
        assert ours.tobytes() == theirs.tobytes()


def test_an_item_may_hold_a_word_more_often_than_a_byte_can_count():
    texts = ["red " * 70_000, "red blue", "blue " * 300]
    _, postings = index_fields(Analyzer(), [(texts, 1.0)], 1.2, 0.75)
    assert postings.weights.tobytes() == by_bm25s(Analyzer(), texts, 1.2, 0.75)[1][0].tobytes()


def test_each_field_has_columns_of_its_own_and_its_weight():
    fields = [(["red shoe", "hat"], 2.0), (["", ""], 1.0), (["hat", "red hat"], 0.5)]
    columns, postings = index_fields(Analyzer(), fields, 1.2, 0.75)
    assert columns == [{"red": 0, "shoe": 1, "hat": 2}, {}, {"hat": 0, "red": 1}]
    assert postings.rows.tolist() == [0, 0, 1, 0, 1, 1]
    assert postings.ends.tolist() == [0, 1, 2, 3, 5, 6]
    alone = [index_fields(Analyzer(), [(texts, 1.0)], 1.2, 0.75)[1].weights for texts, _ in fields]
    assert postings.weights.tolist() == [*(2 * alone[0]), *(np.float32(0.5) * alone[2])]


@pytest.mark.parametrize("texts", [[""], ["", "?!"]])
def test_an_index_without_a_word_is_empty(texts):
    columns, postings = index_fields(Analyzer(), [(texts, 1.0)], 1.2, 0.75)
    assert columns == [{}]
    assert [part.tolist() for part in postings] == [[], [], [0]]


def test_a_word_that_was_not_indexed_gets_no_column_by_asking():
    (columns,), _ = index_fields(Analyzer(), [(["red shoe"], 1.0)], 1.2, 0.75)
    with pytest.raises(KeyError):
        columns["blue"]
    assert len(columns) == 2
