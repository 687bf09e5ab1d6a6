from __future__ import annotations

import pickle

import numpy as np
import pytest

from rewards.base import EMPTY, UNJUDGED, Batch, Graded, Qrels
from rewards.testing import batch_of


def test_qrels_are_a_mapping_sorted_by_row():
    qrels = Qrels({9: 0, 2: 3, 5: -1, 7: 1})
    assert dict(qrels) == {2: 3, 5: -1, 7: 1, 9: 0} and list(qrels) == [2, 5, 7, 9]
    assert qrels.rows_J.tolist() == [2, 5, 7, 9] and qrels.grades_J.dtype == np.int32
    assert qrels.grades_J.tolist() == [3, -1, 1, 0]
    assert qrels == {9: 0, 2: 3, 5: -1, 7: 1}


def test_the_ideal_holds_the_positive_grades_from_best_to_worst():
    qrels = Qrels({9: 0, 2: 1, 5: -1, 7: 3, 8: 1})
    assert qrels.ideal_J.tolist() == [3, 1, 1]
    assert qrels.positives == 3


def test_qrels_without_judgements_are_empty():
    qrels = Qrels({})
    assert len(qrels) == 0 and qrels.positives == 0 and qrels.rows_J.shape == qrels.ideal_J.shape == (0,)


def test_qrels_do_not_follow_the_dictionary_that_they_were_made_from():
    grades = {1: 1}
    qrels = Qrels(grades)
    grades[2] = 1
    assert dict(qrels) == {1: 1}


@pytest.mark.parametrize("array", ["rows_J", "grades_J", "ideal_J"])
def test_the_arrays_of_qrels_cannot_be_written(array):
    with pytest.raises(ValueError, match="read-only"):
        getattr(Qrels({1: 1}), array)[0] = 5


def test_qrels_pickle():
    qrels = pickle.loads(pickle.dumps(Qrels({3: 2, 1: 0})))
    assert qrels == Qrels({1: 0, 3: 2}) and qrels.ideal_J.tolist() == [2]


def test_numpy_integers_are_grades():
    assert Qrels({np.int64(3): np.int32(2)}).grades_J.tolist() == [2]


@pytest.mark.parametrize("grade", [0.5, 2.0, "1", None])
def test_a_grade_that_is_not_an_integer_is_refused(grade):
    with pytest.raises(TypeError, match="integer"):
        Qrels({1: grade})


def test_a_negative_row_is_refused():
    with pytest.raises(ValueError, match="a judgement has row -1: rows are positions in the catalog, from 0 on"):
        Qrels({3: 1, -1: 2})


def test_joining_looks_each_place_up_in_the_key_of_its_ranking():
    rows_BK = np.array([[4, 7, -1], [7, 4, 900]], np.int32)
    graded = Graded.join(rows_BK, [Qrels({4: 2, 5000: 1}), Qrels({7: -1, 900: 0})])
    assert graded.grades_BK.tolist() == [[2, UNJUDGED, EMPTY], [-1, UNJUDGED, 0]]


def test_places_without_an_item_are_empty_whatever_the_last_row_is():
    rows_BK = np.array([[-1, 3, 0]], np.int32)
    assert Graded.join(rows_BK, [Qrels({0: 1, 3: 2})]).grades_BK.tolist() == [[EMPTY, 2, 1]]


@pytest.mark.parametrize("shape", [(0, 0), (0, 5), (3, 0)])
def test_joining_nothing_gives_nothing(shape):
    assert Graded.join(np.empty(shape, np.int32), [Qrels({1: 1})] * shape[0]).grades_BK.shape == shape


def test_joining_needs_a_key_for_each_ranking():
    with pytest.raises(ValueError, match=r"rankings of shape \(2, 3\) need an answer key each, got 1 keys"):
        Graded.join(np.zeros((2, 3), np.int32), [Qrels({})])
    with pytest.raises(ValueError, match=r"rankings of shape \(3,\)"):
        Graded.join(np.zeros(3, np.int32), [Qrels({})] * 3)


def test_a_batch_is_joined_once(monkeypatch):
    batch = batch_of(["a"], [[4, 1]], [{1: 2}])
    joins = []
    join = Graded.join
    monkeypatch.setattr(Graded, "join", lambda *given: joins.append(given) or join(*given))
    assert batch.graded is batch.graded and len(joins) == 1
    assert batch.graded.grades_BK.tolist() == [[UNJUDGED, 2]]


def test_a_batch_that_was_read_pickles():
    batch = batch_of(["a"], [[4, 1]], [{1: 2}])
    _ = batch.graded
    copy = pickle.loads(pickle.dumps(batch))
    assert isinstance(copy, Batch) and copy.rollouts == batch.rollouts
    np.testing.assert_array_equal(copy.graded.grades_BK, batch.graded.grades_BK)


def test_a_condensed_ranking_has_lost_what_nobody_judged_and_is_empty_at_its_end():
    rows_BK = np.array([[9, 4, 8, 7, -1], [4, 7, -1, -1, -1]], np.int32)
    graded = Graded.join(rows_BK, [Qrels({4: 2, 7: 0})] * 2).condensed()
    assert graded.grades_BK.tolist() == [[2, 0, EMPTY, EMPTY, EMPTY]] * 2
    assert graded.rows_BK.tolist() == [[4, 7, -1, -1, -1]] * 2
    assert rows_BK[0].tolist() == [9, 4, 8, 7, -1], "the hits are not ours to change"


def test_a_positive_grade_without_a_gain_is_refused():
    assert Qrels({1: 2, 3: 0, 4: -1}, {2: 0.1}).gains == {2: 0.1}
    with pytest.raises(ValueError, match=r"grade 3 has no gain; the gains have grades \[1, 2\]"):
        Qrels({1: 3}, {1: 0.1, 2: 1.0})


def test_gains_travel_with_their_key():
    assert pickle.loads(pickle.dumps(Qrels({1: 2}, {2: 0.1}))).gains == {2: 0.1}
