"""Slices: parts of the needs that may go differently, the same ones in curves, comparisons and reports."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from recr1.errors import UserError
from recr1.evaluate.popularity import fame_of
from recr1.tasks.base import Task
from rewards.base import Need, Qrels

Bins: TypeAlias = Sequence[tuple[int, int | None]]
"""From the first number to the second, both included; the last has no end."""

WORDS: Bins = ((1, 2), (3, 5), (6, 10), (11, None))
"""Words of the need."""
RELEVANT: Bins = ((1, 1), (2, 5), (6, 20), (21, None))
"""Items that are relevant to it."""

CATEGORIES = ("category", "categories", "product_type", "product_class", "department", "kind", "genre")
"""Usual names of the field that slices are made of, where none is named; capitals do not count."""
MOST = 12
"""Categories that are shown, the largest ones; the rest are counted together."""
SMALLEST = 5
"""A slice of fewer needs says nothing, and is left out."""
LONGEST = 60
"""Letters of a category; what is longer is text."""
NONE, REST = "(none)", "(other)"


@dataclass(frozen=True)
class Slice:
    """Some of the needs."""

    by: str
    name: str
    rows: NDArray[np.intp]
    """Their places in the list of needs."""


def slices_of(task: Task, needs: Sequence[Need], category: str | None = None) -> list[Slice]:
    """The slices of some needs; a way of slicing that puts all needs into one is left out.

    - "need length": words of the need;
    - "relevant items": how many items the answer key grades above 0;
    - "popularity", or "training" for a catalog without interactions: "head", "tail" or "unseen", see `fame_of`;
    - the category field, of the first item of the highest grade.

    Raises:
        UserError: For a category field that the catalog does not have.
    """
    qrels = [task.qrels[need.id] for need in needs]
    ways = [by_length([need.text for need in needs]), by_relevant([key.positives for key in qrels])]
    if found := fame_of(task, qrels):
        ways.append(found)
    if field := category_field(list(task.catalog.fields), category, "the catalog"):
        ways.append((field, largest([_value(task.catalog.fields[field][_best_row(key)]) for key in qrels])))
    return [part for by, names in ways for part in parted(by, names)]


def kept_of(task: Task, needs: Sequence[Need]) -> list[dict[str, dict[str, str]]]:
    """(N,) what an evaluation keeps of each need, so that a report can slice without the data.

    `fame` holds "head", "tail" or "unseen" under what it was counted in; `fields` what the first item of the highest
    grade has in each field of the catalog that could be a category: at least two values, and so few that most needs
    share theirs.
    """
    qrels = [task.qrels[need.id] for need in needs]
    best = [_best_row(key) for key in qrels]
    fields = {name: [_value(column[row]) for row in best] for name, column in task.catalog.fields.items()}
    usable = {name: values for name, values in fields.items() if _is_category(values)}
    fame = fame_of(task, qrels)
    return [
        {
            "fame": {fame[0]: fame[1][place]} if fame else {},
            "fields": {name: values[place] for name, values in usable.items()},
        }
        for place in range(len(needs))
    ]


def by_length(texts: Sequence[str]) -> tuple[str, list[str]]:
    """The slicing by words of the need: what it is called, and the slice of each need."""
    return "need length", [f"{span_of(len(text.split()), WORDS)} words" for text in texts]


def by_relevant(counts: Sequence[int]) -> tuple[str, list[str]]:
    """The slicing by the number of relevant items."""
    return "relevant items", [f"{span_of(count, RELEVANT)} relevant" for count in counts]


def category_field(fields: Sequence[str], named: str | None, where: str) -> str | None:
    """The field that is named, or the first with a usual name; None where there is none.

    Raises `UserError` for a named one that is not there.
    """
    if named is not None and named not in fields:
        raise UserError(f"--category: {where} has no field {named!r}; it has: {', '.join(sorted(fields)) or 'none'}")
    by_name = {name.lower(): name for name in reversed(fields)}
    return named or next((by_name[name] for name in CATEGORIES if name in by_name), None)


def largest(values: Sequence[str]) -> list[str]:
    """The values, with those of small categories put together."""
    shown = {name for name, _ in Counter(values).most_common(MOST)}
    return [name if name in shown else REST for name in values]


def parted(by: str, names: Sequence[str]) -> list[Slice]:
    """The slices that the names make, in their order; none where all needs are in one."""
    order = sorted(set(names), key=lambda name: (name in (NONE, REST), _ORDER.get(name, 0), name))
    parts = [Slice(by, name, np.flatnonzero(np.array(names) == name)) for name in order]
    return [part for part in parts if len(part.rows) >= SMALLEST] if len(parts) > 1 else []


def within(value: int, low: int, high: int | None) -> bool:
    """Whether a number lies in a bin."""
    return value >= low and (high is None or value <= high)


def span(low: int, high: int | None) -> str:
    """A bin in figures: "1", "2-5", "21+"."""
    return f"{low}+" if high is None else f"{low}-{high}" if high > low else str(low)


def span_of(value: int, bins: Bins) -> str:
    """The bin of a number, in figures; one below all of them counts with the first."""
    return span(*next((part for part in bins if within(value, *part)), bins[0]))


_ORDER: Mapping[str, int] = {
    name: place
    for names in (
        [f"{span(*part)} words" for part in WORDS],
        [f"{span(*part)} relevant" for part in RELEVANT],
        ["head", "tail", "unseen"],
        ["first place", "second place or lower", "nothing relevant"],
    )
    for place, name in enumerate(names)
}


def _is_category(values: Sequence[str]) -> bool:
    kinds = set(values)
    return 2 <= len(kinds) <= len(values) / 2 and max(map(len, kinds)) <= LONGEST


def _value(value: object) -> str:
    """A field as the name of a slice; of a list, its first entry."""
    if isinstance(value, (list, tuple)):
        value = value[0] if value else None
    return NONE if value is None or value == "" else str(value)


def _best_row(qrels: Qrels) -> int:
    top = max(qrels.values())
    return next(row for row in qrels if qrels[row] == top)
