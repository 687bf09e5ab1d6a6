from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from retrievers.bm25.blocks import best_keys_in_blocks
from retrievers.bm25.bm25 import Terms
from retrievers.bm25.index import Postings, bounds_of
from retrievers.testing import check_hits
from retrievers.topk import best_keys, hits_from_keys, no_hits, topk, topk_of

NONE = -np.inf


def plainly(scores, k):
    """Top-k as a sort of pairs."""
    rows = sorted((row for row, score in enumerate(scores) if score > NONE), key=lambda row: (-scores[row], row))[:k]
    pad = k - len(rows)
    return [*rows, *[-1] * pad], [*(scores[row] for row in rows), *[NONE] * pad]


def test_the_best_stand_first():
    rows, scores = topk(np.array([[0.5, 2.0, -1.0], [3.0, 1.0, 2.0]]), 2)
    assert rows.tolist() == [[1, 0], [0, 2]]
    assert scores.tolist() == [[2.0, 0.5], [3.0, 2.0]]


def test_ties_go_to_the_lower_row():
    assert topk(np.array([[1.0, 2.0, 1.0, 2.0, 1.0]]), 4).rows_QK.tolist() == [[1, 3, 0, 2]]


def test_minus_zero_ties_with_zero():
    assert topk(np.array([[-0.0, 0.0, -0.0]]), 3).rows_QK.tolist() == [[0, 1, 2]]


def test_scores_are_compared_as_float32():
    assert topk(np.array([[1.0, 1.0 + 1e-12]]), 2).rows_QK.tolist() == [[0, 1]]


def test_items_at_minus_infinity_did_not_match():
    rows, scores = topk(np.array([[NONE, 1.0, NONE]]), 2)
    assert rows.tolist() == [[1, -1]]
    assert scores.tolist() == [[1.0, NONE]]


def test_without_a_mask_low_and_infinite_scores_match():
    scores = np.array([[np.finfo(np.float32).min, 0.0, np.inf]])
    assert topk(scores, 3).rows_QK.tolist() == [[2, 1, 0]]


def test_the_mask_says_what_matched_whatever_the_score():
    rows, scores = topk(np.array([[0.0, 9.0, -2.0]]), 3, np.array([[True, False, True]]))
    assert rows.tolist() == [[0, 2, -1]]
    assert scores.tolist() == [[0.0, -2.0, NONE]]


def test_k_may_exceed_the_items():
    assert topk(np.array([[1.0, 2.0]]), 4).rows_QK.tolist() == [[1, 0, -1, -1]]


@pytest.mark.parametrize("items", [0, 1, 50])
def test_no_queries_give_no_rows(items):
    assert topk(np.empty((0, items)), 3).rows_QK.shape == (0, 3)


def test_no_items_give_empty_places():
    assert topk(np.empty((2, 0)), 2).rows_QK.tolist() == [[-1, -1], [-1, -1]]


def test_the_scores_that_came_in_are_left_as_they_are():
    scores = np.array([[1.0, -0.0, 3.0]], np.float32)
    before = scores.copy()
    topk(scores, 2, np.array([[True, False, False]]))
    assert scores.tobytes() == before.tobytes()


def test_nan_is_refused():
    with pytest.raises(ValueError, match="score of row 2 for query 1 is NaN"):
        topk(np.array([[1.0, 1.0, 1.0], [1.0, 1.0, np.nan]]), 1)


@pytest.mark.parametrize("k", [0, -1])
def test_a_k_below_one_is_refused(k):
    with pytest.raises(ValueError, match=f"k must be an integer >= 1, got {k}"):
        topk(np.array([[1.0]]), k)


def test_no_hits_are_hits():
    check_hits(no_hits(3, 2), 3, 2, 0)
    assert (no_hits(3, 2).rows_QK == -1).all()


SCORES = st.sampled_from([NONE, -3.5, -1.0, -0.0, 0.0, 1e-45, 0.5, 2.0, 1e38]) | st.floats(-10, 10, width=32)


