"""Every fault of a retriever is found by the check that is there for it, and a sound one is not blamed."""

from __future__ import annotations

import pytest

from recr1.config.build import build
from recr1.doctor import CHECKS, PartFailed, Setup, open_setup, run_checks, worst
from recr1.env import Environment
from recr1.recipe import load_recipe
from recr1.tasks.shop.task import ShopTask
from retrievers.bm25.rank_bm25 import RankBM25
from rewards.measures.reward import MeasureReward
from tests.recr1.doctor import faults


@pytest.fixture(scope="module")
def shop():
    return ShopTask(items=400, train=80, validation=20, test=20)


def setup_of(shop, retriever, **options):
    env = Environment(shop, retriever(shop.catalog), [(MeasureReward(measure="nDCG@10"), 1.0)], k=10)
    return Setup(env, **{"sample": 60, "batch": 16, **options})


def found(shop, retriever, name, **options):
    return CHECKS[name](setup_of(shop, retriever, **options))


@pytest.mark.parametrize("recipe", [pytest.param("quickstart", marks=pytest.mark.slow), "toy/echo"])
def test_what_ships_gets_a_clean_bill(recipe):
    findings = list(run_checks(open_setup(load_recipe(recipe))))
    assert [(f.name, f.verdict) for f in findings] == [(name, "ok") for name in CHECKS]


@pytest.mark.parametrize("retriever", [faults.Sound, RankBM25, faults.Honest])
def test_a_sound_retriever_has_no_error(shop, retriever):
    assert [f for f in run_checks(setup_of(shop, retriever)) if f.verdict == "error"] == []


@pytest.mark.parametrize(
    ("retriever", "check", "message"),
    [
        (faults.LosesFirstWord, "one_word", "only 0% of 60 words of the catalog find something"),
        (faults.LosesFirstWord, "every_word", "^the first word of a query counts in only 0% of 60 queries"),
        (faults.LosesLastWord, "every_word", "^the last word of a query counts in only 0% of 60 queries"),
        (
            faults.RanksWithoutFirstWord,
            "every_word",
            "^the first word of a query counts in only 0% of 60 queries: comp",
        ),
        (faults.Chance, "titles", "titles find their item in the first 10"),
        (faults.Chance, "deterministic", "60 of 60 queries find other items when searched again"),
        (faults.Constant, "titles", "only [0-9]% of 60 titles"),
        (faults.Constant, "every_word", "the first word .* the second word .* the third word .* the last word"),
        (faults.SeesNeighbours, "deterministic", "queries find other items in another order of the batch"),
        (faults.SeesNeighbours, "titles", "only .* titles find their item"),
        (faults.Trembles, "deterministic", "queries find other items when searched again"),
        (faults.Arbitrary, "no_match", r"7 of 7 queries that match nothing find items \('zxqvjk', "),
        (
            faults.OffByOne,
            "index",
            "60 of 60 titles find the item 1 row below their own: the index was built from a catalog",
        ),
        (faults.OffByOne, "titles", "only .* titles find their item"),
        (faults.Outdated, "index", r"36 of 301 items are not found by their title and text \('"),
        (faults.Foreign, "titles", r"only .* titles find their item in the first 10 \(missing: '\w+-\d+', "),
        (
            faults.IgnoresOperators,
            "operators",
            "boolean AND is declared, but works in only 0 of 30 queries",
        ),
        (faults.IgnoresOperators, "operators", "boolean NOT is declared, but works in only 0 of 30"),
        (faults.IgnoresOperators, "operators", "phrases is declared, but works in only"),
        (faults.IgnoresOperators, "operators", r"fields \(\w+\) is declared, but works in only"),
        (faults.IgnoresOperators, "operators", r"filters \(price\) is declared, but works in only 0 of"),
        (faults.WithoutNot, "operators", "^boolean NOT is declared, but works in only 0 of 30 queries: "),
    ],
)
def test_a_fault_is_found(shop, retriever, check, message):
    finding = found(shop, retriever, check)
    assert finding.verdict == "error"
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(finding.message)


@pytest.mark.parametrize("retriever", [faults.Ranks, faults.WantsAllWords])
def test_an_engine_is_not_blamed_for_scores_that_hide_or_need_a_word(retriever):
    toy = build("task", {"type": "toy"})
    assert found(toy, retriever, "every_word").verdict == "ok"


