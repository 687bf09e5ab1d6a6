"""The index of bm25 holds the weights of the library bm25s to the last bit, however its chunks fall."""

from __future__ import annotations

import bm25s
import numba
import numpy as np
import pytest

from retrievers.analyzer import Analyzer
from retrievers.bm25 import index as bm25_index
from retrievers.bm25 import words
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
@pytest.mark.parametrize("how", [(1.2, 0.75, False), (0.9, 0.4, True), (0, 1, False), (2, 0, True)])
def test_weights_are_those_of_bm25s_to_the_last_bit(monkeypatch, items, tokens, options, how):
    k1, b, compiled = how
    monkeypatch.setattr(bm25_index, "CHUNK_ITEMS", items)
    monkeypatch.setattr(bm25_index, "CHUNK_TOKENS", tokens)
    monkeypatch.setattr(bm25_index, "BLOCK_LETTERS", tokens)
    analyzer, texts = Analyzer(**options), random_texts(0, 300)
    (columns,), postings = index_fields(analyzer, [(texts, 1.0)], k1, b, compiled=compiled)
    their_columns, their_postings = by_bm25s(analyzer, texts, k1, b)
    assert list(columns.items()) == list(their_columns.items())
    for ours, theirs in zip(postings, their_postings, strict=True):
        assert ours.dtype == theirs.dtype
        assert ours.tobytes() == theirs.tobytes()


SIGNS = [
    *"abIKSs_09 -.'<=>`;\t\n\0\x7f",
    "\u00ad",
    "\u0300",
    "\u0307",
    "\u0338",
    "\u0345",
    "\u0130",
    "\u0131",
    "\u212a",
]
SIGNS += [
    "\u1e9e",
    "\u00df",
    "\u00e9",
    "\u200d",
    "\u3164",
    "\uff21",
    "\uff76",
    "\uff9e",
    "\uff01",
    "\u65e5",
    "\u3042",
    "\u30ab",
]
SIGNS += [
    "\u3099",
    "\u0434",
    "\u0e01",
    "\u1100",
    "\u1161",
    "\u11a8",
    "\u1fef",
    "\u037e",
    "\ud800",
    "\U0001f31f",
    "\U000e0100",
]
SIGNS += ["\u0300" * 40, "\u00ff", "longer_than_seven", "longer_than_eight"]


@pytest.mark.parametrize("options", [{}, {"stemmer": "english", "stopwords": ["a", "\u00df"]}, {"lowercase": False}])
@pytest.mark.parametrize("signs", [SIGNS, SIGNS[:26], SIGNS[14:]], ids=["any", "mostly ASCII", "mostly not"])
def test_compiled_code_cuts_any_text_into_the_terms_of_the_analyzer(monkeypatch, options, signs):
    monkeypatch.setattr(bm25_index, "BLOCK_LETTERS", 500)
    rng = np.random.default_rng(len(signs))
    texts = ["".join(rng.choice(signs, rng.integers(0, 30))) for _ in range(3000)]
    analyzer = Analyzer(**options)
    plain, compiled = (index_fields(analyzer, [(texts, 1.0)], 1.2, 0.75, compiled=way) for way in (False, True))
    assert list(compiled[0][0].items()) == list(plain[0][0].items())
    for ours, theirs in zip(compiled[1], plain[1], strict=True):
        assert ours.dtype == theirs.dtype
        assert ours.tobytes() == theirs.tobytes()


def test_long_words_with_one_hash_are_told_apart(monkeypatch):
    for name, value in (("SEED", 0), ("PRIME", 0)):
        monkeypatch.setattr(words, name, np.int64(value))
    monkeypatch.setattr(words, "_piece", numba.njit(words._piece.py_func))
    monkeypatch.setattr(words, "_number", numba.njit(words._number.py_func))
    texts = ["abcdefgh abcdefgi", "abcdefghi abcdefgh"]
    (columns,), _ = index_fields(Analyzer(), [(texts, 1.0)], 1.2, 0.75, compiled=True)
    assert columns == {"abcdefgh": 0, "abcdefgi": 1, "abcdefghi": 2}


@pytest.mark.parametrize("compiled", [False, True])
def test_an_item_may_hold_a_word_more_often_than_a_byte_can_count(compiled):
    texts = ["red " * 70_000, "red blue", "blue " * 300]
    _, postings = index_fields(Analyzer(), [(texts, 1.0)], 1.2, 0.75, compiled=compiled)
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
@pytest.mark.parametrize("compiled", [False, True])
def test_an_index_without_a_word_is_empty(texts, compiled):
    columns, postings = index_fields(Analyzer(), [(texts, 1.0)], 1.2, 0.75, compiled=compiled)
    assert columns == [{}]
    assert [part.tolist() for part in postings] == [[], [], [0]]


def test_a_word_that_was_not_indexed_gets_no_column_by_asking():
    (columns,), _ = index_fields(Analyzer(), [(["red shoe"], 1.0)], 1.2, 0.75)
    with pytest.raises(KeyError):
        columns["blue"]
    assert len(columns) == 2
