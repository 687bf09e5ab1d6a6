"""How a difference is said: the same words and digits in every sentence that a team acts on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

from recr1.judge.stats import LEVEL, p_text

ALPHA = 0.05
"""A difference is called one where its p, corrected for the number of comparisons, is below this."""

Tone: TypeAlias = Literal["good", "bad", "open"]
"""A gain that is real, a loss that is, or nothing that can be said."""

HOW: dict[Tone, str] = {"good": "better than", "bad": "worse than", "open": "not distinguishable from"}


def tone_of(difference: float, p: float) -> Tone:
    """What a difference is called, by its corrected p."""
    if p >= ALPHA:
        return "open"
    return "good" if difference > 0 else "bad"


def clause(other: str, measure: str, numbers: tuple[float, float, float], p: float) -> str:
    """The difference to one other policy: "better than the raw need by 0.310 nDCG@10 (95% CI 0.280 to 0.340, p ...)".

    Args:
        other: What it is compared with.
        measure: The name of the measure.
        numbers: The difference, and the low and the high bound of its interval.
        p: Corrected for the number of comparisons.
    """
    difference, low, high = numbers
    tone = tone_of(difference, p)
    if tone == "open":
        interval = f"{LEVEL:.0%} CI {low:+.3f} to {high:+.3f}"
        return f"{HOW[tone]} {other} ({difference:+.3f} {measure}, {interval}, {p_text(p)})"
    least, most = (low, high) if tone == "good" else (-high, -low)
    interval = f"{LEVEL:.0%} CI {least:.3f} to {most:.3f}"
    return f"{HOW[tone]} {other} by {abs(difference):.3f} {measure} ({interval}, {p_text(p)})"


def listed(names: Sequence[str]) -> str:
    """Names as a sentence lists them: "a", "a and b", "a, b and c"."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
