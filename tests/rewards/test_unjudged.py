"""Measures for incomplete answer keys: computed by hand, and equal to those of other tools."""

from __future__ import annotations

import ir_measures
import numpy as np
import pytest
from cwl.cwl_eval import RankingMaker
from cwl.ruler.measures.cwl_rbp import RBPCWLMetric
from hypothesis import given
from hypothesis import strategies as st
from ir_measures.providers.cwl_eval import IrmQrelHandler

from rewards.base import Qrels
from rewards.measures import measure_all, parse_measure
from tests.rewards.test_measures import GRADES, RANKINGS, as_trec, quick, random_rankings, value

CONDENSABLE = ["nDCG", "R", "RR", "AP", "P", "Success"]
# Grades of items 1 to 5; items from 10 on are not judged.
GRADED = {1: 3, 2: 2, 3: 1, 4: 0, 5: -2}


@pytest.mark.parametrize(
    ("name", "ranking", "grades", "expected"),
    [
        ("Judged@4", [1, 10, 4, 5], GRADED, 3 / 4),
        ("Judged@4", [1, 10], GRADED, 1 / 2),  # of two items; places without an item do not count
        ("Judged@2", [10, 11, 1], GRADED, 0.0),
        ("Judged@2", [1, 10], {}, 0.0),
        # two relevant (rel=2), two judged irrelevant that count (3 and 4; 5 is negative): one stands above 2
        ("Bpref(rel=2)@4", [1, 4, 10, 2], GRADED, (1 + (1 - 1 / 2)) / 2),
        ("Bpref(rel=2)@4", [5, 10, 1, 2], GRADED, 1.0),
        ("Bpref@4", [4, 1], {1: 1, 4: 0}, 0.0),
        ("Bpref@4", [1, 10], {1: 1}, 1.0),
        ("Bpref@1", [10, 1], {1: 1}, 0.0),
        ("RBP@3", [1, 10, 2], GRADED, 0.2 * (1 + 0.64)),
        ("RBP(p=0.5)@2", [1, 2, 3], GRADED, 0.75),
        ("RBP(rel=3,p=0.5)@2", [1, 2, 3], GRADED, 0.5),
        # the second place is not judged, and the ranking goes on below the third
        ("RBPResidual(p=0.5)@3", [1, 10, 4], GRADED, 0.5 * 0.5 + 0.125),
        # ... or ends before it
        ("RBPResidual(p=0.5)@3", [1, 10], GRADED, 0.25),
        ("RBPResidual(p=0.5)@3", [1, 5], GRADED, 0.0),
        ("RBPResidual@3", [], GRADED, 0.0),
        # 10 and 11 go, and so does the negative 5: 1, 3 and 2 stand in the first three places
        ("P(judged_only=True)@3", [10, 1, 5, 3, 11, 2, 12], GRADED, 1.0),
        ("RR(judged_only=True)@2", [10, 4, 11, 3], GRADED, 1 / 2),
        ("RR(judged_only=True)@1", [10, 4, 11, 3], GRADED, 0.0),
        ("nDCG(judged_only=True)@1", [10, 11, 12, 1], GRADED, 1.0),
        ("R(judged_only=True,rel=2)@1", [10, 11, 2, 1], GRADED, 1 / 2),
        ("Success(judged_only=True)@1", [10, 11], GRADED, 0.0),
    ],
)
def test_values_worked_out_by_hand(name, ranking, grades, expected):
    assert value(name, ranking, grades) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("name", ["Judged@3", "Bpref@3", "RBP@3", "RBPResidual@3"])
@pytest.mark.parametrize(("ranking", "grades"), [([], GRADED), ([], {})])
def test_zero_where_nothing_was_found(name, ranking, grades):
    assert value(name, ranking, grades) == 0.0


