"""Rewards that compare a query with the catalog: words that it does not have, and ids or titles that were copied."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from retrievers.analyzer import Analyzer, vocabulary
from retrievers.base import Catalog, Floats, Rows
from retrievers.options import PositiveInt, checked
from rewards.base import Batch, Invalid, Qrels
from rewards.fields import phrases
from rewards.guards.words import says, text_of, words_of

FIRST = 10
"""Hits whose titles are searched for: a query that copies a title finds that item among the first."""


@checked
class UnmatchedReward:
    """Minus the share of a query's words that no item of the catalog holds, in its text or in a field.

    For lexical engines; one that compares meanings needs no word of the catalog. From -1 to 0; a query without words
    earns 0, an Invalid rollout -1, the least. The name is "unmatched", or "unmatched(english)".

    Args:
        stemmer: The Snowball language by which the engine stems, so that "shoes" is known where "shoe" is; or None.
    """

    def __init__(self, *, stemmer: str | None = None) -> None:
        self.stemmer = stemmer
        self.name = f"unmatched({stemmer})" if stemmer else "unmatched"

    @staticmethod
    def check_options(options: dict[str, Any]) -> list[str]:
        """What is wrong with the stemmer."""
        return Analyzer.check_options({"stemmer": options.get("stemmer")})

    def __call__(self, batch: Batch) -> Floats:
        """(B,) from -1 to 0; raises `ValueError` for a batch without a catalog."""
        catalog = _catalog_of(batch, self.name)
        shares_B = np.empty(len(batch), np.float32)
        for row, rollout in enumerate(batch.rollouts):
            unknown, words = unknown_words(text_of(rollout) or "", catalog, self.stemmer)
            shares_B[row] = -1 if isinstance(rollout.action, Invalid) else -unknown / max(words, 1)
        return shares_B


def unknown_words(text: str, catalog: Catalog, stemmer: str | None = None) -> tuple[int, int]:
    """How many words of a text no item holds, and how many words it has."""
    words, stem, known = words_of(text), Analyzer(stemmer=stemmer).stem, vocabulary(catalog, stemmer)
    return sum(stem(word) not in known for word in words), len(words)


@checked
class CopiedReward:
    """-1 for a query that holds the id of an item, or the whole title of one of the first ten hits; else 0.

    A policy that was trained on leaked data may know ids and titles by heart. Ids are those of the whole catalog,
    between blanks; a title is a run of words, case and punctuation ignored. An Invalid rollout earns -1, the least.

    The name is "copied", with the options that are not the defaults.

    Args:
        field: The field with the titles; None takes "title" if the catalog has it, else the items' texts.
        title_words: Titles of fewer words are ignored: a shopper may mean them.
        id_characters: Ids of fewer characters are ignored: 2024 may be a year.
    """

    def __init__(
        self, *, field: str | None = None, title_words: PositiveInt = 4, id_characters: PositiveInt = 6
    ) -> None:
        self.field, self.title_words, self.id_characters = field, title_words, id_characters
        usual = (("field", field, None), ("title_words", title_words, 4), ("id_characters", id_characters, 6))
        others = ",".join(f"{name}={value}" for name, value, plain in usual if value != plain)
        self.name = f"copied({others})" if others else "copied"

    def check_data(self, catalog: Catalog, qrels: Mapping[str, Qrels]) -> None:
        """Raises `ValueError` where the catalog has no such field."""
        self._titles(catalog)

    def __call__(self, batch: Batch) -> Floats:
        """(B,) of 0 and -1; raises `ValueError` for a batch without a catalog, and a field that it does not have."""
        return -self.found(batch, _catalog_of(batch, self.name)).astype(np.float32)

    def found(self, batch: Batch, catalog: Catalog) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """(B,) where an id or a title was copied, or the rollout is Invalid."""
        titles = self._titles(catalog)
        copied_B = np.empty(len(batch), np.bool_)
        for row, rollout in enumerate(batch.rollouts):
            text, rows_K = text_of(rollout) or "", batch.hits.rows_QK[row, :FIRST]
            copied = self._has_id(text, catalog) or self._has_title(text, rows_K, titles)
            copied_B[row] = copied or isinstance(rollout.action, Invalid)
        return copied_B

    def _titles(self, catalog: Catalog) -> Sequence[object]:
        field = self.field or ("title" if "title" in catalog.fields else "texts")
        return catalog.fields[field] if field in catalog.fields else catalog.column(field)

    def _has_id(self, text: str, catalog: Catalog) -> bool:
        tokens = (token.strip(".,;:!?\"'()[]") for token in text.split())
        return any(len(token) >= self.id_characters and token in catalog for token in tokens)

    def _has_title(self, text: str, rows_K: Rows, titles: Sequence[object]) -> bool:
        words = words_of(text)
        if len(words) < self.title_words:
            return False
        found = (_title_words(str(titles[row])) for row in rows_K.tolist() if row >= 0 and titles[row] is not None)
        return any(len(title) >= self.title_words and says(words, title) for title in found)


@checked
class FactsReward:
    """-1 for a text with a number or a brand that its source lacks; else 0.

    The source is the first line of the need's text: in the task `augment`, an item's own text, without those of its
    neighbours. A number is a word with a digit; a brand is a value of a field of the catalog, as a run of words. Case
    and punctuation are ignored. An Invalid rollout earns -1, the least.

    The name is "facts", with the field if it is not `brand`.

    Args:
        field: The field with the brands; null looks at numbers alone.
    """

    def __init__(self, *, field: str | None = "brand") -> None:
        self.field = field
        self.name = "facts" if field == "brand" else f"facts(field={field})"

    def check_data(self, catalog: Catalog, qrels: Mapping[str, Qrels]) -> None:
        """Raises `ValueError` where the catalog has no such field."""
        if self.field:
            phrases(catalog, self.field, self.name)

    def __call__(self, batch: Batch) -> Floats:
        """(B,) of 0 and -1; raises `ValueError` for a batch without a catalog, and a field that it does not have."""
        brands = phrases(_catalog_of(batch, self.name), self.field, self.name) if self.field else frozenset()
        paid_B = np.zeros(len(batch), np.float32)
        for row, rollout in enumerate(batch.rollouts):
            words, source = words_of(text_of(rollout) or ""), words_of(rollout.need.text.partition("\n")[0])
            invented = any(set(word) & set("0123456789") and word not in source for word in words)
            runs = (words[at : at + size] for size in {len(one) for one in brands} for at in range(len(words)))
            invented = invented or any(tuple(run) in brands and not says(source, run) for run in runs)
            paid_B[row] = -(invented or isinstance(rollout.action, Invalid))
        return paid_B


@lru_cache(maxsize=2**14)
def _title_words(title: str) -> tuple[str, ...]:
    """Kept, because a policy finds the same items again and again."""
    return tuple(words_of(title))


def _catalog_of(batch: Batch, name: str) -> Catalog:
    if batch.catalog is None:
        raise ValueError(f"{name} reads the catalog, and this batch has none: set catalog")
    return batch.catalog
