"""Measures of answers in text, against values worked by hand and brute force."""

from __future__ import annotations

import pickle
from itertools import combinations
from random import Random

import numpy as np
import pytest

from retrievers.base import Catalog
from rewards.base import Answer, Graded, Invalid, Qrels
from rewards.measures import ANSWER_MEASURES, measure_all, parse_measure
from rewards.measures.answers import common_length
from rewards.measures.reward import MeasureReward
from rewards.testing import batch_of

ASKED = "a soft red sofa that is easy to clean"


def value(name: str, text: str | None, gold: str | None, asked: str = ASKED) -> float:
    return float(parse_measure(name).of_texts([text], [Qrels({0: 1}, gold=gold)], [asked])[0])


@pytest.mark.parametrize(
    ("name", "text", "gold", "expected"),
    [
        ("RatingCloseness", "4", "4", 1.0),
        ("RatingCloseness", "3.5", "4", 0.875),
        ("RatingCloseness", "5", "1", 0.0),
        ("RatingCloseness", "-7", "1", 0.0),  # never below 0
        ("RatingCloseness", "four", "4", 0.0),
        ("RatingCloseness", "nan", "4", 0.0),
        ("RatingCloseness", None, "4", 0.0),
        ("RatingCloseness", "4", "soft", 0.0),  # another family's need
        ("RatingCloseness", "4", None, 0.0),
        ("RatingCloseness(low=0,high=10)", "4", "9", 0.5),
        ("FeatureRecall", "It is soft, and easy to clean!", "Soft, easy to clean, cheap", 2 / 3),
        ("FeatureRecall", "easy and clean", "easy to clean", 0.0),  # not in a row
        ("FeatureRecall", "softly", "soft", 0.0),
        ("FeatureRecall", "soft soft", "soft, soft", 1.0),
        ("FeatureRecall", "soft", "4", 0.0),
        ("FeaturePrecision", "it is a soft wide bed", "soft, cheap", 1 / 3),
        ("FeaturePrecision", "the", "soft", 0.0),
        ("FeatureF1", "it is a soft wide bed", "soft, cheap", 2 * (1 / 2) * (1 / 3) / (1 / 2 + 1 / 3)),
        ("FeatureF1", "wide", "soft", 0.0),
        ("FeatureF1", "", "soft", 0.0),
        ("RougeL", "a very good lamp", "good old lamp", 2 * 2 / 7),
        ("RougeL", "lamp good", "good lamp", 0.5),
        ("RougeL", "", "good lamp", 0.0),
    ],
)
def test_values_worked_by_hand(name, text, gold, expected):
    assert value(name, text, gold) == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("FeatureRecall", ASKED, 0.0),  # all copied
        ("FeatureRecall(cap=1)", ASKED, 1.0),
        ("FeatureRecall", "soft, clean", 1.0),  # words, not runs of three
        ("FeatureRecall", "easy to clean soft wide bed", 1.0),  # three of six: as much as the cap allows
        ("FeatureRecall", "easy to clean soft", (1 - 3 / 4) / (1 - 0.5)),
        ("FeatureRecall(cap=0)", "easy to clean soft", 1 - 3 / 4),
        ("RougeL", ASKED, 0.0),
        ("RougeL(cap=0.75)", "easy to clean soft", 2 * 2 / 7),
    ],
)
def test_what_is_copied_from_the_need_beyond_the_cap_does_not_pay(name, text, expected):
    assert value(name, text, "soft, clean" if name.startswith("F") else "to clean it") == pytest.approx(
        expected, abs=1e-7
    )


def test_the_longest_common_subsequence_is_that_of_brute_force():
    rng = Random(0)
    for _ in range(200):
        one, other = ([rng.choice("abc") for _ in range(rng.randrange(8))] for _ in range(2))
        of_other = {part for size in range(9) for part in combinations(other, size)}
        assert common_length(one, other) == max(
            size for size in range(9) for part in combinations(one, size) if part in of_other
        )


