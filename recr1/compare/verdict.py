"""What a comparison says, in sentences that a team can act on."""

from __future__ import annotations

from collections.abc import Sequence

from recr1.compare.comparison import Comparison, Difference
from recr1.compare.entry import Entry
from recr1.evaluate.stats import LEVEL, p_text


def verdict(comparison: Comparison) -> str:
    """The sentence about the trained policy; without one, about the best of the rivals."""
    return f"{comparison.subject.label}: {_sentence(comparison, comparison.subject)}"


def verdicts(comparison: Comparison) -> dict[str, str]:
    """A sentence for each policy but the first, which they are all compared with, and the bounds."""
    rivals = [entry for entry in comparison.entries[1:] if not entry.bound]
    return {entry.label: _sentence(comparison, entry) for entry in rivals}


def _sentence(comparison: Comparison, entry: Entry) -> str:
    first = comparison.entries[0]
    if entry is first:
        return "nothing to compare it with."
    said = [_against_first(comparison.difference(comparison.main, entry.label, first.label), first)]
    others = [other for other in comparison.entries[1:] if other is not entry]
    found = {other.label: comparison.difference(comparison.main, entry.label, other.label) for other in others}
    better = [label for label, one in found.items() if one.real and one.difference > 0]
    alike = [label for label, one in found.items() if not one.real]
    worse = [label for label, one in found.items() if one.real and one.difference < 0]
    bounds = {other.label for other in others if other.bound}
    groups = (("better than", better), ("not distinguishable from", alike), ("worse than", worse))
    said += [f"{how} {_listed(labels, bounds)}" for how, labels in groups if labels]
    return f"{', '.join(said)}."


def _against_first(one: Difference, first: Entry) -> str:
    name = "the raw need" if first.label == "raw" else first.label
    p = p_text(one.p_holm)
    if not one.real:
        numbers = (
            f"difference {one.difference:+.2f} {one.measure}, {LEVEL:.0%} CI {one.low:+.2f} to {one.high:+.2f}, {p}"
        )
        return f"not distinguishable from {name} ({numbers})"
    how, sign = ("better", 1) if one.difference > 0 else ("worse", -1)
    low, high = sorted((sign * one.low, sign * one.high))
    return (
        f"{how} than {name} by {sign * one.difference:.2f} {one.measure} ({LEVEL:.0%} CI {low:.2f} to {high:.2f}, {p})"
    )


def _listed(labels: Sequence[str], bounds: set[str]) -> str:
    named = [f"{label} (which reads the answers)" if label in bounds else label for label in labels]
    return named[0] if len(named) == 1 else f"{', '.join(named[:-1])} and {named[-1]}"
