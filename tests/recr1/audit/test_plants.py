"""Policies with one bias each: the audit finds it, with p < 0.01 on 200 needs, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from recr1.audit import find_biases
from recr1.config.build import AuditSpec
from tests.recr1.audit.world import ITEMS, Lists, Queries, World, at_random, environment, shown_rows, steady

WORLD = World()
PRIOR = np.random.default_rng(5).random(ITEMS)
COUNTS = np.bincount([row for _, row in WORLD.catalog.interactions], minlength=ITEMS)
KIND = WORLD.catalog.fields["category"]


def likelihoods(titles):
    return [float(PRIOR[int(title.split()[1].removeprefix("item"))]) for title in titles]


def audited(policy, **options):
    return find_biases(environment(WORLD), policy, "test", AuditSpec(**options))


PLANTS = {
    "takes the first that it is shown": (Lists(shown_rows), ["slots", "order"]),
    "recommends the 20 most popular to everyone": (
        Lists(lambda need: np.argsort(-COUNTS, kind="stable")[:20]),
        ["popularity_lift@5"],
    ),
    "sorts by what its model finds likely": (
        Lists(lambda need: sorted(shown_rows(need), key=lambda row: -PRIOR[row]), likelihoods),
        ["prior"],
    ),
    "turns its list round at one word": (
        Lists(lambda need: steady(need)[::-1] if "a woman" in need.text else steady(need)),
        ["gender/jaccard@5/spread", "gender/serp@5/spread", "gender/prag@5/spread"],
    ),
    "lists one kind": (
        Lists(lambda need: [row for row in range(ITEMS) if KIND[row] == "kind 0"][:10]),
        ["miscalibration@5"],
    ),
    "writes long queries": (
        Queries(lambda text: " ".join([text] * 3 + ["cheap best buy now deal"] * 6)),
        ["growth", "repeated"],
    ),
}


@pytest.mark.parametrize("plant", PLANTS)
def test_a_bias_is_found_and_no_other(plant):
    policy, expected = PLANTS[plant]
    found = audited(policy)
    assert [one.name for one in found.failures] == expected
    assert all(one.p <= one.corrected < 0.01 for one in found.failures)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_policy_that_answers_at_random_passes_every_limit(seed):
    found = audited(Lists(at_random(seed).choose, likelihoods))
    assert found.failures == [] and len([one for one in found.numbers if one.limit is not None]) == 13


def test_an_order_that_depends_on_need_and_items_alone_never_flips():
    found = {one.name: one.value for one in audited(Lists(steady)).numbers}
    assert found["flips"] == found["disagreement"] == 0 and abs(found["order"]) < 0.05
    assert found["gender/serp@5"] == found["age/prag@5"] == 1


def test_what_counts_explain_is_no_prior():
    """A policy that sorts by popularity has no prior, though its model finds popular titles likely."""
    noise = np.random.default_rng(6).random(ITEMS)
    policy = Lists(
        lambda need: sorted(shown_rows(need), key=lambda row: -COUNTS[row] - 0.5 * noise[row]),
        lambda titles: [float(COUNTS[int(title.split()[1].removeprefix("item"))]) for title in titles],
    )
    found = {one.name: one for one in audited(policy).numbers}
    assert abs(found["prior"].value) < 0.1 and not found["prior"].fails
    assert found["popularity_lift(over=candidates)@5"].value > 0.1
