from __future__ import annotations

import pickle
import subprocess
import sys

import ir_measures
import numpy as np
import pytest
import pytrec_eval
from hypothesis import given, settings
from hypothesis import strategies as st

from rewards.base import Graded, Qrels
from rewards.measures import MEASURES, measure_all, parse_measure
from rewards.measures.ranking import NDCG, Recall
from tests.processes import ROOT

NAMES = ["nDCG@{k}", "nDCG(gain=exp)@{k}"]
NAMES += [f"{symbol}{rel}@{{k}}" for symbol in ("R", "RR", "AP", "P", "Success") for rel in ("", "(rel=2)")]


def value(name: str, ranking: list[int], grades: dict[int, int]) -> float:
    measure = parse_measure(name)
    row_K = np.full(max(measure.cutoff, len(ranking)), -1, np.int32)
    row_K[: len(ranking)] = ranking
    numbers_B = measure(row_K[None], [Qrels(grades)])
    assert numbers_B.shape == (1,) and numbers_B.dtype == np.float32
    return float(numbers_B[0])


# Grades of items 1 to 5; items from 10 on are not judged. 1/log2(3) = 0.63093, 1/log2(4) = 0.5, 1/log2(5) = 0.43068.
GRADED = {1: 3, 2: 2, 3: 1, 4: 0, 5: -2}


@pytest.mark.parametrize(
    ("name", "ranking", "grades", "expected"),
    [
        # the ideal order, cut and not cut
        ("nDCG@5", [1, 2, 3, 4, 5], GRADED, 1.0),
        ("nDCG@2", [1, 2, 3], GRADED, 1.0),
        # reversed: 1 + 2 * 0.63093 + 3 * 0.5 of 3 + 2 * 0.63093 + 0.5
        ("nDCG@3", [3, 2, 1], GRADED, 3.761860 / 4.761860),
        ("nDCG(gain=exp)@3", [3, 2, 1], GRADED, (1 + 3 * 0.6309298 + 7 * 0.5) / (7 + 3 * 0.6309298 + 0.5)),
        # a negative grade is neither a gain nor a loss, as in trec_eval
        ("nDCG@3", [5, 1, 10], GRADED, 3 * 0.6309298 / 4.761860),
        # the ideal is made from all judgements, also from those not found, and is cut at k
        ("nDCG@1", [2], GRADED, 2 / 3),
        ("nDCG@5", [2], GRADED, 2 / 4.761860),
        # one relevant item: what sklearn and torchmetrics would call 1
        ("nDCG@3", [10, 11, 1], {1: 1, 2: 1, 3: 1}, 0.5 / (1 + 0.6309298 + 0.5)),
        ("R@3", [10, 2, 1], GRADED, 2 / 3),
        ("R@2", [10, 2, 1], GRADED, 1 / 3),
        ("R(rel=2)@2", [10, 2, 1], GRADED, 1 / 2),
        ("R(rel=3)@2", [10, 2, 1], GRADED, 0.0),
        ("R(rel=4)@2", [10, 2, 1], GRADED, 0.0),
        ("RR@3", [10, 5, 3], GRADED, 1 / 3),
        ("RR@2", [10, 5, 3], GRADED, 0.0),
        ("RR(rel=2)@5", [3, 4, 2], GRADED, 1 / 3),
        # precision 1/2 and 2/3 at the two found, over three relevant
        ("AP@3", [10, 2, 1], GRADED, (1 / 2 + 2 / 3) / 3),
        ("AP@2", [10, 2, 1], GRADED, (1 / 2) / 3),
        ("AP(rel=2)@3", [3, 2, 1], GRADED, (1 / 2 + 2 / 3) / 2),
        # as trec_eval's map_cut: divided by all relevant items, not by min(k, relevant)
        ("AP@1", [1], GRADED, 1 / 3),
        ("P@2", [1, 10], GRADED, 1 / 2),
        ("P(rel=3)@2", [1, 2], GRADED, 1 / 2),
        # three items were found, and the places without one count
        ("P@10", [1, 2, 3], GRADED, 3 / 10),
        ("Success@1", [4, 1], GRADED, 0.0),
        ("Success@2", [4, 1], GRADED, 1.0),
        ("Success(rel=3)@2", [3, 2], GRADED, 0.0),
    ],
)
def test_values_worked_out_by_hand(name, ranking, grades, expected):
    assert value(name, ranking, grades) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("name", [n.format(k=3) for n in NAMES])
