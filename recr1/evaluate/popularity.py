"""Head and tail: whether a need asks for what everybody knows, by purchases or by training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from recr1.errors import UserError
from recr1.tasks.base import Task, needs_of
from retrievers.base import Catalog
from rewards.base import Qrels
from rewards.columns import events_of


def fame_of(task: Task, qrels: Sequence[Qrels]) -> tuple[str, list[str]] | None:
    """What fame was counted in, and for each answer key "head", "tail" or "unseen"; None where nothing can be counted.

    An item's count is "popularity", the events of the catalog's interactions, where there are any, or else "training":
    the training needs that it is relevant to. A need has the count of its most frequent relevant item, and is of the
    head above the median of those that have any, "unseen" with none.

    Raises:
        UserError: For interactions that are no events of a user and a row of the catalog.
    """
    if task.catalog.interactions is not None:
        by, counts_N = "popularity", _events(task.catalog)
    else:
        by, counts_N = "training", _targets(task, len(task.catalog))
    if not counts_N.any():
        return None
    most = np.array([counts_N[key.rows_J[key.grades_J > 0]].max(initial=0) for key in qrels])
    middle = np.median(most[most > 0]) if (most > 0).any() else 0
    return by, ["unseen" if count == 0 else "head" if count > middle else "tail" for count in most]


def _events(catalog: Catalog) -> NDArray[np.int64]:
    try:
        return events_of(catalog, "the slicing by head and tail")
    except ValueError as error:
        raise UserError(str(error)) from error


def _targets(task: Task, items: int) -> NDArray[np.int64]:
    """(N,) how many training needs each item is relevant to; 0 for a task without such needs."""
    counts_N = np.zeros(items, np.int64)
    for need in needs_of(task, "train")[0]:
        key = task.qrels[need.id]
        counts_N[key.rows_J[key.grades_J > 0]] += 1
    return counts_N
