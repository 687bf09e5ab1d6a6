"""Slices: groups of needs, such as long or short ones; the same in curves, comparisons and reports."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from recr1.errors import UserError
from recr1.tasks.base import Task, needs_of
from rewards.base import Need, Qrels
from rewards.fields import events_of

Bins: TypeAlias = Sequence[tuple[int, int | None]]
"""Ranges of integers in order, each from the end of the one before; both ends included, None is no upper end."""

WORDS: Bins = ((1, 2), (3, 5), (6, 10), (11, None))  # words of the need
RELEVANT: Bins = ((0, 0), (1, 1), (2, 5), (6, 20), (21, None))  # items that are relevant to it

CATEGORIES = ("category", "categories", "product_type", "product_class", "department", "kind", "genre")
"""Usual names of a category field, tried in this order if none is named; case is ignored."""
MOST = 12
"""The most categories that are shown, the largest; the rest are one slice."""
SMALLEST = 5
"""A slice of fewer needs is left out."""
LONGEST = 60
"""Characters of a category; a longer value is text."""
NONE, REST = "(none)", "(other)"


class Slice(NamedTuple):
    """Some of the needs; `rows` are their places in the list of needs."""

    by: str
    name: str
    rows: NDArray[np.intp]


def slices_of(task: Task, needs: Sequence[Need], category: str | None = None) -> list[Slice]:
    """The slices of some needs; a criterion that puts all needs into one slice is left out.

    They are by words of the need, by its family, by the number of relevant items, by `popularity_of`, and by the
    category field of the first item of the highest grade. Raises `UserError` for a category field that the catalog does
    not have.
    """
    qrels = [task.qrels[need.id] for need in needs]
    criteria = [by_length([need.text for need in needs]), by_relevant([key.positives for key in qrels])]
    if any(need.family for need in needs):
        criteria.append(("family", [need.family for need in needs]))
    if found := popularity_of(task, qrels):
        criteria.append(found)
    if field := category_field(list(task.catalog.fields), category, "the catalog"):
        criteria.append((field, largest([_value(task.catalog.fields[field][_best_row(key)]) for key in qrels])))
    return [part for by, names in criteria for part in parted(by, names)]


def kept_of(task: Task, needs: Sequence[Need]) -> list[dict[str, dict[str, str]]]:
    """(N,) what an evaluation keeps of each need, so that a report can slice without the data.

    `popularity` holds "head", "tail" or "unseen" by what was counted (see `popularity_of`); `fields` the value of the
    first item of the highest grade in each catalog field that could be a category: at least two values, and at most one
    for every two needs.
    """
    qrels = [task.qrels[need.id] for need in needs]
    best = [_best_row(key) for key in qrels]
    fields = {name: [_value(column[row]) for row in best] for name, column in task.catalog.fields.items()}
    usable = {name: values for name, values in fields.items() if _is_category(values)}
    popularity = dict([counted] if (counted := popularity_of(task, qrels)) else [])
    return [
        {
            "popularity": {by: names[place] for by, names in popularity.items()},
            "fields": {name: values[place] for name, values in usable.items()},
        }
        for place in range(len(needs))
    ]


def popularity_of(task: Task, qrels: Sequence[Qrels]) -> tuple[str, list[str]] | None:
    """What was counted, and for each answer key "head", "tail" or "unseen"; None if nothing can be counted.

    An item's count is its events in the catalog's interactions ("popularity"), or, for a catalog without interactions,
    the training needs that it is relevant to ("training"). A need has the count of its most frequent relevant item: 0
    is "unseen", above the median of the others is "head", the rest is "tail". Raises `UserError` if the interactions
    are not events of a user and a row of the catalog.
    """
    if task.catalog.interactions is not None:
        try:
            by, counts_N = "popularity", events_of(task.catalog, "the slicing by head and tail")
        except ValueError as error:
            raise UserError(str(error)) from error
    else:
        by, counts_N = "training", np.zeros(len(task.catalog), np.int64)
        for need in needs_of(task, "train")[0]:
            counts_N[_relevant_rows(task.qrels[need.id])] += 1
    if not counts_N.any():
        return None
    most = np.array([counts_N[_relevant_rows(key)].max(initial=0) for key in qrels])
    middle = np.median(most[most > 0]) if (most > 0).any() else 0
    return by, ["unseen" if count == 0 else "head" if count > middle else "tail" for count in most]


def _relevant_rows(key: Qrels) -> NDArray[np.intp]:
    return key.rows_J[key.grades_J > 0]


def by_length(texts: Sequence[str]) -> tuple[str, list[str]]:
    """By words of the need: the name of the criterion, and the slice of each need."""
    return "need length", [f"{_span_of(len(text.split()), WORDS)} words" for text in texts]


def by_relevant(counts: Sequence[int]) -> tuple[str, list[str]]:
    """By the number of relevant items."""
    return "relevant items", [f"{_span_of(count, RELEVANT)} relevant" for count in counts]


def category_field(fields: Sequence[str], named: str | None, where: str) -> str | None:
    """The named field, or the first with a usual name, or None; raises `UserError` if the named one does not exist."""
    if named is not None and named not in fields:
        raise UserError(f"--category: {where} has no field {named!r}; it has: {', '.join(sorted(fields)) or 'none'}")
    by_name = {name.lower(): name for name in reversed(fields)}
    return named or next((by_name[name] for name in CATEGORIES if name in by_name), None)


def largest(values: Sequence[str]) -> list[str]:
    """The values, with small categories replaced by one name."""
    shown = {name for name, _ in Counter(values).most_common(MOST)}
    return [name if name in shown else REST for name in values]


def parted(by: str, names: Sequence[str]) -> list[Slice]:
    """One slice for each name, in order; none if all needs are in one."""
    order = sorted(set(names), key=lambda name: (name in (NONE, REST), _ORDER.get(name, 0), name))
    parts = [Slice(by, name, np.flatnonzero(np.array(names) == name)) for name in order]
    return [part for part in parts if len(part.rows) >= SMALLEST] if len(parts) > 1 else []


def span(low: int, high: int | None) -> str:
    """A range as text: "1", "2-5", "21+"."""
    return f"{low}+" if high is None else f"{low}-{high}" if high > low else str(low)


def _span_of(value: int, bins: Bins) -> str:
    """The range of a number as text; a number below all ranges belongs to the first."""
    return span(*next(part for part in bins if part[1] is None or value <= part[1]))


_ORDER = {
    name: place
    for place, name in enumerate(
        [f"{span(*part)} words" for part in WORDS]
        + [f"{span(*part)} relevant" for part in RELEVANT]
        + ["head", "tail", "unseen", "first place", "second place or lower", "nothing relevant"]
    )
}


def _is_category(values: Sequence[str]) -> bool:
    kinds = set(values)
    return 2 <= len(kinds) <= len(values) / 2 and max(map(len, kinds)) <= LONGEST


def _value(value: object) -> str:
    """A value of a field as the name of a slice; of a list, its first entry."""
    if isinstance(value, (list, tuple)):
        value = value[0] if value else None
    return NONE if value is None or value == "" else str(value)


def _best_row(qrels: Qrels) -> int:
    top = max(qrels.values())
    return next(row for row in qrels if qrels[row] == top)
