"""One difference between two systems: how it is tested, and the words in which every command says it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from recr1.judge.stats import LEVEL, Doubles, bootstrap_interval, holm, mean_interval, pooled, randomisation_test

ALPHA = 0.05
"""A difference is called one where its p, corrected for the number of tests, is below this."""
RAW_NEED = "the raw need"  # the floor, as sentences name it

Tone: TypeAlias = Literal["good", "bad", "open"]
"""A clear gain, a clear loss, or neither."""

CONCLUSIONS: Mapping[Tone, str] = {"good": "better", "bad": "worse", "open": "no clear difference"}


class Difference(NamedTuple):
    """One system against another on the same needs."""

    difference: float
    """Mean of the first minus mean of the second."""
    low: float
    high: float  # bounds of the difference's interval, not corrected
    p: float  # two-sided
    wins: int
    ties: int
    losses: int
    """Needs on which the first is above, equal to and below the second."""

    @property
    def needs(self) -> int:
        """How many needs there are."""
        return self.wins + self.ties + self.losses

    @property
    def tone(self) -> Tone:
        """Whether the difference is clear, and which way."""
        if self.p >= ALPHA:
            return "open"
        return "good" if self.difference > 0 else "bad"

    @property
    def tally(self) -> str:
        """Needs won, tied and lost: "360/19/21"."""
        return f"{self.wins}/{self.ties}/{self.losses}"


def paired_test(first: NDArray[np.floating], second: NDArray[np.floating], *, seed: int) -> Difference:
    """Test one system against another on the same N needs, in the same order.

    `first` and `second` are (N,) values of a measure, or (S, N) of S seeds, whose number may differ. With one seed of
    training on each side, the interval is the bootstrap's and p the randomisation test's (seeded by `seed`), both over
    needs. With several on a side, both are over seeds and needs (`stats.pooled`).

    Raises `ValueError` for different numbers of needs, no needs, or a value that is not finite.
    """
    first_SN, second_SN = (np.atleast_2d(np.asarray(arm, np.float64)) for arm in (first, second))
    if first_SN.shape[1] != second_SN.shape[1]:
        raise ValueError(f"a paired test of {first_SN.shape[1]} needs with {second_SN.shape[1]}")
    differences = first_SN.mean(axis=0) - second_SN.mean(axis=0)
    if max(len(first_SN), len(second_SN)) > 1:
        return Difference(*pooled(first_SN, second_SN), *tally(differences))
    interval = bootstrap_interval(differences, seed=seed)
    return Difference(*interval, randomisation_test(differences, seed=seed), *tally(differences))


def paired_tests(
    values: NDArray[np.floating], others: Mapping[str, NDArray[np.floating]], *, seed: int
) -> dict[str, Difference]:
    """A system against each of several others, by their names; p is corrected for the number of tests (Holm)."""
    tests = {name: paired_test(values, other, seed=seed) for name, other in others.items()}
    corrected = holm([test.p for test in tests.values()]).tolist()
    return {name: test._replace(p=p) for (name, test), p in zip(tests.items(), corrected, strict=True)}


def against_floor(systems: Mapping[str, NDArray[np.floating]], *, seed: int) -> dict[str, dict[str, float]]:
    """The interval of each system, and `versus_floor`, the test of "policy" against "floor", as in `eval.json`.

    The values of a system are (N,), or (S, N) of S seeds.
    """
    intervals = {name: mean_interval(np.atleast_2d(values), seed=seed)._asdict() for name, values in systems.items()}
    return intervals | {"versus_floor": paired_test(systems["policy"], systems["floor"], seed=seed)._asdict()}


def tally(differences_N: Doubles) -> tuple[int, int, int]:
    """How many differences are above, equal to and below 0."""
    wins, losses = int((differences_N > 0).sum()), int((differences_N < 0).sum())
    return wins, len(differences_N) - wins - losses, losses


def p_text(p: float) -> str:
    """A p value: "p < 0.001" or "p = 0.012"."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def bounds_text(low: float, high: float, spec: str = "+.3f") -> str:
    """The bounds of an interval: "+0.630 to +0.705"."""
    return f"{low:{spec}} to {high:{spec}}"


def statement(first: str, second: str, measure: str, test: Difference) -> str:
    """Who against whom, by how much, and what follows.

    "trained against untrained: +0.669 nDCG@10 (95% interval +0.630 to +0.705, p < 0.001, 400 needs): better".
    """
    interval = f"{LEVEL:.0%} interval {bounds_text(test.low, test.high)}"
    size = f"{test.difference:+.3f} {measure} ({interval}, {p_text(test.p)}, {test.needs} needs)"
    return f"{first} against {second}: {size}: {CONCLUSIONS[test.tone]}"


def listed(names: Sequence[str]) -> str:
    """Names as a sentence lists them: "a", "a and b", "a, b and c"."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def mean_cell(numbers: Mapping[str, float], p: float | None = None, *, spec: str = ".3f") -> str:
    """A cell of a table: a mean with its p, and below it the bounds of its interval.

    Args:
        numbers: `mean` (or `difference`), `low` and `high`.
        p: None leaves it out.
        spec: The format of the numbers: ".3f" for levels, "+.3f" for differences, ".1%" for shares.
    """
    mean = numbers["mean"] if "mean" in numbers else numbers["difference"]
    test = "" if p is None else f" {p_text(p)}"
    return f"{mean:{spec}}{test}\n{bounds_text(numbers['low'], numbers['high'], spec)}"


def difference_cell(numbers: Mapping[str, float]) -> str:
    """A cell of a table with a difference: its size and p, and below them the bounds of its interval."""
    return mean_cell(numbers, numbers.get("p"), spec="+.3f")
