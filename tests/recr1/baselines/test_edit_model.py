"""The linear model of what edits gain, and the policy that writes what it expects to be best."""

from __future__ import annotations

import numpy as np
import pytest

from recr1.baselines.access import prepare
from recr1.baselines.best_edit import EditSearch
from recr1.baselines.edit_model import Attempt, attempts, features, learn, learn_without_each
from recr1.baselines.edits import Edits
from recr1.baselines.linear_edits import LinearEdits
from recr1.env import Environment
from retrievers.base import Catalog
from rewards.base import Need, Qrels
from tests.recr1.baselines.world import Overlap, World

COLOURS = ["red", "blue", "green", "black", "white", "yellow", "grey", "pink"]
THINGS = ["mug", "pan", "pot", "tea", "cup", "bowl", "plate", "fork"]


def learned(cases):
    return learn([Attempt(*case) for case in cases], ridge=1.0)


def gain(model, text, query):
    return float(model.gains([text], [query])[0])


@pytest.mark.parametrize("query", ["red mug", " Red  MUG ", ""])
def test_what_changes_nothing_has_no_features(query):
    assert (features("red mug", query) == []) == bool(query)


@pytest.mark.parametrize(
    ("text", "one", "other"),
    [
        ("big red mug", "red mug", "big mug"),  # another word
        ("big red mug", "red mug", "mug"),  # one word more
        ("note book bag", "notebook bag", "notes bag"),
        ("red mug", "red red mug", "red mug mug"),
        ("red mug", "red pan mug", "red cup mug"),
    ],
)
def test_different_changes_have_different_features(text, one, other):
    assert set(features(text, one)) != set(features(text, other))
    assert features(text, one) == features(text, one)


def test_a_word_that_searches_do_better_without_is_dropped_from_needs_that_were_never_seen():
    texts = [f"{colour} {thing} please" for colour in COLOURS for thing in THINGS]
    tried = [(text, query) for text in texts for _, query in Edits([]).of(text)]
    model = learned([(text, query, 0.2 if f"{query} please" == text else -0.1) for text, query in tried])
    assert gain(model, "velvet sofa please", "velvet sofa") > 0.1
    assert gain(model, "velvet sofa please", "sofa please") < 0
    assert gain(model, "velvet sofa please", "velvet sofa please") == 0
    search = EditSearch(Edits([]), rounds=2)
    for at_least, query in ((0.05, ["velvet sofa"]), (0.5, [])):
        (found,) = model.best(search, ["velvet sofa please"], at_least)
        assert [one.query for one in found] == query


def test_a_word_may_help_beside_one_word_and_harm_beside_another():
    cases = [(f"new york {thing}", f"york {thing}", -0.4) for thing in THINGS]
    cases += [(f"new {thing}", thing, 0.4) for thing in THINGS]
    model = learned(cases)
    assert gain(model, "new york sofa", "york sofa") < -0.1
    assert gain(model, "new sofa", "sofa") > 0.1


def test_what_is_seen_once_is_believed_less_than_what_is_seen_often():
    often = [(f"{colour} {thing} cheap", f"{colour} {thing}", 0.2) for colour in COLOURS for thing in THINGS]
    model = learned([*often, ("oak desk sturdy", "oak desk", 0.2)])
    assert gain(model, "steel shelf cheap", "steel shelf") > gain(model, "steel shelf sturdy", "steel shelf")


def test_a_part_is_not_known_to_its_own_model():
    cases = [Attempt(f"{colour} mug", "mug", 0.4 if colour in COLOURS[:4] else -0.4) for colour in COLOURS]
    first, second = learn_without_each(cases, [0] * 4 + [1] * 4, 2, ridge=0.1)
    assert gain(first, "red mug", "mug") < 0 < gain(second, "red mug", "mug")
    assert gain(learn(cases, ridge=0.1), "red mug", "mug") == pytest.approx(0.4, abs=0.1)


def test_attempts_are_led_by_chance_and_hold_what_each_query_gained():
    asked = []

    def values(places, queries):
        asked.extend(queries)
        return np.array([len(query) / 100 for query in queries], np.float32)

    search = EditSearch(Edits([]), rounds=2, beam=1, tried=6)
    (found,) = attempts(search, ["one two three four"], values)
    assert [one.query for one in found] == asked[1:] and len(found) == 12
    for one in found:
        assert one.gain == pytest.approx((len(one.query) - len("one two three four")) / 100, abs=1e-6)
    longest = max(found[:6], key=lambda one: one.gain)
    assert not all(longest.query.split()[0] in one.query for one in found[6:])  # not the best one was edited further


def test_a_need_without_a_value_teaches_nothing():
    def values(places, queries):
        return np.array([np.nan if query in {"red mug", "blue"} else 0.5 for query in queries], np.float32)

    found = attempts(EditSearch(Edits([]), rounds=1), ["red mug", "blue pan"], values)
    assert found[0] == [] and "blue" not in [one.query for one in found[1]] and found[1]


class Shop(World):
    """The engine takes the two polite words of a need for the name of its first item."""

    def __init__(self):
        super().__init__()
        items = ["please kindly", *(f"{colour} {thing}" for colour in COLOURS for thing in THINGS)]
        self.catalog = Catalog(items, items, {})
        needs = [Need(str(row), f"please kindly {items[row]}") for row in range(1, len(items))]
        self.qrels = {need.id: Qrels({row: 1}) for row, need in enumerate(needs, 1)}
        self.splits = {"train": needs[:-8], "test": needs[-8:]}


def test_the_policy_learns_from_training_needs_alone():
    task = Shop()
    engine = Overlap(task.catalog)
    policy = LinearEdits(measure="nDCG@1", rounds=1)
    prepare(policy, Environment(task, engine, [], k=3))
    searched = {query for call in engine.calls for query in call}
    assert {need.text for need in task.needs("train")} <= searched
    assert not {need.text for need in task.needs("test")} & searched
    before = len(engine.calls)
    (written,) = zip(*policy.generate([policy.format.render(need) for need in task.needs("test")], 0), strict=True)
    assert len(engine.calls) == before
    for query, thing in zip(written, THINGS, strict=True):
        assert query in {f"please pink {thing}", f"kindly pink {thing}", f"pink {thing}"}
