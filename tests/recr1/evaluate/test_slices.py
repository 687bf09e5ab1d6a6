"""Slices: which needs are in which, what is counted for head and tail, and what is kept of it."""

from __future__ import annotations

import numpy as np
import pytest

from recr1.errors import UserError
from recr1.evaluate.slices import kept_of, popularity_of, slices_of
from retrievers.base import Catalog
from rewards.base import Need, Qrels


class Sliced:
    def __init__(self, train=True, interactions=None):
        fields = {"kind": ["lamp", "lamp", None], "price": [1, 2, 3]}
        self.catalog = Catalog(list("abc"), ["x", "y", "z"], fields, interactions)
        words = {0: "w", 1: "w w w w w", 2: "w " * 30}
        self.test = [Need(f"t{place}", words[place % 3]) for place in range(15)]
        self.train = [Need(f"r{place}", "w") for place in range(4)] if train else []
        self.qrels = {need.id: Qrels({place % 3: 1}) for place, need in enumerate(self.test)}
        self.qrels |= {need.id: Qrels({0: 1} if place else {0: 1, 1: 1}) for place, need in enumerate(self.train)}

    def needs(self, split):
        if split == "train" and not self.train:
            raise UserError("no train")
        return self.train


EVENTS = [("u1", 2), ("u2", 2), ("u3", 2), ("u1", 1)]
"""Of three items the last has three events, the one before one, and the first none."""


def named(task, by):
    return {part.name: part.rows.tolist() for part in slices_of(task, task.test) if part.by == by}


def test_needs_are_sliced_by_length_training_and_category():
    task = Sliced()
    parts = {(part.by, part.name): part.rows.tolist() for part in slices_of(task, task.test)}
    first, second, third = ([*range(start, 15, 3)] for start in range(3))
    assert parts == {
        ("need length", "1-2 words"): first,
        ("need length", "3-5 words"): second,
        ("need length", "11+ words"): third,
        ("training", "head"): first,
        ("training", "tail"): second,
        ("training", "unseen"): third,
        ("kind", "(none)"): third,
        ("kind", "lamp"): sorted(first + second),
    }
    assert [part.name for part in slices_of(task, task.test)][:3] == ["1-2 words", "3-5 words", "11+ words"]


def test_small_slices_and_those_of_one_kind_are_left_out():
    task = Sliced(train=False)
    assert {part.by for part in slices_of(task, task.test)} == {"need length", "kind"}
    assert slices_of(task, task.test[:3]) == []


def test_the_category_is_a_field_of_the_catalog():
    task = Sliced()
    assert {part.name for part in slices_of(task, task.test, "price") if part.by == "price"} == {"1", "2", "3"}
    with pytest.raises(UserError, match="no field 'colour'; it has: kind, price"):
        slices_of(task, task.test, "colour")


def test_popularity_comes_from_interactions_before_training():
    first, second, third = ([*range(start, 15, 3)] for start in range(3))
    task = Sliced(interactions=EVENTS)
    assert named(task, "popularity") == {"unseen": first, "tail": second, "head": third}
    assert named(task, "training") == {}
    assert list(named(task, "popularity")) == ["head", "tail", "unseen"]


def test_a_need_is_as_popular_as_its_most_frequent_relevant_item():
    task = Sliced(interactions=EVENTS)
    keys = [Qrels({0: 1, 2: 1}), Qrels({1: 1, 2: 0}), Qrels({0: 2})]
    assert popularity_of(task, keys) == ("popularity", ["head", "tail", "unseen"])


def test_a_need_at_the_median_is_of_the_tail():
    task = Sliced(interactions=[(0, 0), (0, 1), (1, 1), (0, 2), (1, 2), (2, 2)])
    keys = [Qrels({row: 1}) for row in range(3)]
    assert popularity_of(task, keys) == ("popularity", ["tail", "tail", "head"])


def test_nothing_is_counted_without_interactions_and_training():
    task = Sliced(train=False)
    assert popularity_of(task, [task.qrels["t0"]]) is None


@pytest.mark.parametrize("interactions", [[(0, 3)], np.array([[0, -1]]), np.ones(4), np.ones((4, 2))])
def test_interactions_that_are_no_events_of_the_catalog_are_refused(interactions):
    task = Sliced(interactions=interactions)
    with pytest.raises(UserError, match="the slicing by head and tail counts the catalog's interactions"):
        popularity_of(task, [task.qrels["t0"]])


def test_no_interactions_at_all_are_no_events():
    task = Sliced(interactions=[])
    assert popularity_of(task, [task.qrels["t0"]]) is None


def test_usual_names_of_a_category_are_found_whatever_their_capitals():
    task = Sliced()
    task.catalog = Catalog(list("abc"), ["x", "y", "z"], {"Category": [["a", "b"], ["c"], []]})
    assert {part.name for part in slices_of(task, task.test) if part.by == "Category"} == {"a", "c", "(none)"}


def test_the_rest_and_what_has_no_category_stand_last():
    task = Sliced()
    task.catalog = Catalog(list("abc"), ["x", "y", "z"], {"kind": ["zoo", None, "ape"]})
    assert list(named(task, "kind")) == ["ape", "zoo", "(none)"]


def test_what_is_kept_of_a_need_are_its_popularity_and_the_fields_that_can_be_categories():
    task = Sliced()
    kept = kept_of(task, task.test)
    assert kept[0] == {"popularity": {"training": "head"}, "fields": {"kind": "lamp", "price": "1"}}
    assert kept[2] == {"popularity": {"training": "unseen"}, "fields": {"kind": "(none)", "price": "3"}}
    # A value for each need is a name, and no category.
    assert kept_of(task, task.test[:3])[0]["fields"] == {}
