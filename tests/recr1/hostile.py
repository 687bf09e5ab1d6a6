"""Completions that a policy might write on a bad day, from a seeded generator: mutations of good answers, and noise."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator

from recr1.formats import REASONS
from rewards.base import Action, Invalid, Search

TAGS = ["<query>", "</query>", "<think>", "</think>", "<answer>", "</answer>"]
PIECES = [
    *TAGS, "<query", "query>", "</", "<QUERY>", "<query/>", "<answer >", "<|im_end|>", "{need}", "%s", "{}",
    "\x00", "\ud800", "\udfff", "\U0001f600", "\u202e", "\ufeff", "\u2028", "\u0301", "\u00e9", "\x1b[2J", "\r", "\n\n",
    "\t", '"', "'", "\\", "\\u", "\\ud83d", "\\ud83d\\ude00", "{", "}", "[", "]", ":", ",", "null", "NaN", "-Infinity",
    "1e999", "0" * 50, "9" * 5000, "[" * 5000, '{"a":' * 3000, '"query"', '"query": ', '{"query": "x"}', "```json",
    "a" * 1500, "x y " * 400, " " * 2000,
]  # fmt: skip
WORDS = ["red", "shoes", "for", "running", "laptop", "under", "500", "dollars", "na\u00efve", "\u9774", "AND", "NOT"]
VALUES = [None, 7, -1.5, True, [], {}, ["red"], {"query": "red"}, "", " ", "\x00", "\ud83d", "red shoes"]


def completions(rng: random.Random, count: int) -> Iterator[str]:
    """`count` completions: about one in ten untouched, the others damaged in one to six places, or noise."""
    for _ in range(count):
        text = _noise(rng) if rng.random() < 0.15 else _valid(rng)
        if rng.random() < 0.9:
            for _ in range(rng.randint(1, 6)):
                text = _damage(rng, text)
        yield text


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


def _noise(rng: random.Random) -> str:
    if rng.random() < 0.5:
        return "".join(rng.choices(PIECES, k=rng.randint(0, 12)))
    return "".join(chr(rng.randrange(0x110000)) for _ in range(rng.randint(0, 60)))


def _damage(rng: random.Random, text: str) -> str:
    start = rng.randint(0, len(text))
    end = min(len(text), start + rng.randint(0, 12))
    return rng.choice(
        [
            text[:start] + rng.choice(PIECES) + text[start:],
            text[:start] + rng.choice(PIECES) + text[end:],
            text[:start] + text[end:],
            text[:start],
            text[start:],
            text[:end] + text[start:],
            text.replace(rng.choice(TAGS), rng.choice([*TAGS, ""]), rng.choice([1, -1])),
            text.swapcase() if rng.random() < 0.2 else text[:start] + text[start:end][::-1] + text[end:],
        ]
    )
