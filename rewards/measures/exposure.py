"""Measures of which items are shown: popular ones, or all alike.

Popularity is read from a catalog field such as sales, or counted in interactions of users. Gini and Coverage are
measures of all needs together, not means over needs, so they have no interval and no test; an evaluation reports them
beside the others, with the cutoff of its first measure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Protocol

import numpy as np

from retrievers.base import Catalog, Rows
from rewards.abilities import check_cutoff
from rewards.base import Doubles, Graded, Qrels
from rewards.fields import POPULARITY, popularity
from rewards.measures.base import FieldMeasure, as_number, share


@dataclass(frozen=True)
class Popular(FieldMeasure):
    """A measure that reads how popular items are from a field of the catalog, or counts its interactions."""

    field: str = POPULARITY

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

    head: float = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        as_number(self, "head", 0, 1, ends=False)

    def _score(self, graded: Graded) -> Doubles:
        tail_N = popularity(graded.catalog, self.field, self.name) < 1 - self.head
        return self._mean(tail_N.astype(np.float64), graded)


class CorpusMeasure(Protocol):
    """One number from 0 to 1 for the rankings of many needs. `name` is its identity, such as Gini@10."""

    cutoff: int

    @property
    def name(self) -> str:
        """Symbol and cutoff."""
        ...

    def __call__(self, rows_BK: Rows, items: int) -> float:
        """The number; `items` is the size of the catalog. Raises `ValueError` where K is below the cutoff."""
        ...


class Gini(NamedTuple):
    """The Gini coefficient of exposure: 0 where every item of the catalog is shown as often, towards 1 where few are.

    With x_1 <= ... <= x_n, how often each of the n items of the catalog is in the first k places of a need:
    sum over i of (2 i - n - 1) x_i, divided by n times the sum of x. 0 where nothing was found.
    """

    cutoff: int

    @property
    def name(self) -> str:
        """Gini@k."""
        return f"Gini@{self.cutoff}"

    def __call__(self, rows_BK: Rows, items: int) -> float:
        """The coefficient; low is even."""
        shown_N = np.sort(_shown(rows_BK, items, self.cutoff, self.name))
        total = int(shown_N.sum())
        weight_N = 2 * np.arange(1, items + 1) - items - 1
        return float(weight_N @ shown_N / (items * total)) if total else 0.0


class Coverage(NamedTuple):
    """The share of the catalog's items that are in the first k places of any need (catalog coverage)."""

    cutoff: int

    @property
    def name(self) -> str:
        """Coverage@k."""
        return f"Coverage@{self.cutoff}"

    def __call__(self, rows_BK: Rows, items: int) -> float:
        """The share; at most needs times k divided by items."""
        return float(np.count_nonzero(_shown(rows_BK, items, self.cutoff, self.name)) / items)


CORPUS_MEASURES: Mapping[str, type[Gini] | type[Coverage]] = {"Gini": Gini, "Coverage": Coverage}
"""Measures of all needs together, by their symbol."""


def _shown(rows_BK: Rows, items: int, cutoff: int, name: str) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    check_cutoff(name, cutoff, rows_BK.shape[1])
    top_BK = rows_BK[:, :cutoff]
    return np.bincount(top_BK[top_BK >= 0], minlength=items).astype(np.int64)
