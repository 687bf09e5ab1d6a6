"""Write queries with the shop's own words for what shoppers say: a policy without a model, in a file of your own."""

from __future__ import annotations

import random
from collections.abc import Sequence

from recr1.baselines.without_model import Verbatim
from recr1.testing import PolicyContract
from rewards.base import Chat


class Synonyms:
    """Replaces words of the need: by the first synonym in a greedy completion, by a random one in a sample.

    Args:
        words: A shopper's word -> the shop's words for it, best first.
        seed: Of samples.
    """

    format = Verbatim()  # the policy reads the need alone, and its completion is the query

    def __init__(self, *, words: dict[str, list[str]], seed: int = 0) -> None:
        self.words, self._random = words, random.Random(seed)

    def generate(self, chats: Sequence[Chat], n: int) -> list[list[str]]:
        """One greedy completion of each chat when n is 0, n samples otherwise."""
        return [[self._query(chat[-1]["content"], sample=n > 0) for _ in range(max(n, 1))] for chat in chats]

    def _query(self, need: str, *, sample: bool) -> str:
        known = [self.words.get(word.lower(), [word]) for word in need.split()]
        return " ".join(self._random.choice(words) if sample else words[0] for words in known)


class TestSynonyms(PolicyContract):
    def build(self) -> Synonyms:
        return Synonyms(words={"bag": ["backpack", "rucksack"], "music": ["speaker", "headphones"]})
