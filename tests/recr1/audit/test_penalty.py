"""A penalty by the audit's own number: what is paid for in training is what the audit then reports."""

from __future__ import annotations

import numpy as np
import pytest

from recr1.env import Environment, chat_with
from retrievers.bm25.bm25 import BM25
from rewards.audit.terms import PopularityLiftReward
from rewards.fields import popularity
from rewards.measures import parse_measure
from rewards.measures.reward import MeasureReward
from tests.recr1.audit.world import World, shown_rows

GROUP, BATCH, STEPS, RATE = 8, 20, 60, 1.0
LIFT = PopularityLiftReward(over="candidates")
BIASED = np.array([0.5, 4.0])
"""A policy that knows a little of taste, and much of what is popular, as one that has read about best sellers."""


class Linear:
    """Draws lists by scores of two features of a candidate: how often its kind is in the history, its popularity."""

    def __init__(self, world):
        self.kinds = world.catalog.fields["category"]
        self.popular_N = popularity(world.catalog, "popularity", "a test")
        self.weights = BIASED.copy()

    def features(self, need):
        rows = shown_rows(need)
        own = [self.kinds[row] for row in need.history]
        taste = np.array([own.count(self.kinds[row]) / len(own) for row in rows])
        return np.stack([taste, self.popular_N[rows]], axis=1)

    def best(self, need):
        return [shown_rows(need)[place] for place in np.argsort(-self.features(need) @ self.weights, kind="stable")]

    def sample(self, need, rng):
        """A list, and the gradient of its log-probability (Plackett and Luce)."""
        of = self.features(need)
        order = np.argsort(-(of @ self.weights) - rng.gumbel(size=len(of)))
        gradient = np.zeros(2)
        for place in range(len(order) - 1):
            left = of[order[place:]]
            chance = np.exp(left @ self.weights - (left @ self.weights).max())
            gradient += left[0] - chance @ left / chance.sum()
        return [shown_rows(need)[place] for place in order], gradient


def trained(world, weight, seed):
    """GRPO's advantages and a plain step, through the environment's own step."""
    rewards = [(MeasureReward(measure="nDCG@5"), 1.0), (LIFT, weight)]
    env = Environment(world, BM25(world.catalog), rewards, 10)
    policy, rng, needs = Linear(world), np.random.default_rng(seed), world.needs("test")
    for _ in range(STEPS):
        batch = [needs[place] for place in rng.choice(len(needs), BATCH, replace=False) for _ in range(GROUP)]
        drawn = [policy.sample(need, rng) for need in batch]
        texts = [env.format.write_for(need, rows) for need, (rows, _) in zip(batch, drawn, strict=True)]
        chats = [chat_with(prompt, text) for prompt, text in zip(env.prompts(batch), texts, strict=True)]
        paid = env.step(batch, chats).rewards.astype(np.float64).reshape(BATCH, GROUP)
        advantages = ((paid - paid.mean(1, keepdims=True)) / (paid.std(1, keepdims=True) + 1e-4)).reshape(-1)
        policy.weights += RATE * np.mean([a * g for a, (_, g) in zip(advantages, drawn, strict=True)], axis=0)
    return policy


def audited(world, policy):
    """nDCG and lift of the best lists of these weights, for other people in another shop."""
    other = Linear(world)
    other.weights = policy.weights
    env, needs = Environment(world, BM25(world.catalog), (), 10), world.needs("test")
    texts = [env.format.write_for(need, other.best(need)) for need in needs]
    chats = [chat_with(prompt, text) for prompt, text in zip(env.prompts(needs), texts, strict=True)]
    batch = env.step(needs, chats).batch
    return float(parse_measure("nDCG@5").of(batch.graded).mean()), float(LIFT.of(batch).mean())


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))])
def test_a_penalty_lowers_the_lift_by_a_third_and_hardly_the_relevance(seed):
    world, others = World(seed, popular=True), World(seed + 100, popular=True)
    (plain_ndcg, plain_lift), (ndcg, lift) = (audited(others, trained(world, weight, seed)) for weight in (0.0, 0.5))
    assert plain_lift > 0.03
    assert lift <= 0.7 * plain_lift and ndcg >= 0.95 * plain_ndcg