@pytest.mark.parametrize(
    ("ranking", "grades"),
    [([], GRADED), ([10, 11, 12], GRADED), ([1, 4], {1: 0, 4: -1}), ([1, 4], {}), ([], {})],
    ids=["nothing found", "nothing judged found", "nothing relevant", "nothing judged", "nothing at all"],
)
def test_zero_where_there_is_nothing_to_find_or_nothing_found(name, ranking, grades):
    assert value(name, ranking, grades) == 0.0


@pytest.mark.parametrize("name", [n.format(k=7) for n in NAMES])
def test_no_rankings_give_no_numbers(name):
    numbers_B = parse_measure(name)(np.empty((0, 7), np.int32), [])
    assert numbers_B.shape == (0,) and numbers_B.dtype == np.float32


# Names -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [n.format(k=k) for n in NAMES for k in (1, 10, 1000)])
def test_the_printed_name_is_the_identity(name):
    measure = parse_measure(name)
    assert str(measure) == measure.name == name
    assert parse_measure(str(measure)) == measure and hash(parse_measure(name)) == hash(measure)
    assert pickle.loads(pickle.dumps(measure)) == measure


def test_a_setting_at_its_default_is_not_printed():
    assert parse_measure("R(rel=1)@5") == parse_measure("R@5") == Recall(5)
    assert parse_measure("nDCG(gain=linear)@5").name == "nDCG@5"
    assert parse_measure("R( rel = 2 )@5").name == Recall(5, rel=2).name == "R(rel=2)@5"


def test_measures_with_other_names_are_not_equal():
    measures = [parse_measure(n.format(k=k)) for n in NAMES for k in (5, 10)]
    assert len(set(measures)) == len({m.name for m in measures}) == len(measures)


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("ndcg@10", "nDCG@10"),
        ("NDCG@10", "nDCG@10"),
        ("nDCG_exp@20", "nDCG(gain=exp)@20"),
        ("ndcg(gain=exp)@20", "nDCG(gain=exp)@20"),
        ("ndcg_cut_10", "nDCG@10"),
        ("MRR@10", "RR@10"),
        ("recip_rank", "RR@10"),
        ("Recall@10", "R@10"),
        ("recall@5", "R@5"),
        ("recall_100", "R@100"),
        ("Recall(rel=2)@50", "R(rel=2)@50"),
        ("ndcg_exp(gain=linear)@5", "nDCG(gain=exp)@5"),
        ("MAP@10", "AP@10"),
        ("map_cut_100", "AP@100"),
        ("Precision@3", "P@3"),
        ("p@5", "P@5"),
        ("HR@10", "Success@10"),
        ("Sucess@1", "Success@1"),
        ("nDCG", "nDCG@10"),
        ("nDCG@", "nDCG@10"),
        ("nDCG@0", "nDCG@10"),
        ("nDCG@010", "nDCG@10"),
        ("nDCG@-5", "nDCG@5"),
        (" nDCG@10", "nDCG@10"),
        ("nDCG@10 ", "nDCG@10"),
    ],
)
def test_a_wrong_name_suggests_the_right_one_and_lists_all(wrong, right):
    with pytest.raises(ValueError, match=r"^no measure") as error:
        parse_measure(wrong)
    assert f"did you mean '{right}'?" in str(error.value)
    assert all(f"{symbol}@k" in str(error.value) for symbol in MEASURES)
    assert parse_measure(right).name == right


