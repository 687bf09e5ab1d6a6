"""What a task is: a catalog, an answer format, needs by split and the answer key to each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

from recr1.errors import DataError, UserError
from recr1.formats import Format
from retrievers.base import Catalog
from rewards.base import Need, Qrels

SPLITS = ("train", "validation", "test")


@runtime_checkable
class Task(Protocol):
    """Data and answer format. Built as `cls(*, options)`.

    The splits are disjoint. `qrels[need.id]` exists and has a positive grade for every need that `needs` hands out;
    needs without one are refused at load or left out, as the task's option says, and counted in `counts`.
    """

    catalog: Catalog
    format: Format
    qrels: Mapping[str, Qrels]
    counts: Mapping[str, int]
    """What was left out, merged, moved or missing -> how many, without zeros ("needs left out, not judged": 19)."""

    def needs(self, split: str) -> Sequence[Need]:
        """The needs of "train", "validation" or "test"; raises `UserError` for a split that the task does not have."""
        ...


@runtime_checkable
class HasTextFields(Protocol):
    """A task that says which fields of the catalog an item's text is made of, in order."""

    text_fields: Sequence[str]


@runtime_checkable
class HasCanary(Protocol):
    """A task with a text that is in every item's text, so that a prompt that holds it shows a leak and ends the run."""

    canary: str  # empty for none


@runtime_checkable
class KnowsAnswers(Protocol):
    """A task that can itself give answers in text without a model: the floors of a policy."""

    def plain_answers(self, need: Need) -> Mapping[str, str]:
        """Name ("global mean") -> answer, the floor first; empty for a need that is not answered in text."""
        ...


def plain_answers(task: Task, need: Need) -> Mapping[str, str]:
    """What a task answers without a model; empty where it knows nothing."""
    return task.plain_answers(need) if isinstance(task, KnowsAnswers) else {}


@runtime_checkable
class HidesHistory(Protocol):
    """A task of users: no search shows a user what is in the history of their need, as no shop suggests it again."""

    hides_history: bool


@runtime_checkable
class HasGroups(Protocol):
    """A task that says which group of people a need's person is in, for an audit; the policy does not read it."""

    group_of: Mapping[str, str]
    """Need id -> the label of the person; a need without one is in none."""


def remarks_on(task: Task) -> str:
    """The counts of a task as a line; nothing without any."""
    said = "; ".join(f"{what}: {count:,}" for what, count in task.counts.items())
    return said and f"data: {said}"


def needs_of(task: Task, split: str) -> tuple[Sequence[Need], str | None]:
    """The needs of a split and None, or no needs and why the task has no such split. A broken file is a `DataError`."""
    try:
        return task.needs(split), None
    except DataError:
        raise
    except UserError as error:
        return (), str(error)


def splits_of(task: Task) -> dict[str, Sequence[Need]]:
    """The needs of every split that a task has and that is not empty, in the order of `SPLITS`."""
    found = {split: needs_of(task, split)[0] for split in SPLITS}
    return {split: needs for split, needs in found.items() if needs}