def test_the_engines_boolean_that_works_is_not_blamed_with_the_one_that_does_not(shop):
    assert "AND" not in found(shop, faults.WithoutNot, "operators").message
    held = found(shop, faults.WithoutNot, "operators").numbers["held"]
    assert held["boolean AND"] == [30, 30]
    assert held["boolean OR"] == [30, 30]


def test_honest_operators_are_tried_and_hold(shop):
    finding = found(shop, faults.Honest, "operators")
    held = finding.numbers["held"]
    assert finding.message.startswith("all declared operators work (queries: boolean AND 30 of 30, ")
    assert held["boolean AND"] == held["boolean OR"] == held["boolean NOT"] == [30, 30]
    assert held["phrases"][0] == held["phrases"][1] > 30
    assert held["filters (price)"] == [30, 30]
    assert {name for name in held if name.startswith("fields")} >= {"fields (title)"}


def test_an_operator_with_a_syntax_of_its_own_is_said_to_be_untried(shop):
    finding = found(shop, faults.OwnSyntax, "operators")
    assert finding.verdict == "warning"
    assert finding.message.startswith("could not be tested: phrases")


def test_no_declaration_is_no_fault(shop):
    finding = found(shop, faults.Sound, "operators")
    assert (finding.verdict, finding.numbers) == ("ok", {"declared": []})


def test_a_capability_that_does_not_exist_is_an_error(shop):
    recipe = load_recipe("toy/echo", ["retriever.type=tests.recr1.doctor.faults:Misdeclares"])
    with pytest.raises(PartFailed, match="declares the capability 'bolean'"):
        open_setup(recipe)


def test_a_retriever_that_declares_to_match_everything_may(shop):
    assert found(shop, faults.Declares, "no_match").verdict == "ok"


def test_equal_scores_that_change_places_are_worth_a_warning(shop):
    twins = faults.Village(
        [text for row in range(30) for text in [f"lamp red word{row} other{row}"] * 2],
        {"train": [("n", "lamp red word3")]},
        {"n": {6: 1}},
    )
    finding = found(twins, faults.Twins, "deterministic")
    assert finding.verdict == "warning"
    assert "items with almost equal scores change places when searched again" in finding.message


@pytest.mark.parametrize(("step_seconds", "verdict"), [(60.0, "ok"), (0.5, "warning"), (0.03, "error")])
def test_a_slow_retriever_is_compared_with_the_step_that_waits_for_it(shop, step_seconds, verdict):
    finding = found(shop, faults.Slow, "latency", step_seconds=step_seconds)  # a batch of 16 takes 64 ms and more
    assert finding.verdict == verdict
    assert finding.numbers["batch_p50_ms"] >= 64
    assert finding.numbers["query_p95_ms"] >= finding.numbers["query_p50_ms"] >= 4
    assert f"a batch of 16 {finding.numbers['batch_p50_ms']:.3g} ms" in finding.message
    assert ("the GPU waits for it" in finding.message) == (verdict != "ok")


def test_the_share_of_a_step_is_that_of_search_and_step_together(shop):
    numbers = found(shop, faults.Slow, "latency", step_seconds=0.5).numbers
    seconds = numbers["batch_p50_ms"] / 1000
    assert numbers["share_of_step"] == pytest.approx(seconds / (seconds + 0.5))


def test_a_query_that_raises_is_an_error_that_names_it_and_the_other_checks_go_on(shop):
    findings = {f.name: f for f in run_checks(setup_of(shop, faults.ParsesSyntax))}
    assert list(findings) == list(CHECKS)
    assert [name for name, f in findings.items() if f.verdict == "error"] == ["odd_queries"]
    message = findings["odd_queries"].message
    assert message.startswith(
        "searching '\"' and 15 others raised RuntimeError: cannot parse the query: Encountered <EOF>"
    )
    assert "(faults.py:" in message


def test_hits_that_break_the_interface_are_an_error_of_the_check_that_meets_them(shop):
    findings = list(run_checks(setup_of(shop, faults.Backwards)))
    assert worst(findings) == "error"
    assert "raised ContractError: retriever Backwards returned" in findings[0].message


def test_a_slow_engine_gets_a_smaller_sample(monkeypatch):
    ticks = iter(range(0, 1000, 7))
    fast, slow = load_recipe("toy/echo"), load_recipe("toy/echo")
    assert open_setup(fast).sample == 200
    assert open_setup(slow, clock=lambda: next(ticks)).sample == 10
