"""Measures of how popular what a ranking shows is: by a catalog field such as sales, or by interactions of users."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from retrievers.base import Catalog
from rewards.base import Graded, Qrels
from rewards.columns import POPULARITY, popularity
from rewards.measures.base import Doubles, Measure, as_number, share


@dataclass(frozen=True)
class Popular(Measure):
    """A measure that reads how popular items are from a field of the catalog, or counts its interactions."""

    field: str = POPULARITY

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.field, str) or not self.field:
            raise ValueError(f"{self.symbol}: field must be the name of a catalog field, not {self.field!r}")

    def check_data(self, catalog: Catalog, qrels: Mapping[str, Qrels]) -> None:
        """Raises `ValueError` where the catalog says nothing of it: no such field, or one that holds no numbers."""
        popularity(catalog, self.field, self.name)

    def _mean(self, value_N: Doubles, graded: Graded) -> Doubles:
        """(B,) the mean over the items in the first k places; 0 where there is none."""
        there_BK = graded.rows_BK >= 0
        shown_B = np.where(there_BK, value_N[graded.rows_BK], 0.0).sum(axis=1)
        return share(shown_B, np.count_nonzero(there_BK, axis=1))


@dataclass(frozen=True)
class Popularity(Popular):
    """How popular the items in the first k places are: the mean of the share of the catalog that is less popular.

    Low is not good and high is not bad: it is read beside the floor's. An item without a number is the least popular. A
    catalog with interactions and no field `popularity` is read by how many events each item has.

    Formula: mean over the items in the first k places of (items that are less popular / items of the catalog)
    Elsewhere: average recommendation popularity (Yin et al., VLDB 2012), by ranks in place of counts
    """

    symbol: ClassVar[str] = "Popularity"

    def _score(self, graded: Graded) -> Doubles:
        return self._mean(popularity(graded.catalog, self.field, self.name), graded)


@dataclass(frozen=True)
class Tail(Popular):
    """Share of the items in the first k places that are of the long tail, whether relevant or not.

    The tail are all items but the `head`, the share of the catalog that is most popular; items as popular as one of
    the tail are of the tail.

    Formula: items in the first k places that are not of the head / items in the first k places
    Elsewhere: average percentage of long tail items (Abdollahpouri et al., RecSys 2017)
    """

    symbol: ClassVar[str] = "Tail"

    head: float = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        as_number(self, "head", 0, 1, ends=False)

    def _score(self, graded: Graded) -> Doubles:
        tail_N = popularity(graded.catalog, self.field, self.name) < 1 - self.head
        return self._mean(tail_N.astype(np.float64), graded)
