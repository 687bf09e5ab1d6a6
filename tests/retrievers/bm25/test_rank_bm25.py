from __future__ import annotations

from math import log

import numpy as np
import pytest
from rank_bm25 import BM25Okapi

from retrievers import Catalog
from retrievers.bm25.rank_bm25 import RankBM25

TEXTS = ["red shoe red", "blue shoe", "green hat with a wide brim", "green sock", "red sock"]
SHOP = Catalog([str(row) for row in range(5)], TEXTS)
"""Lengths 3, 2, 6, 2, 2: the mean is 3."""


def found(retriever, query, k=5):
    rows, scores = retriever.search([query], k)
    return {int(row): float(score) for row, score in zip(rows[0], scores[0], strict=True) if row >= 0}


def test_scores_are_those_of_the_formula_by_hand():
    idf = log(3.5 / 2.5)  # two of five items hold "red", and two hold "shoe"
    norm_3, norm_2 = 1.5 * (0.25 + 0.75 * 3 / 3), 1.5 * (0.25 + 0.75 * 2 / 3)
    part = idf * 2.5 / (1 + norm_2)
    expected = {0: idf * 2 * 2.5 / (2 + norm_3) + idf * 2.5 / (1 + norm_3), 1: part, 4: part}
    assert found(RankBM25(SHOP), "Red shoe") == pytest.approx(expected, rel=1e-6)


def test_a_term_of_most_items_weighs_epsilon_times_the_mean_idf():
    catalog = Catalog(["1", "2", "3"], ["a b", "a c", "a d"])
    idf_a, idf_rare = log(0.5 / 3.5), log(2.5 / 1.5)
    mean = (idf_a + 3 * idf_rare) / 4
    tf = 2.5 / (1 + 1.5)
    assert found(RankBM25(catalog, epsilon=0.5), "a") == pytest.approx(
        dict.fromkeys(range(3), 0.5 * mean * tf), rel=1e-6
    )


def test_a_match_may_score_zero_or_less():
    half = Catalog(["1", "2"], ["red", "blue"])
    assert found(RankBM25(half), "red") == {0: 0.0}
    everywhere = Catalog(["1", "2"], ["red", "red red"])
    assert set(found(RankBM25(everywhere), "red")) == {0, 1}
    assert max(found(RankBM25(everywhere), "red").values()) < 0


def test_it_scores_as_the_library_does():
    rng = np.random.default_rng(0)
    texts = [[f"w{word}" for word in rng.zipf(1.4, rng.integers(1, 20)) % 60] for _ in range(200)]
    library = BM25Okapi(texts, k1=0.9, b=0.4)
    retriever = RankBM25(Catalog([str(row) for row in range(200)], [" ".join(text) for text in texts]), k1=0.9, b=0.4)
    for query in texts[:30]:
        scores = library.get_scores(query)
        ours = found(retriever, " ".join(query), 200)
        assert ours == pytest.approx({row: scores[row] for row in ours}, rel=1e-5, abs=1e-6)
        assert set(ours) == {row for row, text in enumerate(texts) if set(text) & set(query)}


def test_a_repeated_query_term_counts_as_often_as_it_occurs():
    once, thrice = found(RankBM25(SHOP), "sock"), found(RankBM25(SHOP), "sock sock sock")
    assert thrice == pytest.approx({row: 3 * score for row, score in once.items()}, rel=1e-6)


def test_the_score_over_fields_is_the_weighted_sum_of_each_field():
    colours = ["red", "blue", "", "green", "red"]
    catalog = Catalog(SHOP.ids, SHOP.texts, {"colour": colours})
    text, colour = RankBM25(SHOP), RankBM25(Catalog(SHOP.ids, colours))
    scores = found(RankBM25(catalog, fields={"texts": 2, "colour": 0.5}), "red shoe")
    expected = {
        row: 2 * found(text, "red shoe").get(row, 0) + 0.5 * found(colour, "red").get(row, 0) for row in (0, 1, 4)
    }
    assert scores == pytest.approx(expected, rel=1e-6)


def test_a_field_that_is_empty_everywhere_adds_nothing():
    catalog = Catalog(SHOP.ids, SHOP.texts, {"colour": [None] * 5})
    assert found(RankBM25(catalog, fields={"texts": 1, "colour": 1}), "red") == found(RankBM25(SHOP), "red")


def test_it_takes_the_analyzer_options():
    retriever = RankBM25(SHOP, stopwords=["red"], stemmer="english")
    assert set(found(retriever, "red shoes")) == {0, 1}
    assert not found(RankBM25(SHOP, lowercase=False), "Red")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k1": -1}, "k1: must be a number >= 0 .*, got -1"),
        ({"b": -0.5}, "b: must be a number between 0 and 1, got -0.5"),
        ({"epsilon": -0.1}, "epsilon: must be a number >= 0, got -0.1"),
        ({"epsilon": float("nan")}, "epsilon: must be a number >= 0, got nan"),
        ({"stopwords": "klingon"}, "stopwords: must be a list or its name, got 'klingon'"),
        ({"fields": {}}, "fields: must be a mapping from strings to numbers > 0 with at least 1 item"),
    ],
)
def test_an_option_that_cannot_be_used_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        RankBM25(SHOP, **options)
