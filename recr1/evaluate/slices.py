"""Where slices of needs are parted: the same everywhere, so that a slice in a curve is the one in a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

Bins: TypeAlias = Sequence[tuple[int, int | None]]
"""From the first number to the second, both included; the last has no end."""

WORDS: Bins = ((1, 2), (3, 5), (6, 10), (11, None))
"""Words of the need."""
RELEVANT: Bins = ((1, 1), (2, 5), (6, 20), (21, None))
"""Items that are relevant to it."""


def within(value: int, low: int, high: int | None) -> bool:
    """Whether a number lies in a bin."""
    return value >= low and (high is None or value <= high)


def span(low: int, high: int | None) -> str:
    """A bin in figures: "1", "2-5", "21+"."""
    return f"{low}+" if high is None else f"{low}-{high}" if high > low else str(low)


def span_of(value: int, bins: Bins) -> str:
    """The bin of a number, in figures; one below all of them counts with the first."""
    return span(*next((part for part in bins if within(value, *part)), bins[0]))