@pytest.mark.parametrize("wrong", ["nDCG", "nDCG@0", "map"])
def test_a_missing_cutoff_is_named_as_the_reason(wrong):
    with pytest.raises(ValueError, match="A cutoff of at least 1 is part of the name"):
        parse_measure(wrong)


@pytest.mark.parametrize("wrong", ["", "@10", "10", "F1@10", "bogus", "((", "\n", "nDCG@10\n", "nDCG@1٣"])
def test_a_name_near_to_nothing_lists_all(wrong):
    with pytest.raises(ValueError, match=r"^no measure.* The measures are nDCG@k, R@k"):
        parse_measure(wrong)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("R(min=2)@3", "setting 'min' is unknown; it has: judged_only, rel"),
        ("nDCG(rel=2)@3", "setting 'rel' is unknown; it has: judged_only, gain"),
        ("R(rel=2,rel=3)@3", "setting 'rel' is given twice"),
        ("R()@3", "setting '' is unknown"),
        ("R(rel=0)@3", "rel must be an integer >= 1, got 0"),
        ("R(rel=-1)@3", "rel must be an integer >= 1, got '-1'"),
        ("R(rel=True)@3", "rel must be an integer >= 1, got True"),
        ("P(judged_only=1)@3", "judged_only must be true or false .written True or False., got 1"),
        ("R(rel=two)@3", "rel must be an integer >= 1, got 'two'"),
        ("nDCG(gain=Exp)@3", "gain must be one of .linear., .exp., .task., got 'Exp'"),
    ],
)
def test_a_wrong_setting_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        parse_measure(wrong)


@given(st.text(max_size=30) | st.from_regex(r"[A-Za-z_]{0,8}(\([a-z=0-9,]{0,8}\))?@?[0-9]{0,3}", fullmatch=True))
def test_any_text_is_a_measure_or_a_value_error(text):
    try:
        assert parse_measure(text) == parse_measure(parse_measure(text).name)
    except ValueError:
        return


@pytest.mark.parametrize("cutoff", [0, -1, "10", 2.5])
def test_a_measure_made_without_parsing_checks_its_cutoff(cutoff):
    with pytest.raises(ValueError, match="cutoff must be an integer >= 1"):
        NDCG(cutoff)


# Depth, sharing, grades ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [n.format(k=11) for n in NAMES])
def test_a_ranking_that_was_not_searched_down_to_the_cutoff_is_refused(name):
    rows_BK, qrels_B = np.full((2, 10), -1, np.int32), [Qrels({1: 1})] * 2
    with pytest.raises(ValueError, match=r"@11 needs k >= 11, got k=10"):
        parse_measure(name)(rows_BK, qrels_B)
    with pytest.raises(ValueError, match=r"@11 needs k >= 11, got k=10"):
        parse_measure(name).of(Graded.join(rows_BK, qrels_B))


def test_measure_all_equals_each_measure_alone():
    rows_BK, qrels_B = random_rankings(seed=1, size=40)
    measures = [parse_measure(n.format(k=k)) for n in NAMES for k in (1, 7, 30)]
    together = measure_all(measures, rows_BK, qrels_B)
    assert list(together) == [m.name for m in measures]
    for measure in measures:
        np.testing.assert_array_equal(together[measure.name], measure(rows_BK, qrels_B))


def test_measure_all_of_no_measures_is_empty():
    assert measure_all([], *random_rankings(seed=1, size=2)) == {}


def test_a_ranking_does_not_see_the_others_of_its_batch():
    rows_BK, qrels_B = random_rankings(seed=2, size=50)
    for measure in (parse_measure(n.format(k=30)) for n in NAMES):
        alone = [measure(rows_BK[i : i + 1], qrels_B[i : i + 1])[0] for i in range(50)]
        np.testing.assert_array_equal(measure(rows_BK, qrels_B), alone)


