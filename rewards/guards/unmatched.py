"""A pay for words that the catalog knows."""

from __future__ import annotations

from typing import Any

import numpy as np

from retrievers.analyzer import Analyzer
from retrievers.base import Catalog, Floats
from retrievers.vocabulary import vocabulary
from rewards.base import Batch, Invalid
from rewards.guards.words import text_of, words_of


class UnmatchedReward:
    """Minus the share of a query's words that no item of the catalog holds, in its text or in a field.

    For engines that look words up; one that compares meanings needs no word of the catalog. From -1 to 0; a query
    without words earns 0, an Invalid rollout -1, the least. The name is "unmatched", or "unmatched(english)".

    Args:
        stemmer: The Snowball language by which the engine stems, so that "shoes" is known where "shoe" is; or None.

    Raises:
        ValueError: For a stemmer that does not exist.
    """

    def __init__(self, *, stemmer: str | None = None) -> None:
        problems = self.check_options({"stemmer": stemmer})
        if problems:
            raise ValueError(problems[0])
        self.stemmer = stemmer
        self.name = f"unmatched({stemmer})" if stemmer else "unmatched"

    @staticmethod
    def check_options(options: dict[str, Any]) -> list[str]:
        """What is wrong with the stemmer."""
        return Analyzer.check_options({"stemmer": options.get("stemmer")})

    def __call__(self, batch: Batch) -> Floats:
        """(B,) from -1 to 0; raises `ValueError` for a batch without a catalog."""
        if batch.catalog is None:
            raise ValueError(f"{self.name} looks words up in the catalog, and this batch has none: set catalog")
        shares_B = np.empty(len(batch), np.float32)
        for row, rollout in enumerate(batch.rollouts):
            unknown, words = unknown_words(text_of(rollout) or "", batch.catalog, self.stemmer)
            shares_B[row] = -1 if isinstance(rollout.action, Invalid) else -unknown / max(words, 1)
        return shares_B


def unknown_words(text: str, catalog: Catalog, stemmer: str | None = None) -> tuple[int, int]:
    """How many words of a text no item holds, and how many words it has."""
    words, stem, known = words_of(text), Analyzer(stemmer=stemmer).stem, vocabulary(catalog, stemmer)
    return sum(stem(word) not in known for word in words), len(words)
