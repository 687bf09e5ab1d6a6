"""Completions that a policy might write on a bad day, from a seeded generator: mutations of good answers, and noise."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator

from recr1.formats import REASONS
from recr1.testing.tasks import hostile
from rewards.base import Action, Invalid, Search

WORDS = ["red", "shoes", "for", "running", "laptop", "under", "500", "dollars", "na\u00efve", "\u9774", "AND", "NOT"]
VALUES = [None, 7, -1.5, True, [], {}, ["red"], {"query": "red"}, "", " ", "\x00", "\ud83d", "red shoes"]


def completions(rng: random.Random, count: int) -> Iterator[str]:
    """`count` completions: about one in ten untouched, the others damaged in one to six places, or noise."""
    for _ in range(count):
        yield hostile(rng, _valid)


def assert_is_an_action(action: Action) -> None:
    """What holds for an action of a format with default options, whatever the completion was."""
    if isinstance(action, Invalid):
        assert action.reason in REASONS
        return
    assert isinstance(action, Search)
    assert isinstance(action.query, str)
    assert 1 <= len(action.query) <= 1000
    assert action.query == " ".join(action.query.split())
    action.query.encode()  # raises for a lone surrogate


def _valid(rng: random.Random) -> str:
    query = " ".join(rng.choices(WORDS, k=rng.randint(0, 8)))
    value = query if rng.random() < 0.8 else rng.choice(VALUES)
    object_ = {"query": value} | {
        rng.choice(["why", "Query", "n"]): rng.choice(VALUES) for _ in range(rng.randint(0, 2))
    }
    return rng.choice(
        [
            query,
            f"<query>{query}</query>",
            f"so: <query>\n{query}\n</query> done",
            f"<think>{query}</think>\n<answer>{json.dumps(object_, ensure_ascii=rng.random() < 0.5)}</answer>",
            f"{query}</think><answer>{json.dumps(object_)}</answer>",
            f"<think></think><answer>{json.dumps(rng.choice(VALUES))}</answer>",
            f'<think></think><answer>{{"query": "blue", {json.dumps(object_)[1:]}</answer>',
        ]
    )