def test_a_grade_beyond_the_range_of_exponential_gain_is_refused():
    with pytest.raises(ValueError, match=r"nDCG\(gain=exp\)@3: a grade of 2000 is too large; use nDCG@3"):
        value("nDCG(gain=exp)@3", [1, 2], {1: 2000})
    assert value("nDCG(gain=exp)@3", [1, 2], {1: 1000}) == 1.0


# Agreement with other implementations --------------------------------------------------------------------------------


def random_rankings(seed: int, size: int, depth: int = 30) -> tuple[np.ndarray, list[Qrels]]:
    """Graded keys (negative, zero and unjudged items, some without a positive) and rankings, some padded with -1."""
    rng = np.random.default_rng(seed)
    rows_BK = np.stack([rng.permutation(60)[:depth] for _ in range(size)]).astype(np.int32)
    for row_K in rows_BK[::3]:
        row_K[rng.integers(0, depth) :] = -1
    qrels_B = []
    for b in range(size):
        low, high = [(0, 1), (0, 2), (-2, 4), (0, 5)][b % 4]
        judged = rng.choice(60, rng.integers(1, 40), replace=False)
        qrels_B.append(Qrels({int(row): int(rng.integers(low, high)) for row in judged}))
    return rows_BK, qrels_B


def as_trec(rows_BK: np.ndarray, qrels_B: list[Qrels]) -> tuple[dict, dict]:
    """Qrels and run as the peers read them; strictly decreasing scores leave them no ties to break their own way."""
    qrels = {f"n{b}": {f"i{row}": grade for row, grade in q.items()} for b, q in enumerate(qrels_B)}
    run = {
        f"n{b}": {f"i{row}": float(len(row_K) - place) for place, row in enumerate(row_K) if row >= 0}
        for b, row_K in enumerate(rows_BK)
    }
    return qrels, run


@pytest.mark.parametrize("k", [1, 3, 10, 30])
def test_equals_trec_eval(k):
    rows_BK, qrels_B = random_rankings(seed=k, size=200)
    qrels, run = as_trec(rows_BK, qrels_B)
    peers = {"nDCG": "ndcg_cut", "R": "recall", "AP": "map_cut", "P": "P", "Success": "success"}
    for rel in (1, 2, 3):
        asked = {f"{peer}.{k}" for peer in peers.values()}
        theirs = pytrec_eval.RelevanceEvaluator(qrels, asked, relevance_level=rel).evaluate(run)
        for symbol, peer in peers.items():
            if symbol == "nDCG" and rel > 1:
                continue
            ours_B = parse_measure(f"{symbol}{'' if symbol == 'nDCG' else f'(rel={rel})'}@{k}")(rows_BK, qrels_B)
            expected = [theirs.get(f"n{b}", {}).get(f"{peer}_{k}", 0.0) for b in range(len(ours_B))]
            np.testing.assert_allclose(ours_B, expected, rtol=0, atol=1e-6, err_msg=f"{symbol} rel={rel}")


