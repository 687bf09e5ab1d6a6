"""Rewards of a shop's terms: what `worth` and `crowding` refuse, and that what they say of it can be acted on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from recr1.env import Environment
from recr1.errors import UserError
from recr1.tasks.toy import ToyTask
from retrievers.base import Catalog
from retrievers.bm25.bm25 import BM25
from rewards.business import CrowdingReward, WorthReward
from tests.rewards.test_contract import batch_of

SHOP = Catalog(
    ["i0", "i1", "i2"],
    ["x"] * 3,
    {"margin": [1, 2, None], "loss": [-1, 0, None], "words": ["cheap", 1, 2], "stock": [1, 1, 0]},
)


def batch(catalog=SHOP, depth=2):
    return batch_of(["a", None], [[0, 1, 2][:depth], [-1] * depth], [{0: 1}] * 2, catalog=catalog)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"fields": {"price": 1.0}},
            r"worth\(price=1\)@2 reads the catalog's field 'price', which does not exist \(fields: ",
        ),
        ({"fields": {"": 1.0}}, r"reads the catalog's field '', which does not exist"),
        ({"fields": {}, "stock": "stocks"}, r"reads the catalog's field 'stocks', which does not exist"),
        ({"fields": {"words": 1.0}}, r"field 'words' of item 'i0' is 'cheap': it must be a number, or empty"),
        ({"fields": {}, "stock": "words"}, r"field 'words' of item 'i0' is 'cheap': it must be a number, or empty"),
        ({"fields": {"loss": 1.0}}, r"no item has a number above 0 in the catalog's field 'loss'"),
    ],
)
def test_fields_that_say_nothing_of_worth_are_told_before_training_and_when_paid(options, message):
    reward = WorthReward(**options, cutoff=2)
    for refused in (lambda: reward.check_data(SHOP, {}), lambda: reward(batch())):
        with pytest.raises(ValueError, match=message):
            refused()


def test_worth_without_a_catalog_is_refused():
    with pytest.raises(ValueError, match=r"reads the catalog's field 'margin', and these rankings come without a cata"):
        WorthReward(fields={"margin": 1.0}, cutoff=2)(replace(batch(), catalog=None))


def test_fields_that_are_there_pass_the_check():
    WorthReward(fields={"margin": 1.0}, stock="stock", cutoff=2).check_data(SHOP, {})
    WorthReward(fields={}, cutoff=2).check_data(SHOP, {})


@pytest.mark.parametrize("reward", [WorthReward(fields={"margin": 1.0}, cutoff=3), CrowdingReward(cutoff=3)])
def test_hits_that_are_not_as_deep_as_the_cutoff_are_refused(reward):
    with pytest.raises(ValueError, match=r"@3 needs k >= 3, got k=2"):
        reward(batch())
    assert np.isfinite(reward(batch(depth=3))).all()


def test_an_environment_tells_it_before_anything_is_trained():
    task = ToyTask()
    with pytest.raises(UserError, match=r"reward 'worth\(profit=1\)@10' does not fit this task: .*field 'profit'"):
        Environment(task, BM25(task.catalog), [(WorthReward(fields={"profit": 1.0}), 1.0)], k=10)
    with pytest.raises(UserError, match=r"reward crowding@20 needs k >= 20, got k=10: set k to 20 or more"):
        Environment(task, BM25(task.catalog), [(CrowdingReward(cutoff=20), 1.0)], k=10)
