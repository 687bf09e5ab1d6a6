from __future__ import annotations

import pytest

from rewards.guards.form import LengthReward, query_length
from rewards.testing import batch_of


def pay(query, **options) -> float:
    batch = batch_of([query], [[-1]], [{1: 1}])
    return float(LengthReward(**options)(batch)[0])


@pytest.mark.parametrize(
    ("words", "expected"), [(0, 0.0), (1, 0.0), (6, 0.0), (7, -0.1), (10, -0.4), (16, -1.0), (17, -1.0), (500, -1.0)]
)
def test_falls_by_the_slope_for_each_word_over_the_budget_down_to_the_cap(words, expected):
    assert pay("tent " * words) == pytest.approx(expected, abs=1e-6)


def test_budget_slope_and_cap_are_options():
    assert pay("a b c", budget=1, slope=0.25) == pytest.approx(-0.5)
    assert pay("a b c", budget=1, slope=4, cap=3) == pytest.approx(-3)


def test_an_invalid_rollout_earns_the_least_that_a_query_can():
    assert pay(None) == -1.0
    assert pay(None, cap=0.5) == -0.5 == pay("tent " * 1000, cap=0.5)


def test_a_history_counts_its_items():
    assert pay((3, 1, 4), budget=2) == pytest.approx(-0.1)


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("", 0),
        (" \t\n", 0),
        ("red  tent", 2),
        ("?!.", 0),
        # a search engine splits here as well: no way around the budget
        ("tent,camping,outdoor", 3),
        ("tent-camping/outdoor_shelter", 4),
        ("men's", 2),
        ("zelt für 4 personen", 4),
        ("テント 軽量", 2),
        ((), 0),
        ((1, 2), 2),
    ],
)
def test_length_of_a_query(query, words):
    assert query_length(query) == words


def test_a_query_without_a_length_is_refused():
    with pytest.raises(TypeError, match="a query of type int has no length"):
        query_length(5)


@pytest.mark.parametrize("query", ["tent " * 17, "," * 90, "", "a"])
def test_no_query_is_paid_less_than_an_invalid_rollout(query):
    assert pay(query) >= pay(None)


def test_the_name_says_what_is_not_the_usual():
    assert LengthReward().name == "length(6)"
    assert LengthReward(budget=8, slope=0.2, cap=2.0).name == "length(8,slope=0.2,cap=2.0)"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"budget": 0}, "budget: must be an integer >= 1, got 0"),
        ({"slope": 0.0}, "slope: must be a number > 0, got 0.0"),
        ({"slope": -0.1}, "slope: must be a number > 0, got -0.1"),
        ({"cap": float("inf")}, "cap: must be a number > 0, got inf"),
        ({"cap": float("nan")}, "cap: must be a number > 0, got nan"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        LengthReward(**options)
