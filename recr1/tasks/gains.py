"""What a grade is worth: the `gains` of a task, by grade number or by the letters that the judgements hold."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

_NUMBER = re.compile(r"[+-]?[0-9]{1,9}")


@dataclass(frozen=True)
class Scale:
    """How grades are written in a file, and what they are worth."""

    grade_of: Mapping[str, int]
    """What a file writes -> grade."""
    worth: Mapping[int, float]
    """Positive grade -> gain."""

    @classmethod
    def of(cls, gains: Mapping[str, float]) -> Scale:
        """The scale of gains that have no problem.

        Numbers are grades already. Letters become grades in the order of their gains: 0 for those that gain nothing, 1
        for the lowest gain above 0, and so on, so that what gains more has the higher grade.
        """
        by_name = {str(name): float(gain) for name, gain in gains.items()}
        steps = sorted({gain for gain in by_name.values() if gain > 0})
        numbered = all(map(_NUMBER.fullmatch, by_name))
        grade_of = {
            name: int(name) if numbered else (steps.index(gain) + 1 if gain else 0) for name, gain in by_name.items()
        }
        return cls(grade_of, {grade: by_name[name] for name, grade in grade_of.items() if grade > 0})


def gains_problem(gains: Mapping[str, float]) -> str | None:
    """What is wrong with gains, or None."""
    numbers = [name for name in map(str, gains) if _NUMBER.fullmatch(name)]
    if 0 < len(numbers) < len(gains):
        other = next(name for name in map(str, gains) if name not in numbers)
        return f"{numbers[0]!r} is a grade number and {other!r} is none: name all grades in one way"
    for name, gain in gains.items():
        if not (gain >= 0 and math.isfinite(gain)):
            return f"{name} gains {gain}: a gain is 0 or more, and finite"
        if numbers and int(name) <= 0 < gain:
            return f"{name} gains {gain:g}, but only a grade above 0 is relevant and gains anything: make it 0"
    if len({int(name) for name in numbers}) < len(numbers):
        return "a grade number stands there twice"
    return None if any(gains.values()) else "nothing gains anything: give at least one grade a gain above 0"
