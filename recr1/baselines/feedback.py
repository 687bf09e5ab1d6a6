"""Pseudo-relevance feedback: words of the first items found are added to the need, and it is searched again."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from recr1.baselines.access import AGAIN, Access, Sight
from recr1.baselines.echo import Verbatim
from recr1.errors import UserError
from retrievers.base import Catalog, Floats, Rows
from rewards.base import Chat

COMMON = 0.1
"""Words in a larger share of the items than this say nothing about the first ones, and are not added."""


class Feedback:
    """RM3 on any retriever that is asked with words: it reads the text of what the raw need finds.

    A word's weight is its share of the texts of the first items, each item weighted by its score (Lavrenko and Croft
    2001), mixed with its share of the need (RM3: Abdul-Jaleel et al. 2004). A query has no weights, so that each word
    stands in it as often as its weight says; an engine that counts a repeated word once ignores that.

    Args:
        items: how many items of the first search are read.
        terms: how many of their words are added, at most.
        weight: the share of the need in the mix; 1 adds nothing.
        words: how long the query becomes, about.
    """

    format = Verbatim()
    sees: tuple[Sight, ...] = ("catalog", "hits")

    def __init__(self, *, items: int = 10, terms: int = 10, weight: float = 0.5, words: int = 40) -> None:
        given = {"items": items, "terms": terms, "weight": weight, "words": words}
        if problems := self.check_options(given):
            raise UserError(problems[0])
        self.items, self.terms, self.weight, self.words = items, terms, weight, words
        self._access: Access | None = None
        self._common: frozenset[str] = frozenset()

    @staticmethod
    def check_options(options: Mapping[str, Any]) -> list[str]:
        """Problems that show before anything is loaded."""
        problems = [
            f"{name}: must be at least 1, got {options[name]}"
            for name in ("items", "terms", "words")
            if options.get(name, 1) < 1
        ]
        if not 0 <= options.get("weight", 0.5) <= 1:
            problems.append(f"weight: must be a share from 0 to 1, got {options['weight']}")
        return problems

    def meet(self, access: Access) -> None:
        """Counts in how many items each word stands."""
        self._access, self._common = access, _common_words(access.task.catalog)

    def generate(self, chats: Sequence[Chat], n: int) -> list[list[str]]:
        """The same query every time: `max(n, 1)` copies a chat. One search for all chats."""
        assert self._access is not None
        needs = [chat[-1]["content"] for chat in chats]
        hits = self._access.search(needs, again=AGAIN)
        found = zip(needs, hits.rows_QK[:, : self.items], hits.scores_QK[:, : self.items], strict=True)
        return [[self._expanded(need, rows_K, scores_K)] * max(n, 1) for need, rows_K, scores_K in found]

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
        """The words of the items, with weights that add up to 1; the first of equals in the order of the items."""
        assert self._access is not None
        texts = self._access.task.catalog.texts
        total: dict[str, float] = {}
        for row, share in zip(rows_K, _shares(scores_K), strict=True):
            counts = Counter(words_of(texts[row]))
            for word, count in counts.items():
                total[word] = total.get(word, 0.0) + share * count / counts.total()
        kept = sorted((word for word in total if word not in self._common), key=lambda word: -total[word])[: self.terms]
        mass = sum(total[word] for word in kept)
        return {word: total[word] / mass for word in kept}


def words_of(text: str) -> list[str]:
    """The words of a text in lower case."""
    return re.findall(r"\w+", text.lower())


def _shares(scores_K: Floats) -> list[float]:
    """Scores as shares of 1; equal ones where some are not above 0, which no share can be made of."""
    scores = scores_K.astype(np.float64)
    if (scores <= 0).any():
        scores = np.ones(len(scores))
    return [float(share) for share in scores / scores.sum()]


def _common_words(catalog: Catalog) -> frozenset[str]:
    holding = Counter(word for text in catalog.texts for word in set(words_of(text)))
    # In a handful of items every word is common.
    return frozenset(word for word, count in holding.items() if count > max(COMMON * len(catalog), 10))
