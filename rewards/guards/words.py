"""The words of a query, read in the same way by all guards, and the rewards that look at these words alone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated

import numpy as np
from annotated_types import MinLen

from retrievers.analyzer import Analyzer
from retrievers.base import Floats
from retrievers.errors import shown
from retrievers.options import PositiveInt, checked
from rewards.base import Answer, Batch, Invalid, Rollout, Search

_ANALYZER = Analyzer()


def text_of(rollout: Rollout) -> str | None:
    """The query of a rollout, or its answer in text; None if it has none, or one that is not text."""
    if isinstance(rollout.action, Answer):
        return rollout.action.text
    query = rollout.action.query if isinstance(rollout.action, Search) else None
    return query if isinstance(query, str) else None


def words_of(text: str) -> list[str]:
    """The words of a text in order, in lower case, split as the lexical retrievers split them."""
    return _ANALYZER.words(text)


def says(words: Sequence[str], phrase: Sequence[str]) -> bool:
    """Whether the words hold the phrase as consecutive words; never for an empty phrase."""
    if not phrase or phrase[0] not in words:
        return False
    wanted, size = tuple(phrase), len(phrase)
    return any(tuple(words[at : at + size]) == wanted for at in range(len(words) - size + 1))


def repeated_runs(text: str, length: int) -> tuple[int, int]:
    """How many of a text's runs of `length` consecutive words appeared in it before, and how many runs it has."""
    words = words_of(text)
    runs = [tuple(words[at : at + length]) for at in range(len(words) - length + 1)]
    return len(runs) - len(set(runs)), len(runs)


_SIGNS = re.compile(r"\b(?:AND|OR|NOT)\b|&&|\|\||(?<!\S)[-+!](?=\S)|[(\[{~^*]|\w:(?=\S)")


def operators_in(text: str) -> int:
    """How many operators of a search syntax a text holds.

    Counted are AND, OR and NOT in capital letters, `&&`, `||`, a `+`, `-` or `!` before a word, each opening bracket,
    `~`, `^` and `*`, a name with a colon before a word, and each pair of quotation marks. A hyphen within a word does
    not count.
    """
    return len(_SIGNS.findall(text)) + (text.count('"') + 1) // 2


@checked
class RepetitionReward:
    """Minus the share of a query's words that appeared in it before: -2/3 for "red red red".

    Without it, a policy that found one good word writes it up to the token limit. With `run=2`, the share of its pairs
    of consecutive words, so that a word may come back beside another one. From -1 to 0; a query that is not text earns
    0, an Invalid rollout -1, the least. The name is "repetition", or "repetition(2)".

    Args:
        run: How many consecutive words are compared.
    """

    def __init__(self, *, run: PositiveInt = 1) -> None:
        self.run = run
        self.name = "repetition" if run == 1 else f"repetition({run})"

    def __call__(self, batch: Batch) -> Floats:
        """(B,) from -1 to 0."""
        rewards_B = np.full(len(batch), -1, np.float32)
        for row, rollout in enumerate(batch.rollouts):
            if not isinstance(rollout.action, Invalid):
                repeated, runs = repeated_runs(text_of(rollout) or "", self.run)
                rewards_B[row] = -repeated / max(runs, 1)
        return rewards_B


@checked
class PhrasesReward:
    """-1 for a query that holds one of the phrases, else 0.

    The words of a phrase must be consecutive and in order; case and punctuation are ignored, and "best" is not in
    "bestseller". An Invalid rollout earns -1, the least. The name holds the phrases: "phrases(best price,cheap)".

    Args:
        phrases: What queries must not hold. Raises `ValueError` for one without a word.
    """

    def __init__(self, *, phrases: Annotated[list[str], MinLen(1)]) -> None:
        for phrase in phrases:
            if not words_of(phrase):
                raise ValueError(f"phrases: {shown(phrase)} has no word, and only words are searched for")
        self._phrases = [words_of(phrase) for phrase in phrases]
        self.name = f"phrases({','.join(' '.join(words) for words in self._phrases)})"

    def __call__(self, batch: Batch) -> Floats:
        """(B,) of 0 and -1."""
        return np.fromiter((-float(self._unwanted(rollout)) for rollout in batch.rollouts), np.float32, len(batch))

    def _unwanted(self, rollout: Rollout) -> bool:
        words = words_of(text_of(rollout) or "")
        return isinstance(rollout.action, Invalid) or any(says(words, phrase) for phrase in self._phrases)
