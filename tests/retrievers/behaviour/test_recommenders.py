"""The models of behaviour beside their definitions and beside the library that fits them."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from retrievers import PARTS
from retrievers.behaviour.als import ALS
from retrievers.behaviour.base import histories_matrix, matrix_of
from retrievers.behaviour.ease import EASE, gigabytes, weights_of
from retrievers.behaviour.item_knn import ItemKNN
from retrievers.behaviour.testing import behaviour_catalog
from retrievers.store import Store
from tests.retrievers.behaviour.behaviour_contracts import ridge

RNG = np.random.default_rng(3)
USERS = [RNG.choice(60, RNG.integers(2, 12), replace=False, p=np.arange(60, 0, -1) / 1830).tolist() for _ in range(300)]
SHOP = behaviour_catalog(60, USERS)
HISTORIES = [tuple(RNG.choice(60, RNG.integers(1, 8), replace=False).tolist()) for _ in range(40)]


def random_matrix(users, items):
    return csr_matrix((np.random.default_rng(4).random((users, items)) < 0.2).astype(np.float32))


@pytest.mark.parametrize("l2", [0.5, 20.0, 500.0])
def test_a_column_of_ease_is_the_ridge_regression_of_its_item_on_all_others(l2):
    matrix = random_matrix(80, 40)
    assert np.abs(weights_of(matrix, l2) - ridge(matrix.toarray().astype(np.float64), l2)).max() < 1e-8


@pytest.mark.parametrize("precision", ["double", "single"])
def test_no_item_says_anything_of_itself_in_ease(precision, monkeypatch):
    monkeypatch.setattr("retrievers.behaviour.ease.BLOCK", 7)
    matrix = random_matrix(80, 40)
    weights = weights_of(matrix, 20.0, precision=precision)
    assert (np.diag(weights) == 0).all() and (weights < 0).any()
    assert np.abs(weights - ridge(matrix.toarray(), 20.0)).max() < (1e-8 if precision == "double" else 1e-5)


def test_without_the_zero_diagonal_ease_is_ridge_regression_of_all_items_on_all():
    matrix = random_matrix(80, 40)
    dense = matrix.toarray().astype(np.float64)
    plain = np.linalg.solve(dense.T @ dense + 20 * np.eye(40), dense.T @ dense)
    assert np.abs(weights_of(matrix, 20.0, zero_diagonal=False) - plain).max() < 1e-8


def test_clipped_weights_find_no_less_and_are_never_negative():
    history, every = (0, 1, 2), range(3, 20)
    clipped, whole = EASE(SHOP, l2=5, clip=True, store=None), EASE(SHOP, l2=5, store=None)
    parts = np.array([whole.contributions(history, row) for row in every])
    kept = np.array([clipped.contributions(history, row) for row in every])
    assert (parts < 0).any() and np.array_equal(kept, np.maximum(parts, 0))


def test_a_score_of_ease_is_the_sum_of_what_the_items_of_the_history_add():
    ease = EASE(SHOP, l2=5, store=None)
    rows, scores = (array[0] for array in ease.search([HISTORIES[0]], 5))
    for row, score in zip(rows, scores, strict=True):
        assert score == pytest.approx(ease.contributions(HISTORIES[0], int(row)).sum(), rel=1e-5)
    cold = EASE(behaviour_catalog(60, [[0, 1], [1, 2]]), l2=5, store=None)
    assert (cold.contributions((1, 9, 0), 2) > 0).tolist() == [True, False, False]
    assert cold.contributions((1, 0), 9).tolist() == [0, 0]


def test_an_item_that_was_taken_again_adds_to_a_score_of_ease_once():
    ease, history = EASE(SHOP, l2=5, store=None), (7, 3, 7, 7, 3)
    rows, scores = (array[0] for array in ease.search([history], 3))
    for row, score in zip(rows.tolist(), scores, strict=True):
        added = ease.contributions(history, row)
        assert score == pytest.approx(added.sum(), rel=1e-5) and added[2:].tolist() == [0, 0, 0]
    with pytest.raises(ValueError, match="a history has row -1"):
        ease.contributions((3, -1), 2)


def test_ease_refuses_a_catalog_that_does_not_fit_with_the_number_and_what_to_do():
    with pytest.raises(ValueError, match=r"60 items with training events need 0\.0 GB to fit, more than memory_gb"):
        EASE(SHOP, memory_gb=1e-6)
    with pytest.raises(ValueError, match="set precision to single, leave out items with few events, or use item_knn"):
        EASE(SHOP, memory_gb=1e-6)
    assert gigabytes(20_000, "double") == 4.8 and gigabytes(50_000, "single") > 8


def test_a_penalty_that_leaves_nothing_to_invert_is_named():
    twins = csr_matrix(np.ones((3, 2), np.float32))
    with pytest.raises(ValueError, match=r"l2: 1e-12 is too small to fit these events in single precision"):
        weights_of(twins, 1e-12, precision="single")


@pytest.mark.filterwarnings("ignore:Method expects CSR input")
@pytest.mark.parametrize("weighting", ["cosine", "tfidf", "bm25"])
def test_item_knn_scores_as_implicit_does(weighting):
    from implicit.nearest_neighbours import BM25Recommender, CosineRecommender, TFIDFRecommender

    kinds = {"cosine": CosineRecommender, "tfidf": TFIDFRecommender, "bm25": BM25Recommender}
    library = kinds[weighting](K=9)
    library.fit(matrix_of(SHOP), show_progress=False)
    assert_same_scores(ItemKNN(SHOP, neighbours=8, weighting=weighting, store=None), library)


def test_als_scores_as_implicit_does():
    from implicit.cpu.als import AlternatingLeastSquares

    library = AlternatingLeastSquares(factors=12, regularization=2, alpha=5, iterations=6, random_state=1)
    library.fit(matrix_of(SHOP), show_progress=False)
    assert_same_scores(ALS(SHOP, factors=12, l2=2, alpha=5, iterations=6, seed=1, patience=None, store=None), library)


def assert_same_scores(ours, library):
    hits = ours.search(HISTORIES, 10)
    asked = histories_matrix(HISTORIES, 60)
    rows, scores = library.recommend(np.arange(len(HISTORIES)), asked, N=10, recalculate_user=True)
    there = hits.rows_QK >= 0
    assert there.any(axis=1).all() and np.allclose(hits.scores_QK[there], scores[there], atol=1e-4)
    assert (rows == hits.rows_QK)[there].mean() > 0.95  # items that tie are in another order there


@pytest.mark.parametrize("name", ["item_knn", "als", "ease"])
def test_a_model_is_fitted_once_and_opened_by_whoever_asks_next(name, tmp_path):
    part = {"type": name, "store": str(tmp_path)}
    first = PARTS.build("retriever", part, SHOP).search(HISTORIES, 10)
    (entry,) = [folder for folder in tmp_path.iterdir() if folder.is_dir()]
    made = entry.stat().st_mtime_ns
    again = PARTS.build("retriever", part, SHOP)
    assert Store(tmp_path).folder == tmp_path and entry.stat().st_mtime_ns == made and entry.name.startswith(name)
    assert len(pickle.dumps(again)) < 3_000  # it is the path of the entry
    in_memory = PARTS.build("retriever", {"type": name, "store": None}, SHOP)
    for other in (again.search(HISTORIES, 10), in_memory.search(HISTORIES, 10)):
        assert np.array_equal(first.rows_QK, other.rows_QK)


def test_other_events_are_another_model(tmp_path):
    for users in (USERS, USERS[1:]):
        EASE(behaviour_catalog(60, users), store=str(tmp_path))
    assert sum(folder.is_dir() for folder in tmp_path.iterdir()) == 2


@pytest.mark.parametrize(("name", "missing"), [("als", "implicit"), ("item_knn", "implicit"), ("popularity", "scipy")])
def test_a_missing_library_is_named_before_anything_is_read(name, missing, monkeypatch):
    monkeypatch.setattr("retrievers.behaviour.base.find_spec", lambda name: None if name == missing else object())
    (problem,) = PARTS.check("retriever", {"type": name}, "retriever")
    assert f"needs the library {missing}. Install it with: pip install 'recr1[behaviour]'" in str(problem)
