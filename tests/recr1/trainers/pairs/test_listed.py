from __future__ import annotations

import pytest

from recr1.config.build import Part
from recr1.env import Environment, chat_with, open_environment
from recr1.errors import UserError
from recr1.tasks.behaviour.sequential import SequentialTask
from recr1.trainers.pairs.listed import ListedPairs
from retrievers.behaviour.popularity import Popularity
from rewards.base import Search

TASK = {"task": {"type": "toy"}, "candidates": {"type": "bm25"}, "count": 5}


def opened(k=10, **task):
    measure = Part("measure", {"measure": "nDCG@5"})
    return open_environment(Part("reranking", TASK | task), Part("bm25"), [(measure, 1.0)], k)


def rewards(env, pairs):
    needs = [pair.need for pair in pairs]
    chats = [chat_with(prompt, pair.completion) for prompt, pair in zip(env.prompts(needs), pairs, strict=True)]
    return env.step(needs, chats)


def test_the_best_order_earns_what_the_ceiling_does_and_is_valid():
    env = opened()
    pairs = ListedPairs().pairs(env)
    assert [pair.need for pair in pairs] == list(env.task.needs("train"))
    step = rewards(env, pairs)
    assert set(step.outcomes) == {"ok"}
    others = rewards(env, ListedPairs(order="random", seed=3).pairs(env)).rewards
    assert (step.rewards >= others).all() and step.rewards.sum() > others.sum() + 1


def test_the_order_of_the_retriever_is_the_floor():
    for k in (10, 3):
        env = opened(k) if k == 10 else open_environment(Part("reranking", TASK), Part("bm25"), [], k)
        pairs = ListedPairs(order="retriever", needs=4).pairs(env)
        needs = [pair.need for pair in pairs]
        floor = env.search([need.text for need in needs], needs=needs).rows_QK.tolist()
        found = rewards(env, pairs).batch.hits.rows_QK.tolist()
        assert len(pairs) == 4 and found == floor
        assert all(pair.completion.count(">") == len(pair.need.candidates) - 1 for pair in pairs)


def test_random_orders_follow_the_seed_and_differ():
    env = opened()
    one, same, other = (
        [pair.completion for pair in ListedPairs(order="random", per_need=4, seed=seed).pairs(env)]
        for seed in (0, 0, 1)
    )
    assert one == same != other and len(one) == 4 * len(env.task.needs("train"))
    assert len(set(one)) > 10


def test_other_formats_and_needs_are_refused():
    plain = opened(format={"type": "plain"})
    toy = open_environment(Part("toy"), Part("bm25"), [], 10)
    for env in (plain, toy):
        with pytest.raises(
            UserError, match="'listed' is for needs with candidates and the formats ranking and pick_one"
        ):
            ListedPairs().pairs(env)


def test_parts_of_a_history_are_drawn_for_the_format_history_alone():
    task = SequentialTask(source={"type": "people", "users": 30, "items": 200}, last=4, format={"type": "history"})
    env = Environment(task, Popularity(task.catalog), (), 5)
    pairs = ListedPairs(order="random", per_need=20).pairs(env)
    assert len(pairs) == 20 * len(task.needs("train"))
    kept = [env.format.parse_for(pair.need, pair.completion) for pair in pairs]
    assert all(isinstance(action, Search) for action in kept)
    assert {len(action.query) for action in kept} == {1, 2, 3, 4}
    with pytest.raises(UserError, match="or for the format history with order: random"):
        ListedPairs(order="best").pairs(env)
