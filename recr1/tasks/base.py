"""What a task is: a catalog, an answer format, needs by split and the answer key to each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

from recr1.formats import Format
from retrievers.base import Catalog
from rewards.base import Need, Qrels

SPLITS = ("train", "validation", "test")


@runtime_checkable
class Task(Protocol):
    """Data and answer format. Built as `cls(*, options)`.

    The splits are disjoint. `qrels[need.id]` exists and has a positive grade for every need that `needs` hands out;
    needs without one are refused at load or left out, as the task's option says, and counted in `excluded`. A task may
    have a `canary`, a text that stands in every item's text: then a prompt that holds it ends the run.
    """

    catalog: Catalog
    format: Format
    qrels: Mapping[str, Qrels]
    excluded: Mapping[str, int]
    """Why needs were left out -> how many ("no positive grade": 19)."""

    def needs(self, split: str) -> Sequence[Need]:
        """The needs of "train", "validation" or "test"; raises `UserError` for a split that the task does not have."""
        ...
