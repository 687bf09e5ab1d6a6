"""What a reward may declare beyond its interface, and the functions that ask for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from retrievers.base import Catalog
from rewards.base import Qrels, Reward


@runtime_checkable
class HasCutoff(Protocol):
    """Reads the first `cutoff` hits; k must be at least that. None is the same as no cutoff."""

    cutoff: int | None


@runtime_checkable
class NeedsGroups(Protocol):
    """Compares the completions of one need, so every process must have whole groups, where this is true."""

    needs_groups: bool


@runtime_checkable
class NeedsRawHits(Protocol):
    """Reads `batch.raw_hits`, what a search of the need's own text finds, where this is true."""

    needs_raw_hits: bool


@runtime_checkable
class NeedsRetrievers(Protocol):
    """Reads `batch.elsewhere`: the hits of other retrievers, by name, each as a recipe writes it."""

    elsewhere: Mapping[str, Mapping[str, Any]]


@runtime_checkable
class ChecksData(Protocol):
    """Says before training whether a task has the data that it reads."""

    def check_data(self, catalog: Catalog, qrels: Mapping[str, Qrels]) -> None:
        """Raises `ValueError` where a field of the catalog or something in the answer keys is missing or wrong."""
        ...


def cutoff_of(reward: Reward) -> int | None:
    """How many hits a reward reads; None where it declares no cutoff."""
    return reward.cutoff if isinstance(reward, HasCutoff) else None


def needs_groups(reward: Reward) -> bool:
    """Whether a reward compares the completions of one need."""
    return isinstance(reward, NeedsGroups) and reward.needs_groups


def needs_raw_hits(reward: Reward) -> bool:
    """Whether a reward reads what a search of the need's own text finds."""
    return isinstance(reward, NeedsRawHits) and reward.needs_raw_hits


def retrievers_of(reward: Reward) -> Mapping[str, Mapping[str, Any]]:
    """The other retrievers whose hits a reward reads, by name, each as a recipe writes it."""
    return reward.elsewhere if isinstance(reward, NeedsRetrievers) else {}


def check_data(reward: Reward, catalog: Catalog, qrels: Mapping[str, Qrels]) -> None:
    """Raises `ValueError` where a reward reads something that the data does not have."""
    if isinstance(reward, ChecksData):
        reward.check_data(catalog, qrels)


def cutoff_problem(name: str, cutoff: int | None, k: int) -> str | None:
    """Why k items per search are too few for the measure or reward `name`; None where they are enough."""
    if cutoff is None or cutoff <= k:
        return None
    return f"{name} needs k >= {cutoff}, got k={k}: set k to {cutoff} or more, or lower the cutoff"


def check_cutoff(name: str, cutoff: int | None, k: int) -> None:
    """Raises `ValueError` where k items per search are too few for the measure or reward `name`."""
    if problem := cutoff_problem(name, cutoff, k):
        raise ValueError(problem)