def test_rouge_l_is_that_of_rouge_score():
    scorer = pytest.importorskip("rouge_score.rouge_scorer").RougeScorer(["rougeL"])
    rng = Random(1)
    for _ in range(300):
        one, other = (" ".join(rng.choices(["a", "red", "Lamp", "it's", "b3"], k=rng.randint(1, 9))) for _ in range(2))
        assert value("RougeL(cap=1)", one, other, "") == pytest.approx(scorer.score(other, one)["rougeL"].fmeasure)


def test_what_pays_is_what_is_reported():
    batch = batch_of([None, None, "x"], [[-1, -1], [-1, -1], [4, 2]], [{4: 1}] * 3)
    actions = (Answer("4"), Invalid("no number"), batch.rollouts[2].action)
    for rollout, action in zip(batch.rollouts, actions, strict=True):
        object.__setattr__(rollout, "action", action)
    batch = type(batch)(batch.rollouts, batch.hits, [Qrels({4: 1}, gold="5") for _ in range(3)])
    paid_B = MeasureReward(measure="RatingCloseness")(batch)
    assert paid_B.tolist() == [0.75, 0.0, 0.0]
    assert parse_measure("RatingCloseness").of(batch.graded).tolist() == paid_B.tolist()


def test_each_need_has_its_own_measure():
    keys = [
        Qrels({4: 1}, gold="5", measure="RatingCloseness"),
        Qrels({4: 1}, gold="soft", measure="FeatureRecall"),
        Qrels({4: 1}, measure="RR@2"),
    ]
    rows_BK = np.array([[-1, -1, -1], [-1, -1, -1], [2, 4, 1]], np.int32)
    graded = Graded.join(rows_BK, keys)._replace(answers_B=["4", "soft", None], asked_B=["", "", ""])
    assert parse_measure("Own@3").of(graded).tolist() == [0.75, 1.0, 0.5]
    catalog = Catalog([f"i{row}" for row in range(9)], ["x"] * 9)
    parse_measure("Own@3").check_data(catalog, dict(zip("abc", keys, strict=True)))
    with pytest.raises(ValueError, match=r"RR@2 needs k >= 2"):
        parse_measure("Own@1").check_data(catalog, dict(zip("abc", keys, strict=True)))
    with pytest.raises(ValueError, match="need 'a' has no own measure"):
        parse_measure("Own@3").check_data(catalog, {"a": Qrels({1: 1})})


@pytest.mark.parametrize("name", [*ANSWER_MEASURES, "RatingCloseness(low=0.5)", "RougeL(cap=1)"])
def test_names_have_no_cutoff_and_are_read_back(name):
    measure = parse_measure(name)
    assert measure.name == str(measure) == name and parse_measure(name) == measure
    assert pickle.loads(pickle.dumps(measure)) == measure
    measure.check_depth(1)
    with pytest.raises(ValueError, match=r"rankings"):
        measure_all([measure], np.array([[0]], np.int32), [Qrels({0: 1}, gold="4")])


@pytest.mark.parametrize(
    ("wrong", "right"),
    [("rougel", "RougeL"), ("RougeL@5", "RougeL"), ("mae", "RatingCloseness"), ("rmse@1", "RatingCloseness")],
)
def test_a_wrong_name_suggests_the_right_one(wrong, right):
    with pytest.raises(ValueError, match=f"did you mean '{right}'.*has no cutoff"):
        parse_measure(wrong)


def test_data_that_does_not_fit_is_refused():
    catalog = Catalog(["a"], ["x"])
    for name, gold in (("RatingCloseness", "soft"), ("FeatureF1", "4"), ("RougeL", None)):
        with pytest.raises(ValueError, match="no answer key of this task has such a gold answer"):
            parse_measure(name).check_data(catalog, {"n": Qrels({0: 1}, gold=gold)})
    with pytest.raises(ValueError, match=r"need 'n' has the rating 9: .*low=0,high=10"):
        parse_measure("RatingCloseness").check_data(catalog, {"n": Qrels({0: 1}, gold="9")})
    with pytest.raises(ValueError, match="low must be below high"):
        parse_measure("RatingCloseness(low=7)")
