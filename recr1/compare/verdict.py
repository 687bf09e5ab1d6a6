"""What a comparison says, in sentences that a team can act on."""

from __future__ import annotations

from collections.abc import Sequence

from recr1.compare.comparison import Comparison, Difference
from recr1.compare.entry import Entry
from recr1.judge.phrases import HOW, Tone, clause, listed, tone_of


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
    bounds = {other.label for other in others if other.bound}
    by_tone: dict[Tone, list[str]] = {"good": [], "open": [], "bad": []}
    for other in others:
        one = comparison.difference(comparison.main, entry.label, other.label)
        by_tone[tone_of(one.difference, one.p_holm)].append(other.label)
    said += [f"{HOW[tone]} {_named(labels, bounds)}" for tone, labels in by_tone.items() if labels]
    return f"{', '.join(said)}."


def _against_first(one: Difference, first: Entry) -> str:
    name = "the raw need" if first.label == "raw" else first.label
    return clause(name, one.measure, (one.difference, one.low, one.high), one.p_holm)


def _named(labels: Sequence[str], bounds: set[str]) -> str:
    return listed([f"{label} (which reads the answers)" if label in bounds else label for label in labels])