@settings(deadline=None, max_examples=200)
@given(arrays(np.float32, st.tuples(st.integers(0, 4), st.integers(0, 90)), elements=SCORES), st.integers(1, 100))
def test_it_ranks_as_a_plain_sort_does(scores_QN, k):
    hits = topk(scores_QN, k)
    check_hits(hits, len(scores_QN), k, scores_QN.shape[1])
    for scores_N, rows_K, scores_K in zip(scores_QN, *hits, strict=True):
        assert (rows_K.tolist(), scores_K.tolist()) == plainly(scores_N.tolist(), k)


@pytest.mark.parametrize("levels", [1, 2, 5, 1000])
@pytest.mark.parametrize("k", [1, 7, 100, 999])
def test_it_ranks_as_a_plain_sort_does_on_many_items(levels, k):
    scores_QN = np.random.default_rng(levels).integers(-1, levels, (3, 1000)).astype(np.float32)
    scores_QN[scores_QN < 0] = NONE
    for scores_N, rows_K in zip(scores_QN, topk(scores_QN, k).rows_QK, strict=True):
        assert rows_K.tolist() == plainly(scores_N.tolist(), k)[0]


@pytest.mark.parametrize("k", [1, 3, 64, 200])
@pytest.mark.parametrize("levels", [1, 4, 10**6])
def test_the_compiled_kernel_picks_the_same_items(levels, k):
    """Postings with one column per query: the sum of one weight is the score."""
    rng = np.random.default_rng(k)
    scores_QN = rng.integers(0, levels + 1, (5, 200)).astype(np.float32)
    queries, rows = np.nonzero(scores_QN)
    ends = np.searchsorted(queries, np.arange(6))
    postings = Postings(scores_QN[queries, rows], rows.astype(np.int32), ends)
    terms = Terms(np.arange(5), np.ones(5, np.float32), np.arange(6))
    compiled = best_keys_in_blocks(postings, bounds_of(postings, 200), terms, 200, k)
    expected = topk(scores_QN, k, scores_QN > 0)
    for ours, theirs in zip(hits_from_keys(compiled, k), expected, strict=True):
        assert np.array_equal(ours, theirs)


def test_keys_of_fewer_than_k_items_are_padded():
    keys = best_keys(np.array([[1.0, 2.0]], np.float32), 2)
    assert hits_from_keys(keys, 5).rows_QK.tolist() == [[1, 0, -1, -1, -1]]


def test_candidates_are_ranked_as_the_whole_catalog_is():
    rng = np.random.default_rng(3)
    for items, k in ((1, 1), (7, 3), (40, 40), (40, 90)):
        scores_QN = rng.integers(-3, 3, (50, items)).astype(np.float32)
        there_QN = rng.random((50, items)) < 0.6
        shuffled_QN = rng.permuted(np.tile(np.arange(items), (50, 1)), axis=1)
        scores_QM, there_QM = (np.take_along_axis(a, shuffled_QN, axis=1) for a in (scores_QN, there_QN))
        hits = topk_of(np.where(there_QM, shuffled_QN, -1), scores_QM, k)
        expected = topk(scores_QN, k, there_QN)
        assert np.array_equal(hits.rows_QK, expected.rows_QK)
        assert np.array_equal(hits.scores_QK, expected.scores_QK)
        assert hits.rows_QK.dtype == np.int32 and hits.scores_QK.dtype == np.float32


def test_candidates_of_no_query_are_no_hits():
    assert topk_of(np.empty((0, 3), np.int32), np.empty((0, 3)), 2).rows_QK.shape == (0, 2)


def test_scores_are_read_for_candidates_alone():
    assert topk_of(np.array([[4, -1]]), np.array([[1.0, np.nan]]), 2).rows_QK.tolist() == [[4, -1]]


@pytest.mark.parametrize("score", [np.nan, np.inf, -np.inf, 1e300])
def test_a_candidate_without_a_finite_score_has_no_place(score):
    with pytest.raises(ValueError, match=r"the score of row 4 for query 1 is (nan|inf|-inf): it cannot be ranked"):
        topk_of(np.array([[4], [4]]), np.array([[1.0], [score]]), 1)


def test_candidates_for_a_k_below_one_are_refused():
    with pytest.raises(ValueError, match="k must be an integer >= 1, got 0"):
        topk_of(np.array([[4]]), np.array([[1.0]]), 0)
