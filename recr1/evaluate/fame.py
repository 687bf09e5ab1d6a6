"""Head and tail: whether a need asks for what everybody knows, by purchases or by training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recr1.errors import DataError, UserError
from recr1.tasks.base import Task
from rewards.base import Qrels


def fame_of(task: Task, qrels: Sequence[Qrels]) -> tuple[str, list[str]] | None:
    """What fame was counted in, and for each answer key "head", "tail" or "unseen"; None where nothing can be counted.

    An item's count is "popularity", the events of the catalog's interactions, where there are any, or else "training":
    the training needs that it is relevant to. A need has the count of its most frequent relevant item, and is of the
    head above the median of those that have any, "unseen" with none.

    Raises:
        UserError: For interactions that are neither events nor a matrix of users by items.
    """
    items = len(task.catalog)
    if task.catalog.interactions is not None:
        by, counts_N = "popularity", counted(task.catalog.interactions, items)
    else:
        by, counts_N = "training", _targets(task, items)
    if not counts_N.any():
        return None
    most = np.array([counts_N[key.rows_J[key.grades_J > 0]].max(initial=0) for key in qrels])
    middle = np.median(most[most > 0]) if (most > 0).any() else 0
    return by, ["unseen" if count == 0 else "head" if count > middle else "tail" for count in most]


def counted(interactions: Any, items: int) -> NDArray[np.int64]:
    """(N,) how many events each item has.

    Args:
        interactions: Events as rows of a user and a catalog row, as pairs or as an array of two columns; or a matrix of
            users by items, sparse or not, of which every entry but 0 is an event.
        items: N, the items of the catalog.

    Raises:
        UserError: For anything else, or a row that the catalog does not have.
    """
    if hasattr(interactions, "tocoo"):
        interactions = interactions.tocoo()
        return _binned(interactions.col[interactions.data != 0], interactions.shape[1], items)
    events = np.asarray(interactions)
    if events.size == 0:
        return np.zeros(items, np.int64)
    if events.ndim == 2 and events.shape[1] == 2:
        return _binned(events[:, 1], items, items)
    if events.ndim == 2:
        return _binned(np.nonzero(events)[1], events.shape[1], items)
    raise UserError(f"the catalog's interactions have the shape {events.shape}: use pairs of a user and a row")


def _binned(rows_E: NDArray[Any], width: int, items: int) -> NDArray[np.int64]:
    rows = rows_E.astype(np.int64)
    if width != items or (len(rows) and not 0 <= rows.min() <= rows.max() < items):
        raise UserError(f"the catalog's interactions name other items than its {items} rows")
    counts: NDArray[np.int64] = np.bincount(rows, minlength=items)
    return counts


def _targets(task: Task, items: int) -> NDArray[np.int64]:
    """(N,) how many training needs each item is relevant to; 0 for a task without such needs."""
    counts_N = np.zeros(items, np.int64)
    try:
        needs = task.needs("train")
    except DataError:
        raise  # a broken file, not a missing split
    except UserError:
        return counts_N
    for need in needs:
        key = task.qrels[need.id]
        counts_N[key.rows_J[key.grades_J > 0]] += 1
    return counts_N