def test_what_nobody_judged_is_told_from_what_was_judged_irrelevant():
    unjudged, irrelevant = [10, 1], [4, 1]
    for name in ("Judged@2", "Bpref@2", "RBPResidual@2", "nDCG(judged_only=True)@2"):
        assert value(name, unjudged, GRADED) != value(name, irrelevant, GRADED), name
    for name in ("nDCG@2", "RBP@2"):
        assert value(name, unjudged, GRADED) == value(name, irrelevant, GRADED), name


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("RBP(p=0)@3", "p must be a number > 0 and < 1, got 0"),
        ("RBP(p=1.0)@3", "p must be a number > 0 and < 1, got 1.0"),
        ("RBPResidual(p=often)@3", "p must be a number > 0 and < 1, got 'often'"),
        ("RBP(p=True)@3", "p must be a number > 0 and < 1, got True"),
        ("Judged(rel=1)@3", "setting 'rel' is unknown"),
    ],
)
def test_a_wrong_setting_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        parse_measure(wrong)


@pytest.mark.parametrize("name", ["RBP(p=0.95)@10", "RBP(rel=2,p=1e-05)@10", "P(judged_only=True,rel=2)@3"])
def test_the_printed_name_is_the_identity(name):
    assert parse_measure(name).name == name and parse_measure(parse_measure(name).name) == parse_measure(name)


def test_a_condensed_measure_reads_all_that_was_searched_and_its_neighbours_do_not_change():
    rows_BK, qrels_B = random_rankings(seed=3, size=30)
    measures = [parse_measure(name) for name in ("P@3", "P(judged_only=True)@3", "Judged@5")]
    together = measure_all(measures, rows_BK, qrels_B)
    assert measures[1].depth is None and measures[0].depth == 3
    for measure in measures:
        np.testing.assert_array_equal(together[measure.name], measure(rows_BK, qrels_B))


PEERS = {
    "Judged@1": "Judged@1",
    "Judged@10": "Judged@10",
    "Bpref@30": "Bpref",
    "Bpref(rel=2)@30": "Bpref(rel=2)",
    "RBP@30": "RBP(rel=1,p=0.8)",
    "RBP(rel=2,p=0.95)@30": "RBP(rel=2,p=0.95)",
    "RR(judged_only=True,rel=2)@30": "RR(judged_only=True,rel=2)",
    "nDCG(judged_only=True)@5": "nDCG(judged_only=True)@5",
    **{name: name for s in ("P", "AP", "Success") for name in (f"{s}(judged_only=True,rel=2)@5",)},
    "R(judged_only=True)@5": "R(judged_only=True)@5",
}


