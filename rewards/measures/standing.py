"""The measure of a new text of an item: how far up it puts the item for people who took it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from retrievers.base import Catalog
from rewards.base import Doubles, Graded, Qrels
from rewards.measures.answers import AnswerMeasure
from rewards.rewriting import check_held, replaced


@dataclass(frozen=True)
class Standing(AnswerMeasure):
    """How far up a new text puts its item for people who took it, all other texts unchanged: nDCG of that one item.

    Formula: mean over people who took the item of 1 / log2(rank + 1); 0 where it is not found
    Elsewhere: -
    """

    symbol: ClassVar[str] = "Standing"

    def check_data(self, catalog: Catalog, qrels: Mapping[str, Qrels]) -> None:
        """Raises `ValueError` where needs are not items."""
        check_held(self.name, qrels)

    def _score(self, graded: Graded) -> Doubles:
        return replaced(graded, self.name)[0]
