"""Pseudo-relevance feedback: words of the first items that the need finds are added to it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from recr1.baselines.access import RETRIES, Visible
from recr1.baselines.without_model import OneQuery
from recr1.env import Environment
from retrievers.analyzer import folded
from retrievers.base import Catalog, Floats, Rows
from retrievers.options import PositiveInt, Share, checked

COMMON = 0.1
"""Words in a larger share of the items than this are not added: they are not specific to the first items."""


@checked
class RM3(OneQuery):
    """RM3 on any retriever whose queries are words: it reads the text of what the raw need finds.

    A word's weight is its share of the texts of the first items, each item weighted by its score (Lavrenko and Croft
    2001), mixed with its share of the need (RM3: Abdul-Jaleel et al. 2004). A query has no weights, so each word is
    repeated as often as its weight says; an engine that counts a repeated word once ignores that.

    Args:
        items: how many items of the first search are read.
        terms: how many of their words are added, at most.
        weight: the share of the need in the mix; 1 adds nothing.
        words: the length of the query, approximately.
    """

    sees: tuple[Visible, ...] = ("catalog", "hits")

    def __init__(
        self, *, items: PositiveInt = 10, terms: PositiveInt = 10, weight: Share = 0.5, words: PositiveInt = 40
    ) -> None:
        self.items, self.terms, self.weight, self.words = items, terms, weight, words

    def prepare(self, env: Environment) -> None:
        """Count in how many items each word appears."""
        self._env, self._common = env, _common_words(env.task.catalog)

    def _queries(self, prompts: Sequence[str]) -> list[str]:
        hits = self._env.search(prompts, again=RETRIES)
        return list(map(self._expanded, prompts, hits.rows_QK[:, : self.items], hits.scores_QK[:, : self.items]))

    def _expanded(self, need: str, rows_K: Rows, scores_K: Floats) -> str:
        own = words_of(need)
        learned = self._learned(rows_K[rows_K >= 0], scores_K[rows_K >= 0])
        if not own or not learned:
            return need
        weights = {word: self.weight * count / len(own) for word, count in Counter(own).items()}
        for word, share in learned.items():
            weights[word] = weights.get(word, 0.0) + (1 - self.weight) * share
        # Every word of the need stays, whatever its weight.
        counts = {word: max(round(weight * self.words), int(word in own)) for word, weight in weights.items()}
        return " ".join(word for word, count in counts.items() for _ in range(count))

    def _learned(self, rows_K: Rows, scores_K: Floats) -> dict[str, float]:
        """The words of the items, with weights that add up to 1; equals in the order of the items."""
        texts = self._env.task.catalog.texts
        weights_K = scores_K.astype(np.float64)
        if (weights_K <= 0).any():
            weights_K = np.ones(len(weights_K))  # such scores cannot be shares: all items count alike
        total: dict[str, float] = {}
        for row, share in zip(rows_K, (weights_K / weights_K.sum()).tolist(), strict=True):
            counts = Counter(words_of(texts[row]))
            for word, count in counts.items():
                total[word] = total.get(word, 0.0) + share * count / counts.total()
        kept = sorted((word for word in total if word not in self._common), key=lambda word: -total[word])[: self.terms]
        mass = sum(total[word] for word in kept)
        return {word: total[word] / mass for word in kept}


def words_of(text: str) -> list[str]:
    """The words of a text in lower case."""
    return re.findall(r"\w+", folded(text))


def _common_words(catalog: Catalog) -> frozenset[str]:
    holding = Counter(word for text in catalog.texts for word in set(words_of(text)))
    # In a small catalog every word would be common.
    return frozenset(word for word, count in holding.items() if count > max(COMMON * len(catalog), 10))
