"""A pay for queries that name no item by its id or its whole title: what a policy may learn by heart from a leak."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import numpy as np

from retrievers.base import Catalog, Floats, Rows
from rewards.base import Batch, Invalid, Qrels
from rewards.guards.words import says, text_of, words_of

FIRST = 10
"""Items of the hits whose titles are looked for: who copies a title has its item among the first."""


class CopiedReward:
    """-1 for a query that holds the id of an item, or the whole title of one of the first ten that it found; else 0.

    An id is looked for between blanks, among those of the whole catalog; a title is a run of words, its case and
    punctuation of no account. An Invalid rollout earns -1, the least.

    The name is "copied", with the options in it that are not the usual ones.

    Args:
        field: The field with the titles; None takes "title" where the catalog has it, and else the items' texts.
        title_words: Titles of fewer words are not looked for: a shopper may mean them.
        id_characters: Ids of fewer characters are not looked for: 2024 may be a year.

    Raises:
        ValueError: For a number below 1.
    """

    def __init__(self, *, field: str | None = None, title_words: int = 4, id_characters: int = 6) -> None:
        for option, value in {"title_words": title_words, "id_characters": id_characters}.items():
            if value < 1:
                raise ValueError(f"{option}: must be at least 1, got {value}")
        self.field, self.title_words, self.id_characters = field, title_words, id_characters
        usual = (("field", field, None), ("title_words", title_words, 4), ("id_characters", id_characters, 6))
        others = ",".join(f"{name}={value}" for name, value, plain in usual if value != plain)
        self.name = f"copied({others})" if others else "copied"

    def check_data(self, catalog: Catalog, qrels: Mapping[str, Qrels]) -> None:
        """Raises `ValueError` where the catalog has no such field."""
        self._titles(catalog)

    def __call__(self, batch: Batch) -> Floats:
        """(B,) of 0 and -1; raises `ValueError` for a batch without a catalog, and a field that it does not have."""
        if batch.catalog is None:
            raise ValueError(
                f"{self.name} looks for ids and titles of the catalog, and this batch has none: set catalog"
            )
        return -self.found(batch, batch.catalog).astype(np.float32)

    def found(self, batch: Batch, catalog: Catalog) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """(B,) where an id or a title was copied, or the rollout is Invalid."""
        titles = self._titles(catalog)
        copied_B = np.empty(len(batch), np.bool_)
        for row, rollout in enumerate(batch.rollouts):
            text = text_of(rollout)
            copied_B[row] = isinstance(rollout.action, Invalid) or (
                text is not None
                and (self._has_id(text, catalog) or self._has_title(text, batch.hits.rows_QK[row, :FIRST], titles))
            )
        return copied_B

    def _titles(self, catalog: Catalog) -> tuple[object, ...]:
        field = self.field or ("title" if "title" in catalog.fields else "texts")
        return catalog.fields[field] if field in catalog.fields else catalog.column(field)

    def _has_id(self, text: str, catalog: Catalog) -> bool:
        tokens = (token.strip(".,;:!?\"'()[]") for token in text.split())
        return any(len(token) >= self.id_characters and token in catalog for token in tokens)

    def _has_title(self, text: str, rows_K: Rows, titles: tuple[object, ...]) -> bool:
        words = words_of(text)
        if len(words) < self.title_words:
            return False
        found = (_title_words(str(titles[row])) for row in rows_K.tolist() if row >= 0 and titles[row] is not None)
        return any(len(title) >= self.title_words and says(words, title) for title in found)


@lru_cache(maxsize=2**14)
def _title_words(title: str) -> tuple[str, ...]:
    """Read once while a title is often found: a policy finds the same items again and again."""
    return tuple(words_of(title))