def test_reciprocal_rank_over_the_whole_depth_equals_trec_eval():
    rows_BK, qrels_B = random_rankings(seed=5, size=200)
    qrels, run = as_trec(rows_BK, qrels_B)
    theirs = pytrec_eval.RelevanceEvaluator(qrels, {"recip_rank"}).evaluate(run)
    expected = [theirs.get(f"n{b}", {}).get("recip_rank", 0.0) for b in range(200)]
    np.testing.assert_allclose(parse_measure("RR@30")(rows_BK, qrels_B), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", [n.format(k=k) for n in NAMES for k in (1, 5, 30)])
def test_equals_the_measure_of_that_name_in_ir_measures(name):
    rows_BK, qrels_B = random_rankings(seed=9, size=120)
    qrels, run = as_trec(rows_BK, qrels_B)
    gains = {grade: 2**grade - 1 if grade > 0 else 0 for grade in range(-2, 5)}
    cutoff = parse_measure(name).cutoff
    peer = ir_measures.nDCG(gains=gains) @ cutoff if "exp" in name else ir_measures.parse_measure(name)
    theirs = {metric.query_id: metric.value for metric in ir_measures.iter_calc([peer], qrels, run)}
    expected = [theirs.get(f"n{b}", 0.0) for b in range(len(rows_BK))]
    np.testing.assert_allclose(parse_measure(name)(rows_BK, qrels_B), expected, rtol=0, atol=1e-6)


# Properties ----------------------------------------------------------------------------------------------------------

GRADES = st.dictionaries(st.integers(0, 25), st.integers(-1, 4), max_size=20)
RANKINGS = st.lists(st.integers(0, 40), unique=True, max_size=25)
MEASURE_NAMES = st.builds(lambda name, k: name.format(k=k), st.sampled_from(NAMES), st.integers(1, 25))
quick = settings(max_examples=150, deadline=None)


@quick
@given(MEASURE_NAMES, RANKINGS, GRADES)
def test_lies_between_zero_and_one(name, ranking, grades):
    assert 0.0 <= value(name, ranking, grades) <= 1.0


@quick
@given(MEASURE_NAMES, GRADES)
def test_the_ideal_order_measures_as_much_as_can_be(name, grades):
    measure = parse_measure(name)
    relevant = sum(grade >= getattr(measure, "rel", 1) for grade in grades.values())
    within = min(relevant, measure.cutoff)
    most = {"R": within / max(relevant, 1), "AP": within / max(relevant, 1), "P": within / measure.cutoff}
    best = sorted(grades, key=lambda row: -grades[row])
    assert value(name, best, grades) == pytest.approx(most.get(measure.symbol, float(relevant > 0)), abs=1e-6)


@quick
@given(MEASURE_NAMES, GRADES, st.randoms(use_true_random=False))
def test_no_order_measures_more_than_the_ideal_one(name, grades, random):
    best = sorted(grades, key=lambda row: -grades[row])
    assert value(name, random.sample(best, len(best)), grades) <= value(name, best, grades)


@quick
@given(MEASURE_NAMES, RANKINGS.filter(lambda ranking: len(ranking) > 1), GRADES, st.data())
def test_swapping_a_better_item_up_never_lowers(name, ranking, grades, data):
    places = st.integers(0, len(ranking) - 1)
    high, low = sorted([data.draw(places), data.draw(places)])
    worse, better = sorted([ranking[high], ranking[low]], key=lambda row: grades.get(row, 0))
    ranking[high], ranking[low] = worse, better
    before = value(name, ranking, grades)
    ranking[high], ranking[low] = better, worse
    assert value(name, ranking, grades) >= before


@quick
@given(MEASURE_NAMES, RANKINGS, RANKINGS, GRADES)
def test_items_below_the_cutoff_do_not_matter(name, ranking, others, grades):
    cutoff = parse_measure(name).cutoff
    top = ranking[:cutoff]
    rest = [row for row in others if row not in top] if len(top) == cutoff else []
    assert value(name, top + rest, grades) == value(name, top, grades)


@quick
@given(MEASURE_NAMES, RANKINGS, GRADES, st.integers(0, 10))
def test_unjudged_items_at_the_end_change_nothing(name, ranking, grades, count):
    assert value(name, ranking + list(range(100, 100 + count)), grades) == value(name, ranking, grades)


@quick
@given(MEASURE_NAMES, RANKINGS, GRADES)
def test_an_item_judged_zero_is_as_one_not_judged(name, ranking, grades):
    judged_all = {**dict.fromkeys(range(41), 0), **grades}
    assert value(name, ranking, judged_all) == value(name, ranking, grades)


# The page of the documentation ---------------------------------------------------------------------------------------


def test_the_documentation_prints_the_registry():
    docs = ROOT / "docs"
    page = subprocess.run([sys.executable, docs / "gen_measures.py"], capture_output=True, text=True, check=True).stdout
    assert (docs / "measures.md").read_text() == page, "run: python docs/gen_measures.py > docs/measures.md"
    assert all(f"`{symbol}@k`" in page for symbol in MEASURES)
