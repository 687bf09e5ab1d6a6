"""Measures of all needs together: how the places that a system has to give are spread over the catalog's items.

They are no mean over needs, so that they have no interval and are in no test; an evaluation reports them beside the
others, for the cutoff of its first measure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

import numpy as np

from retrievers.base import Rows
from rewards.abilities import check_cutoff


class CorpusMeasure(Protocol):
    """One number from 0 to 1 for the rankings of many needs. `name` is its identity, such as Gini@10."""

    cutoff: int

    @property
    def name(self) -> str:
        """Symbol and cutoff."""
        ...

    def __call__(self, rows_BK: Rows, items: int) -> float:
        """The number; `items` are all of the catalog. Raises `ValueError` where K is below the cutoff."""
        ...


class Gini(NamedTuple):
    """The Gini coefficient of exposure: 0 where every item of the catalog is shown as often, towards 1 where few are.

    With x_1 <= ... <= x_n, how often each of the n items of the catalog stands in the first k places of a need:
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
    """The share of the catalog's items that stand in the first k places of any need (catalog coverage)."""

    cutoff: int

    @property
    def name(self) -> str:
        """Coverage@k."""
        return f"Coverage@{self.cutoff}"

    def __call__(self, rows_BK: Rows, items: int) -> float:
        """The share; it can be no more than needs times k by items."""
        return float(np.count_nonzero(_shown(rows_BK, items, self.cutoff, self.name)) / items)


CORPUS_MEASURES: Mapping[str, type[Gini] | type[Coverage]] = {"Gini": Gini, "Coverage": Coverage}
"""Measures of all needs together, by their symbol."""


def _shown(rows_BK: Rows, items: int, cutoff: int, name: str) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    check_cutoff(name, cutoff, rows_BK.shape[1])
    top_BK = rows_BK[:, :cutoff]
    return np.bincount(top_BK[top_BK >= 0], minlength=items).astype(np.int64)
