"""Policies by catalogs: what is learned in one shop, taken to another."""

from __future__ import annotations

import json

import numpy as np
import pytest

from recr1.baselines.without_model import Scripted
from recr1.cli.main import run
from recr1.cross import OwnPrompts, cross, cross_tables, write_cross
from recr1.env import Environment
from recr1.evaluate import Evaluator
from recr1.formats import Plain
from retrievers.base import Catalog
from rewards.base import Need, Qrels
from tests.recr1.baselines.world import Overlap

KINDS = ("mug", "tea", "pan", "pot")


class Shop:
    """Forty needs for one of four kinds, in a shop that has its own words for them."""

    def __init__(self, ending):
        self.catalog = Catalog([*KINDS], [kind + ending for kind in KINDS])
        self.format = Plain()
        self.counts = {}
        self._needs = [Need(f"t{i}", f"number {i}: a {KINDS[i % 4]}") for i in range(40)]
        self.qrels = {need.id: Qrels({i % 4: 1}) for i, need in enumerate(self._needs)}

    def needs(self, split):
        return self._needs


def speaks(ending, wrong=()):
    """Writes the words of a shop, but for the needs of these numbers."""
    texts = {f"number {i}: a {KINDS[i % 4]}": "?" if i in wrong else KINDS[i % 4] + ending for i in range(40)}
    return Scripted(answers=texts)


@pytest.fixture(scope="module")
def crossed():
    shops = {"a": Shop("x"), "b": Shop("y")}
    evaluators = {
        name: Evaluator(Environment(shop, Overlap(shop.catalog), [], 4), "test", ["RR@4", "P@1"])
        for name, shop in shops.items()
    }
    policies = {"a": speaks("x", wrong=(0, 1)), "b": speaks("y"), "control": speaks("z")}
    return cross(
        evaluators,
        dict.fromkeys(shops, lambda: speaks("z")),
        {name: lambda policy=policy: policy for name, policy in policies.items()},
        {"a": "a", "b": "b", "control": "a"},
    )


def test_every_policy_is_measured_on_every_catalog(crossed):
    found = {name: [float(e.per_need("RR@4").mean()) for e in column] for name, column in crossed.columns.items()}
    assert found == {"a": [0, 0.95, 0, 0], "b": [0, 0, 1, 0]}
    assert [e.name for e in crossed.columns["b"]] == ["start", "a", "b", "control"]


def test_each_policy_is_tested_against_the_start_and_against_strangers(crossed):
    own = crossed.crossing("gain", "RR@4", "a", "a")
    assert (own.test.difference, own.test.wins, own.test.losses) == (pytest.approx(0.95), 38, 0)
    assert own.p_holm < 0.01
    elsewhere = crossed.crossing("gain", "RR@4", "a", "b")
    assert (elsewhere.test.difference, elsewhere.p_holm) == (0, 1)
    assert crossed.crossing("rival", "RR@4", "b", "b", "a").test.difference == 1
    # on "a" both that were trained there stand against "b", on "b" the one against the two others
    pairs = {(one.catalog, one.policy, one.other) for one in crossed.crossings["RR@4"] if one.kind == "rival"}
    assert pairs == {("a", "a", "b"), ("a", "control", "b"), ("b", "b", "a"), ("b", "b", "control")}


def test_what_is_gained_at_home_and_elsewhere_alike_is_no_gain_at_home():
    """What training changes by chance it changes on all catalogs, and that drops out."""
    shops = {"a": Shop("x"), "b": Shop("y")}
    for shop in shops.values():  # one word that both have
        shop.catalog = Catalog(shop.catalog.ids, [f"{text} sale" for text in shop.catalog.texts])
    evaluators = {
        name: Evaluator(Environment(shop, Overlap(shop.catalog), [], 4), "test", ["RR@4"])
        for name, shop in shops.items()
    }
    sale = Scripted(answers=dict.fromkeys((f"number {i}: a {KINDS[i % 4]}" for i in range(40)), "sale"))
    starts = dict.fromkeys(shops, lambda: speaks("z"))
    found = cross(evaluators, starts, {"a": lambda: speaks("x"), "drifted": lambda: sale}, {"a": "a", "drifted": "a"})
    assert found.crossing("gain", "RR@4", "drifted", "a").p_holm < 0.01
    home = found.crossing("home", "RR@4", "drifted", "a", "b")
    assert (home.test.difference, home.p_holm) == (0, 1)
    assert found.crossing("home", "RR@4", "a", "a", "b").test.difference == 1


