"""Measures that read the catalog: kinds, popularity, and how items are shown over all needs."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pyndeval
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrievers.base import Catalog
from rewards.base import Qrels
from rewards.fields import labels, numbers, percentiles, popularity
from rewards.measures import CORPUS_MEASURES, measure_all, parse_measure

KINDS = ["a", "a", "b", ["b", "c"], None, "", "d", "d"]
SALES = [0, 0, 5, 9, None, 1, 100, 0]


def catalog(**fields):
    return Catalog([f"i{row}" for row in range(8)], ["x"] * 8, {"category": KINDS, "sales": SALES, **fields})


def value(name, ranking, grades, items=None):
    measure = parse_measure(name)
    row_K = np.full(max(measure.cutoff, len(ranking)), -1, np.int32)
    row_K[: len(ranking)] = ranking
    return float(measure(row_K[None], [Qrels(grades)], items or catalog())[0])


RELEVANT = {0: 1, 1: 1, 2: 1, 3: 2, 4: 3, 6: 0}
LOG3 = 0.6309298  # 1 / log2(3)


@pytest.mark.parametrize(
    ("name", "ranking", "grades", "expected"),
    [
        # a, then a again at half pay; the best is b c, then a, then b at half pay
        ("alpha_nDCG@2", [0, 1], RELEVANT, (1 + 0.5 * LOG3) / (2 + LOG3)),
        ("alpha_nDCG@3", [3, 0, 2], RELEVANT, 1.0),
        ("alpha_nDCG(alpha=1.0)@2", [0, 1], RELEVANT, 1 / (2 + LOG3)),
        ("alpha_nDCG(alpha=0)@2", [0, 1], RELEVANT, (1 + LOG3) / (2 + LOG3)),
        # 6 is not relevant, 4 has no kind
        ("alpha_nDCG@2", [6, 4], RELEVANT, 0.0),
        ("alpha_nDCG(rel=2)@2", [0, 3], RELEVANT, LOG3),
        ("alpha_nDCG@2", [0, 1], {4: 1}, 0.0),
        ("StRecall@2", [0, 1], RELEVANT, 1 / 3),
        ("StRecall@2", [6, 3], RELEVANT, 2 / 3),
        ("StRecall@2", [6, 3], {}, 0.0),
        # four kinds in the catalog
        ("Categories@3", [0, 1, 3], {}, 1.0),
        ("Categories@3", [0, 1, 2], {}, 2 / 3),
        ("Categories@8", [0, 2], {}, 2 / 4),
        ("Categories@3", [4, 5], {}, 0.0),
        ("Entropy@4", [0, 2, 6], {}, np.log(3) / np.log(4)),
        ("Entropy@2", [0, 1], {}, 0.0),
        ("Entropy@1", [0], {}, 0.0),
        # less popular than 2 (5 sold) are 0, 1, 4, 5, 7; than 6 are all others
        ("Popularity(field=sales)@2", [2, 6], {}, (5 / 8 + 7 / 8) / 2),
        ("Popularity(field=sales)@5", [6], {}, 7 / 8),
        ("Popularity(field=sales)@2", [4, 4], {}, 0.0),
        # 80% of 8 items are less popular than 6 alone
        ("Tail(field=sales)@2", [3, 6], {}, 1 / 2),
        ("Tail(field=sales,head=0.5)@3", [3, 2, 0], {}, 1 / 3),
        *((f"{s}@2", [], RELEVANT, 0.0) for s in ("alpha_nDCG", "StRecall", "Categories", "Entropy")),
        *((f"{s}(field=sales)@2", [], RELEVANT, 0.0) for s in ("Popularity", "Tail")),
    ],
)
def test_values_worked_out_by_hand(name, ranking, grades, expected):
    assert value(name, ranking, grades) == pytest.approx(expected, abs=1e-6)


def test_equals_ndeval():
    """In the same order of ids, ndeval takes the last of equally good items for its best ranking: ids run backwards."""
    rng, size = np.random.default_rng(0), 60
    kinds = [sorted({str(kind) for kind in rng.integers(0, 5, rng.integers(0, 3))}) for _ in range(size)]
    items = Catalog([f"{size - row:03d}" for row in range(size)], ["x"] * size, {"category": kinds})
    rows_BK = np.stack([rng.permutation(size)[:20] for _ in range(200)]).astype(np.int32)
    for row_K in rows_BK[::3]:
        row_K[rng.integers(0, 20) :] = -1
    keys = [Qrels({int(r): int(rng.integers(0, 3)) for r in rng.choice(size, 20, replace=False)}) for _ in range(200)]
    run = [
        pyndeval.ScoredDoc(f"n{b}", items.ids[row], float(-place))
        for b, row_K in enumerate(rows_BK)
        for place, row in enumerate(row_K)
        if row >= 0
    ]
    peers = {"alpha-nDCG@5": "alpha_nDCG", "alpha-nDCG@20": "alpha_nDCG", "strec@10": "StRecall"}
    for rel, alpha in ((1, 0.5), (2, 0.3)):
        qrels = [
            pyndeval.SubtopicQrel(f"n{b}", kind, items.ids[row], int(grade >= rel))
            for b, key in enumerate(keys)
            for row, grade in key.items()
            for kind in kinds[row]
        ]
        theirs = pyndeval.ndeval(qrels, run, measures=list(peers), alpha=alpha)
        for peer, symbol in peers.items():
            settings = f"(rel={rel},alpha={alpha})" if symbol == "alpha_nDCG" else f"(rel={rel})"
            ours_B = parse_measure(f"{symbol}{settings}@{peer.split('@')[1]}")(rows_BK, keys, items)
            expected = [theirs.get(f"n{b}", {}).get(peer, 0.0) for b in range(200)]
            np.testing.assert_allclose(ours_B, expected, rtol=0, atol=1e-6, err_msg=f"{peer} rel={rel}")


NAMES = [f"{s}@{{k}}" for s in ("alpha_nDCG", "StRecall", "Categories", "Entropy")]
NAMES += [f"{s}(field=sales)@{{k}}" for s in ("Popularity", "Tail")]
RANKINGS = st.lists(st.integers(0, 7), unique=True)
GRADES = st.dictionaries(st.integers(0, 7), st.integers(-1, 3))


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(NAMES), st.integers(1, 8), RANKINGS, GRADES)
def test_lies_between_zero_and_one(name, k, ranking, grades):
    assert 0.0 <= value(name.format(k=k), ranking, grades) <= 1.0


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(NAMES), st.integers(1, 8), RANKINGS, RANKINGS, GRADES)
def test_items_below_the_cutoff_do_not_matter(name, k, ranking, others, grades):
    top = ranking[:k]
    rest = [row for row in others if row not in top] if len(top) == k else []
    assert value(name.format(k=k), top + rest, grades) == value(name.format(k=k), top, grades)


def test_a_ranking_does_not_see_the_others_of_its_batch():
    rng, items = np.random.default_rng(1), catalog()
    rows_BK = np.stack([rng.permutation(8)[:4] for _ in range(30)]).astype(np.int32)
    keys = [Qrels({int(row): int(rng.integers(0, 3)) for row in range(5)}) for _ in range(30)]
    measures = [parse_measure(name.format(k=4)) for name in NAMES]
    together = measure_all(measures, rows_BK, keys, items)
    for measure in measures:
        alone = [measure(rows_BK[b : b + 1], keys[b : b + 1], items)[0] for b in range(30)]
        np.testing.assert_array_equal(together[measure.name], alone)


@pytest.mark.parametrize("name", [name.format(k=2) for name in NAMES])
def test_rankings_without_a_catalog_and_catalogs_without_the_field_are_refused(name):
    rows_BK, keys = np.array([[0, 1]], np.int32), [Qrels({0: 1})]
    with pytest.raises(ValueError, match=r"reads the catalog's field '\w+', and these rankings come without a catalog"):
        parse_measure(name)(rows_BK, keys)
    bare = Catalog(["a", "b"], ["x", "y"], {"title": ["x", "y"]})
    with pytest.raises(ValueError, match=r"reads the catalog's field '\w+', which does not exist \(fields: title\)"):
        parse_measure(name).check_data(bare, {})


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("alpha_nDCG(alpha=1.5)@3", "alpha must be a number between 0 and 1, got 1.5"),
        ("Tail(head=1)@3", "head must be a number > 0 and < 1, got 1"),
        ("Tail(field=)@3", "field must be a string with at least 1 character .the name of a catalog field., got ''"),
        ("Entropy(field=7)@3", "field must be a string with at least 1 character .the name of a catalog field., got 7"),
        ("Gini@10", "Gini@10 is a measure of all needs together, which every evaluation reports"),
        ("alphanDCG@10", r"did you mean 'alpha_nDCG@10'\?"),
    ],
)
def test_a_wrong_name_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        parse_measure(wrong)


def test_columns_are_numbers_or_say_whose_value_is_none():
    items = catalog(stock=[True, False, "true", " 3.5 ", "", None, 2, 0.5])
    np.testing.assert_array_equal(numbers(items, "stock", "x"), [1, 0, 1, 3.5, np.nan, np.nan, 2, 0.5])
    for wrong in ("many", "nan", float("inf")):
        with pytest.raises(ValueError, match=r"field 'stock' of item 'i1' is .*: it must be a number, or empty"):
            numbers(catalog(stock=[1, wrong, *[0] * 6]), "stock", "x")


def test_an_item_may_have_several_labels_or_none():
    found = labels(catalog(), "category", "x")
    assert found.of_N == [(0,), (0,), (1,), (1, 2), (), (), (3,), (3,)] and found.different == 4
    assert labels(catalog(brand=[float("nan"), [None, float("nan"), "a"], *"bcdefg"]), "brand", "x").of_N[:2] == [
        (),
        (0,),
    ]


def test_a_column_is_read_once_a_catalog_and_forgotten_with_it():
    items = catalog()
    assert percentiles(items, "sales", "x") is percentiles(items, "sales", "y")
    assert percentiles(catalog(), "sales", "x") is not percentiles(items, "sales", "x")
    alive = weakref.ref(items)
    del items
    gc.collect()
    assert alive() is None


EVENTS = [("ann", 2), ("ann", 6), ("bob", 6), ("bob", 3), ("eve", 6), ("eve", 3), ("eve", 2), ("eve", 3)]


def shop(events=EVENTS, **fields):
    items = catalog(**fields)
    return Catalog(items.ids, items.texts, items.fields, events)


@pytest.mark.parametrize(
    "events", [EVENTS, tuple((*event, 0.5) for event in EVENTS), np.array([[0, row] for _, row in EVENTS])]
)
def test_without_a_field_an_item_is_as_popular_as_it_has_interactions(events):
    # Two events of item 2, three each of 3 and 6, none of the five others.
    assert value("Popularity@2", [6, 2], {}, shop(events)) == pytest.approx((6 / 8 + 5 / 8) / 2)
    assert value("Popularity@2", [0, 3], {}, shop(events)) == pytest.approx((0 + 6 / 8) / 2)
    assert value("Tail(head=0.3)@3", [2, 3, 6], {}, shop(events)) == pytest.approx(1 / 3)


def test_a_field_that_is_named_or_there_is_read_in_place_of_interactions():
    assert value("Popularity(field=sales)@1", [4], {}, shop()) == value("Popularity(field=sales)@1", [4], {})
    assert value("Popularity@1", [0], {}, shop(popularity=[9, *[0] * 7])) == pytest.approx(7 / 8)


def test_interactions_are_counted_once_a_catalog():
    items = shop()
    assert popularity(items, "popularity", "x") is popularity(items, "popularity", "y")
    assert popularity(shop([]), "popularity", "x").tolist() == [0] * 8


@pytest.mark.parametrize(
    ("events", "message"),
    [
        ([("ann", 8)], r"Tail@3 counts the catalog's interactions, and one has row 8 of 8 items"),
        ([("ann", -1)], r"and one has row -1 of 8 items"),
        ([("ann", "i3")], "which must be pairs of user and row"),
        ([("ann", 1.5)], "which must be pairs of user and row"),
        (["a"], "which must be pairs of user and row"),
        (7, "which must be pairs of user and row"),
        (np.zeros((4, 1), int), "which must be pairs of user and row"),
        (np.zeros(4, int), "which must be pairs of user and row"),
        (None, r"Tail@3 reads the catalog's field 'popularity', which does not exist \(fields: category, sales\)"),
    ],
)
def test_a_catalog_that_does_not_say_how_popular_items_are_is_refused(events, message):
    with pytest.raises(ValueError, match=message):
        parse_measure("Tail@3").check_data(shop(events), {})


def test_items_that_are_equally_popular_are_all_tail():
    assert value("Tail(field=sales)@2", [0, 1], {}, catalog(sales=[3] * 8)) == 1.0


@pytest.mark.parametrize(
    ("rows", "gini", "coverage"),
    [
        ([[0, 1], [2, 3]], 0.0, 1.0),
        ([[0, 1], [0, 1]], 0.5, 0.5),  # (2 + 2) places: half of the items have all
        ([[0, -1], [0, -1]], 0.75, 0.25),
        ([[-1, -1], [-1, -1]], 0.0, 0.0),
    ],
)
def test_how_items_are_shown_worked_out_by_hand(rows, gini, coverage):
    found = {s: kind(2)(np.array(rows, np.int32), 4) for s, kind in CORPUS_MEASURES.items()}
    assert found == {"Gini": pytest.approx(gini), "Coverage": pytest.approx(coverage)}


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.integers(-1, 9), min_size=3, max_size=3), min_size=1, max_size=20))
def test_gini_is_half_the_mean_difference_by_the_mean(rows):
    rows_BK = np.array(rows, np.int32)
    shown = np.bincount(rows_BK[rows_BK >= 0], minlength=10)
    mean = shown.mean()
    expected = np.abs(shown[:, None] - shown).mean() / (2 * mean) if mean else 0.0
    assert CORPUS_MEASURES["Gini"](3)(rows_BK, 10) == pytest.approx(expected)


def test_what_was_not_searched_down_to_the_cutoff_is_refused():
    for kind in CORPUS_MEASURES.values():
        with pytest.raises(ValueError, match=r"@3 needs k >= 3, got k=2"):
            kind(3)(np.zeros((1, 2), np.int32), 4)