@pytest.mark.parametrize("name", PEERS)
@pytest.mark.parametrize("seed", [11, 12])
def test_equals_ir_measures(name, seed):
    rows_BK, qrels_B = random_rankings(seed=seed, size=200)
    if (
        "judged_only" in name or "Bpref" in name
    ):  # trec_eval leaves its arrays for negative grades, and with none of rel
        qrels_B = [Qrels({60: 3} | {row: max(grade, 0) for row, grade in key.items()}) for key in qrels_B]
    qrels, run = as_trec(rows_BK, qrels_B)
    found = {need: scores for need, scores in run.items() if scores}  # its Judged divides by zero otherwise
    peer = ir_measures.parse_measure(PEERS[name])
    theirs = {metric.query_id: metric.value for metric in ir_measures.iter_calc([peer], qrels, found)}
    expected = [theirs.get(f"n{b}", 0.0) for b in range(len(rows_BK))]
    np.testing.assert_allclose(parse_measure(name)(rows_BK, qrels_B), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("p", [0.5, 0.8])
def test_the_residual_equals_that_of_cwl_eval_where_rankings_are_full(p):
    rows_BK, qrels_B = random_rankings(seed=13, size=100)
    full = np.flatnonzero((rows_BK >= 0).all(axis=1))
    expected = []
    for b in full:
        handler = IrmQrelHandler(1, None, None)
        for row, grade in qrels_B[b].items():
            handler.put_value("need", f"i{row}", max(grade, 0))
        maker = RankingMaker("need", handler)
        for row in rows_BK[b]:
            maker.add(f"i{row}", "_")
        metric = RBPCWLMetric(p)
        metric.residuals = True
        metric.measure(maker.get_ranking())
        expected.append(metric.residual_expected_utility)
    ours_B = parse_measure(f"RBPResidual(p={p})@30")(rows_BK[full], [qrels_B[b] for b in full])
    assert len(full) > 50
    np.testing.assert_allclose(ours_B, expected, rtol=0, atol=1e-6)


@quick
@given(st.sampled_from(CONDENSABLE), st.integers(1, 25), RANKINGS, GRADES)
def test_a_condensed_measure_is_the_measure_of_the_condensed_ranking(symbol, k, ranking, grades):
    kept = [row for row in ranking if grades.get(row, -1) >= 0]
    assert value(f"{symbol}(judged_only=True)@{k}", ranking, grades) == value(f"{symbol}@{k}", kept, grades)


@quick
@given(st.sampled_from(["Bpref", *(f"{symbol}(judged_only=True)" for symbol in CONDENSABLE)]), RANKINGS, GRADES)
def test_items_that_nobody_judged_are_of_no_account(name, ranking, grades):
    among = [row for place, judged in enumerate(ranking) for row in (100 + place, judged)]
    assert value(f"{name}@60", among, grades) == value(f"{name}@60", ranking, grades)


@quick
@given(RANKINGS, GRADES, st.integers(1, 25), st.sets(st.integers(0, 40)))
def test_whatever_is_judged_later_rbp_stays_within_its_residual(ranking, grades, k, relevant):
    later = {**dict.fromkeys(relevant, 1), **grades}
    low = value(f"RBP@{k}", ranking, grades)
    assert low - 1e-6 <= value(f"RBP@{k}", ranking, later) <= low + value(f"RBPResidual@{k}", ranking, grades) + 1e-6


@quick
@given(st.sampled_from(["Judged", "Bpref", "RBP", "RBPResidual"]), st.integers(1, 25), RANKINGS, GRADES)
def test_lies_between_zero_and_one(symbol, k, ranking, grades):
    assert 0.0 <= value(f"{symbol}@{k}", ranking, grades) <= 1.0


def test_gains_of_the_task_are_looked_up_by_grade():
    gains = {3: 1.0, 2: 0.1, 1: 0.01}
    rows_BK = np.array([[2, 1, 4], [3, -1, -1]], np.int32)
    measure = parse_measure("nDCG(gain=task)@3")
    best = 1 + 0.1 * 0.6309298 + 0.01 * 0.5
    expected = [(0.1 + 0.6309298) / best, 0.01 / best]
    np.testing.assert_allclose(measure(rows_BK, [Qrels(GRADED, gains)] * 2), expected, atol=1e-6)


def test_gains_of_the_task_need_not_rise_with_the_grade():
    assert parse_measure("nDCG(gain=task)@2")(
        np.array([[2, 1]], np.int32), [Qrels({1: 2, 2: 1}, {1: 1.0, 2: 0.5})]
    ).tolist() == [1.0]


def test_gains_of_the_task_equal_ir_measures():
    gains, whole = {4: 2.5, 3: 1.0, 2: 0.1, 1: 0.01}, {4: 250, 3: 100, 2: 10, 1: 1, 0: 0, -1: 0, -2: 0}
    rows_BK, qrels_B = random_rankings(seed=14, size=200)
    qrels, run = as_trec(rows_BK, qrels_B)
    peer = ir_measures.nDCG(gains=whole) @ 7
    theirs = {metric.query_id: metric.value for metric in ir_measures.iter_calc([peer], qrels, run)}
    ours_B = parse_measure("nDCG(gain=task)@7")(rows_BK, [Qrels(key, gains) for key in qrels_B])
    np.testing.assert_allclose(ours_B, [theirs.get(f"n{b}", 0.0) for b in range(200)], rtol=0, atol=1e-6)


def test_an_answer_key_without_gains_is_refused():
    with pytest.raises(ValueError, match=r"nDCG\(gain=task\)@3: this task does not say what a grade is worth.*nDCG@3"):
        value("nDCG(gain=task)@3", [1], GRADED)
