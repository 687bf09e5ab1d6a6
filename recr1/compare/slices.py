"""Parts of the needs that may go differently: short and long ones, categories, head and tail, few and many answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from recr1.errors import DataError, UserError
from recr1.evaluate.slices import RELEVANT, WORDS, span, span_of
from recr1.evaluate.stats import bootstrap_interval
from recr1.tasks.base import Task
from rewards.base import Need, Qrels

if TYPE_CHECKING:
    from recr1.compare.entry import Entry

CATEGORIES = ("category", "categories", "product_type", "product_class", "department", "kind")
"""Usual names of the field that slices are made of, where none is named."""
MOST = 12
"""Categories that are shown, the largest ones; the rest are counted together."""
SMALLEST = 5
"""A slice of fewer needs says nothing, and is left out."""


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
    - "training": "head" and "tail" by how often the need's most frequent relevant item is relevant to training needs,
      parted at the median of those that are at all; "unseen" where none of its items is;
    - the category field, of the first item of the highest grade.

    Raises:
        UserError: For a category field that the catalog does not have.
    """
    ways: list[tuple[str, list[str]]] = [
        ("need length", [f"{span_of(len(need.text.split()), WORDS)} words" for need in needs]),
        ("relevant items", [f"{span_of(task.qrels[need.id].positives, RELEVANT)} relevant" for need in needs]),
    ]
    if frequent := _training_counts(task):
        ways.append(("training", _head_or_tail([task.qrels[need.id] for need in needs], frequent)))
    if field := _category_field(task, category):
        ways.append((field, _categories(task, needs, field)))
    return [part for by, names in ways for part in _parted(by, names)]


def _parted(by: str, names: Sequence[str]) -> list[Slice]:
    order = sorted(set(names), key=_ORDER.get if set(names) <= set(_ORDER) else lambda name: name)  # type: ignore[arg-type]
    parts = [Slice(by, name, np.flatnonzero(np.array(names) == name)) for name in order]
    return [part for part in parts if len(part.rows) >= SMALLEST] if len(parts) > 1 else []


_ORDER = {
    name: place
    for names in (
        [f"{span(*part)} words" for part in WORDS],
        [f"{span(*part)} relevant" for part in RELEVANT],
        ["head", "tail", "unseen"],
    )
    for place, name in enumerate(names)
}


def _training_counts(task: Task) -> Counter[int]:
    """How many training needs each item is relevant to; none for a task without such needs."""
    try:
        needs = task.needs("train")
    except DataError:
        raise  # a broken file, not a missing split
    except UserError:
        return Counter()
    return Counter(row for need in needs for row, grade in task.qrels[need.id].items() if grade > 0)


def _head_or_tail(qrels: Sequence[Qrels], frequent: Counter[int]) -> list[str]:
    most = np.array([max((frequent[row] for row, grade in key.items() if grade > 0), default=0) for key in qrels])
    middle = np.median(most[most > 0]) if (most > 0).any() else 0
    return ["unseen" if count == 0 else "head" if count > middle else "tail" for count in most]


def _category_field(task: Task, named: str | None) -> str | None:
    fields = task.catalog.fields
    if named is not None and named not in fields:
        raise UserError(
            f"--category: the catalog has no field {named!r}; it has: {', '.join(sorted(fields)) or 'none'}"
        )
    return named or next((name for name in CATEGORIES if name in fields), None)


def _categories(task: Task, needs: Sequence[Need], field: str) -> list[str]:
    column = task.catalog.column(field)
    best = [_best_row(task.qrels[need.id]) for need in needs]
    names = [column[row] or "(none)" for row in best]
    largest = {name for name, _ in Counter(names).most_common(MOST)}
    return [name if name in largest else "(other)" for name in names]


def slice_mapping(part: Slice, entries: Sequence[Entry], measure: str, seed: int) -> dict[str, Any]:
    """What `compare.json` holds of a slice: each policy's mean and its difference to the first, with own intervals."""
    base = entries[0].per_need(measure)[part.rows]
    means = {entry.label: entry.per_need(measure)[part.rows] for entry in entries}
    return {
        "by": part.by,
        "name": part.name,
        "needs": len(part.rows),
        "rows": part.rows.tolist(),
        "policies": {label: bootstrap_interval(values, seed=seed)._asdict() for label, values in means.items()},
        "differences": {
            label: bootstrap_interval(values - base, seed=seed)._asdict() for label, values in list(means.items())[1:]
        },
    }


def _best_row(qrels: Qrels) -> int:
    top = max(qrels.values())
    return next(row for row in qrels if qrels[row] == top)
