"""Measures of which items are shown: popular ones, or all alike.

Popularity is read from a catalog field such as sales, or counted in interactions of users. Gini and Coverage are
measures of all needs together, not means over needs, so they have no interval and no test; an evaluation reports them
beside the others, with the cutoff of its first measure.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from retrievers.base import Catalog, Rows
from rewards.abilities import check_cutoff
from rewards.base import Doubles, Graded, Qrels
from rewards.fields import POPULARITY, popularity
from rewards.measures.base import FieldName, InnerShare, Measure, share


@dataclass(frozen=True)
class Popular(Measure):
    """A measure that reads how popular items are from a field of the catalog, or counts its interactions."""

    field: FieldName = POPULARITY

    def check_data(self, catalog: Catalog, qrels: Mapping[str, Qrels]) -> None:
        """Raises `ValueError` where the catalog has no such field, or one that does not hold numbers."""
        popularity(catalog, self.field, self.name)

    def _mean(self, value_N: Doubles, graded: Graded) -> Doubles:
        """(B,) the mean over the items in the first k places; 0 where there is none."""
        there_BK = graded.rows_BK >= 0
        shown_B = np.where(there_BK, value_N[graded.rows_BK], 0.0).sum(axis=1)
        return share(shown_B, np.count_nonzero(there_BK, axis=1))


@dataclass(frozen=True)
class Popularity(Popular):
    """How popular the items in the first k places are: the mean of the share of the catalog that is less popular.

    Neither low nor high is better: compare it with the floor's. An item without a number is the least popular. In a
    catalog with interactions and no field `popularity`, an item is as popular as it has events.

    Formula: mean over the items in the first k places of (items that are less popular / items of the catalog)
    Elsewhere: average recommendation popularity (Yin et al., VLDB 2012), by ranks instead of counts
    """

    symbol: ClassVar[str] = "Popularity"

    def _score(self, graded: Graded) -> Doubles:
        return self._mean(popularity(graded.catalog, self.field, self.name), graded)


@dataclass(frozen=True)
class Tail(Popular):
    """Share of the items in the first k places that are in the long tail, whether relevant or not.

    The tail is all items except the `head`, the share of the catalog that is most popular; items as popular as one in
    the tail are in the tail.

    Formula: items in the first k places that are not in the head / items in the first k places
    Elsewhere: average percentage of long tail items (Abdollahpouri et al., RecSys 2017)
    """

    symbol: ClassVar[str] = "Tail"

    head: InnerShare = 0.2

    def _score(self, graded: Graded) -> Doubles:
        tail_N = popularity(graded.catalog, self.field, self.name) < 1 - self.head
        return self._mean(tail_N.astype(np.float64), graded)


@dataclass(frozen=True)
class CorpusMeasure(ABC):
    """One number from 0 to 1 for the rankings of many needs. `name` is its identity, such as Gini@10."""

    cutoff: int

    symbol: ClassVar[str]

    @property
    def name(self) -> str:
        """Symbol and cutoff."""
        return f"{self.symbol}@{self.cutoff}"

    def __call__(self, rows_BK: Rows, items: int) -> float:
        """The number; `items` is the size of the catalog. Raises `ValueError` where K is below the cutoff."""
        check_cutoff(self.name, self.cutoff, rows_BK.shape[1])
        top_BK = rows_BK[:, : self.cutoff]
        return float(self._score(np.bincount(top_BK[top_BK >= 0], minlength=items)))

    @abstractmethod
    def _score(self, shown_N: NDArray[np.int64]) -> float:
        """The number, from how often each item of the catalog is in the first k places."""


class Gini(CorpusMeasure):
    """The Gini coefficient of exposure: 0 where every item of the catalog is shown as often, towards 1 where few are.

    With x_1 <= ... <= x_n, how often each of the n items of the catalog is in the first k places of a need:
    sum over i of (2 i - n - 1) x_i, divided by n times the sum of x. 0 where nothing was found.
    """

    symbol = "Gini"

    def _score(self, shown_N: NDArray[np.int64]) -> float:
        items, total = len(shown_N), int(shown_N.sum())
        weight_N = 2 * np.arange(1, items + 1) - items - 1
        return float(weight_N @ np.sort(shown_N) / (items * total)) if total else 0.0


class Coverage(CorpusMeasure):
    """The share of the catalog's items that are in the first k places of any need (catalog coverage)."""

    symbol = "Coverage"

    def _score(self, shown_N: NDArray[np.int64]) -> float:
        return np.count_nonzero(shown_N) / len(shown_N)


CORPUS_MEASURES: Mapping[str, type[CorpusMeasure]] = {kind.symbol: kind for kind in (Gini, Coverage)}
"""Measures of all needs together, by their symbol."""
