"""A pay for queries without phrases that a team does not want to see."""

from __future__ import annotations

import numpy as np

from retrievers.base import Floats
from rewards.base import Batch, Invalid, Rollout
from rewards.guards.words import says, text_of, words_of


class PhrasesReward:
    """-1 for a query in which one of the phrases stands, else 0.

    The words of a phrase must stand together, in its order; case and punctuation are of no account, and "best" is not
    in "bestseller". An Invalid rollout earns -1, the least. The name holds the phrases: "phrases(best price,cheap)".

    Args:
        phrases: What is not wanted.

    Raises:
        ValueError: For an empty list, and a phrase without a word.
    """

    def __init__(self, *, phrases: list[str]) -> None:
        if not phrases:
            raise ValueError("phrases: is empty; name at least one that queries are not to hold")
        for phrase in phrases:
            if not words_of(phrase):
                raise ValueError(f"phrases: {phrase!r} holds no word, and words are what is looked for")
        self._phrases = [words_of(phrase) for phrase in phrases]
        self.name = f"phrases({','.join(' '.join(words) for words in self._phrases)})"

    def __call__(self, batch: Batch) -> Floats:
        """(B,) of 0 and -1."""
        return np.fromiter((-float(self._unwanted(rollout)) for rollout in batch.rollouts), np.float32, len(batch))

    def _unwanted(self, rollout: Rollout) -> bool:
        words = words_of(text_of(rollout) or "")
        return isinstance(rollout.action, Invalid) or any(says(words, phrase) for phrase in self._phrases)
