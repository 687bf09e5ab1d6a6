from __future__ import annotations

import random
from collections import Counter

import pytest

from recr1.formats import REASONS, JsonAnswer, Plain, Tag
from rewards.base import Invalid
from tests.recr1.hostile import assert_is_an_action, completions

COUNT = 120_000


@pytest.mark.slow
@pytest.mark.parametrize(
    "form", [Plain(), Tag(), JsonAnswer(), JsonAnswer(think_opened=True)], ids=["plain", "tag", "json_answer", "opened"]
)
def test_120_000_hostile_completions_each_get_an_action(form):
    for completion in completions(random.Random(1), COUNT):
        assert_is_an_action(form.parse(completion))


@pytest.mark.slow
def test_the_hostile_completions_reach_every_reason_and_many_queries():
    seen: Counter[str] = Counter()
    for completion in completions(random.Random(2), COUNT):
        for form in (Plain(), Tag(), JsonAnswer()):
            action = form.parse(completion)
            seen[action.reason if isinstance(action, Invalid) else "search"] += 1
    assert set(seen) - {"search"} == REASONS - {"completion is not text"}
    assert seen["search"] > COUNT // 2