def test_p_is_corrected_for_all_differences_of_the_measure(crossed):
    tests = crossed.crossings["RR@4"]
    assert len(tests) == 6 + 4 + 3
    least = min(tests, key=lambda one: one.test.p)
    assert least.p_holm == pytest.approx(13 * least.test.p)


def test_the_words_that_a_catalog_knows_stand_in_a_table_of_their_own(crossed):
    *measures, words = cross_tables(crossed)
    assert [one.title for one in measures] == [
        "RR@4 on test: 40 needs, policies by catalogs",
        "P@1 on test: 40 needs, policies by catalogs",
    ]
    # where "a" writes "?" there is no word
    assert words.rows == [
        ["start", "0.0%", "0.0%"],
        ["a", "100.0%", "0.0%"],
        ["b", "0.0%", "100.0%"],
        ["control", "0.0%", "0.0%"],
    ]


def test_the_verdict_says_where_what_was_learned_holds(crossed):
    said = crossed.verdict()
    assert len(said) == 9
    assert said[0].startswith("On its own catalog, a against start: +0.950 RR@4 (95% interval +0.")
    assert said[0].endswith(", 40 needs): better.")
    assert said[1].startswith("On the catalog of b, a against start: +0.000 RR@4")
    assert said[1].endswith("): no clear difference.")
    gains = "The gain of a on its own catalog against its gain on that of b: +0.950 RR@4 (95% interval +"
    assert said[2].startswith(gains) and said[2].endswith("): better.")
    assert said[6].startswith("On its own catalog, control against start: ")
    assert said[8].startswith("The gain of control on its own catalog against its gain on that of b: +0.000 RR@4 (")


def test_every_number_is_written(crossed, tmp_path):
    write_cross(crossed, tmp_path / "out")
    held = json.loads((tmp_path / "out/cross.json").read_text())
    assert held["home"] == {"a": "a", "b": "b", "control": "a"}
    assert held["catalogs"]["b"]["b"]["measures"]["RR@4"]["policy"]["mean"] == 1
    assert held["differences"]["P@1"][0] | {"test": None, "p_holm": None} == {
        "kind": "gain",
        "catalog": "a",
        "policy": "a",
        "other": "start",
        "test": None,
        "p_holm": None,
    }
    text = (tmp_path / "out/cross.md").read_text()
    assert "Trained: a on a; b on b; control on a." in text and "- On its own catalog, b against start: " in text


def test_a_policy_is_asked_with_the_prompts_that_it_was_trained_with():
    class Shouts(Plain):
        def render(self, need):
            return [{"role": "user", "content": need.text.upper()}]

    shop = Shop("x")
    evaluate = Evaluator(Environment(shop, Overlap(shop.catalog), [], 4), "test", ["RR@4"])
    policy = Scripted(answers={f"NUMBER {i}: A {KINDS[i % 4].upper()}": KINDS[i % 4] + "x" for i in range(40)})
    assert np.mean(evaluate(OwnPrompts(policy, Shouts())).per_need("RR@4")) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["one"], "name two runs or more, got only"),
        (["x/one", "y/one"], "two runs are called 'one', so tables could not show which is which"),
        (["one", "two"], "one"),
    ],
)
def test_what_cannot_be_crossed_is_refused(arguments, message, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert run(["cross", *arguments]) == 2
    assert message in capsys.readouterr().err
