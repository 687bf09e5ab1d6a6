"""What measures and rewards read of a catalog's fields: numbers, labels, popularity. Each is read once per catalog."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import wraps
from operator import index
from typing import Any, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from retrievers.analyzer import Analyzer
from retrievers.base import Catalog
from retrievers.errors import shown
from rewards.base import Doubles

POPULARITY = "popularity"
"""The field that says how popular items are, unless another one is named."""

Read = TypeVar("Read")


class Labels(NamedTuple):
    """The labels of each item, by number (an item may have none or several), and how many different ones there are."""

    of_N: Sequence[tuple[int, ...]]
    different: int


def _once(read: Callable[[Catalog, str], Read]) -> Callable[[Catalog | None, str, str], Read]:
    """Keep what was read until the catalog is deleted; refuse a batch without a catalog."""
    kept: WeakKeyDictionary[Catalog, dict[str, Read]] = WeakKeyDictionary()

    @wraps(read)
    def read_once(catalog: Catalog | None, field: str, owner: str) -> Read:
        if catalog is None:
            raise ValueError(f"{owner} reads the catalog's field {field!r}, and these rankings come without a catalog")
        if field not in catalog.fields:
            known = ", ".join(sorted(catalog.fields)) or "none"
            raise ValueError(f"{owner} reads the catalog's field {field!r}, which does not exist (fields: {known})")
        of_catalog = kept.setdefault(catalog, {})
        if field not in of_catalog:
            of_catalog[field] = read(catalog, field)
        return of_catalog[field]

    return read_once


@_once
def numbers(catalog: Catalog, field: str) -> Doubles:
    """(N,) a field as numbers: NaN where an item has none (an empty value), 1 and 0 for true and false.

    Raises `ValueError` for a value that is not a finite number, with the item that has it.
    """
    values = zip(catalog.fields[field], catalog.ids, strict=True)
    return np.array([_number(value, field, item) for value, item in values])


@_once
def labels(catalog: Catalog, field: str) -> Labels:
    """The labels of a field: each different value is one, a list of values several, an empty value none."""
    numbered: dict[str, int] = {}
    of_N = []
    for value in catalog.fields[field]:
        values = value if isinstance(value, list | tuple) else [value]
        there = [one for one in values if one is not None and one == one]  # noqa: PLR0124 - NaN
        names = dict.fromkeys(" ".join(str(one).split()) for one in there)
        of_N.append(tuple(numbered.setdefault(one, len(numbered)) for one in names if one))
    return Labels(of_N, len(numbered))


@_once
def phrases(catalog: Catalog, field: str) -> frozenset[tuple[str, ...]]:
    """The different values of a field, each as its words in lower case; those without a word are left out."""
    return frozenset(words for value in set(catalog.column(field)) if (words := tuple(Analyzer().words(value))))


@_once
def percentiles(catalog: Catalog, field: str) -> Doubles:
    """(N,) the share of the catalog that is strictly less popular, from 0 to below 1; without a number, 0.

    Ranks, not counts: counts of sales or clicks are so skewed that a mean is that of one best seller.
    """
    return _percentiles(np.nan_to_num(numbers(catalog, field, "popularity"), nan=-np.inf))


_OF_INTERACTIONS: WeakKeyDictionary[Catalog, Doubles] = WeakKeyDictionary()


def popularity(catalog: Catalog | None, field: str, owner: str) -> Doubles:
    """(N,) the `percentiles` of a field; those of the interactions for `popularity`, if the catalog has no such field.

    Interactions are events, each a user and a catalog row, then anything else (time, weight): a sequence of tuples, or
    an array of two columns or more, or with a field `row`. Raises `ValueError` where the catalog has neither, or they
    are something else.
    """
    if catalog is None or field != POPULARITY or field in catalog.fields or catalog.interactions is None:
        return percentiles(catalog, field, owner)
    if catalog not in _OF_INTERACTIONS:
        _OF_INTERACTIONS[catalog] = _percentiles(events_of(catalog, owner))
    return _OF_INTERACTIONS[catalog]


def events_of(catalog: Catalog, owner: str) -> NDArray[np.int64]:
    """(N,) how many events each item has in the catalog's interactions.

    Raises `ValueError` in the name of `owner` where they are not pairs, or a row is not in the catalog.
    """
    events: Any = catalog.interactions
    try:
        rows: Any
        if isinstance(events, np.ndarray):
            rows = events["row"] if "row" in (events.dtype.names or ()) else events[:, 1]
        else:
            rows = [event[1] for event in events]
        whole = isinstance(rows, np.ndarray) and rows.dtype.kind in "iu"
        rows_E = np.asarray(rows if whole else [index(row) for row in rows], np.int64)
    except (TypeError, IndexError) as error:
        raise ValueError(f"{owner} counts the catalog's interactions, which must be pairs of user and row") from error
    beyond = rows_E[(rows_E < 0) | (rows_E >= len(catalog))]
    if len(beyond):
        raise ValueError(
            f"{owner} counts the catalog's interactions, and one has row {beyond[0]} of {len(catalog)} items"
        )
    counts_N: NDArray[np.int64] = np.bincount(rows_E, minlength=len(catalog))
    return counts_N


def _percentiles(counts_N: NDArray[Any]) -> Doubles:
    return np.searchsorted(np.sort(counts_N), counts_N, side="left") / len(counts_N)


@_once
def mean_above_zero(catalog: Catalog, field: str) -> float:
    """The mean of a field's numbers above 0; raises `ValueError` where there is none."""
    values_N = numbers(catalog, field, "a mean")
    above = values_N[values_N > 0]
    if not len(above):
        raise ValueError(f"no item has a number above 0 in the catalog's field {field!r}")
    return float(above.mean())


def _number(value: Any, field: str, item: str) -> float:
    if value is None or (isinstance(value, str) and not value.strip()):
        return math.nan
    try:
        number = float({"true": 1, "false": 0}.get(value.strip().lower(), value) if isinstance(value, str) else value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"field {field!r} of item {shown(item)} is {shown(value)}: it must be a number, or empty")
    return number
