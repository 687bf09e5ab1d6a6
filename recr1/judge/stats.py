"""Bootstrap intervals, the paired randomisation test and their like, seeded and vectorised.

Chance is in the needs: an interval says how far the mean would move with other needs of the same kind, and the test
asks how often a random swap of the two systems on each need gives a difference as large (Smucker, Allan and Carterette,
CIKM 2007, recommend it for retrieval measures).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]

LEVEL, RESAMPLES, PERMUTATIONS = 0.95, 2_000, 10_000
_BLOCK = 4_000_000
"""Random numbers drawn at a time: 32 MB."""


class Interval(NamedTuple):
    """A mean and the bounds of its bootstrap interval."""

    mean: float
    low: float
    high: float


def bootstrap_interval(
    values_N: NDArray[np.floating], *, seed: int, level: float = LEVEL, resamples: int = RESAMPLES
) -> Interval:
    """The mean of N values with its percentile bootstrap interval (Efron and Tibshirani 1993, chapter 13).

    Raises `ValueError` for no values, or a value that is not finite.
    """
    values = _checked(values_N)
    rng = np.random.default_rng(seed)
    means_R = np.concatenate(
        [values[rng.integers(0, len(values), (rows, len(values)))].mean(axis=1) for rows in _blocks(resamples, values)]
    )
    tail = (1 - level) / 2
    low, high = np.quantile(means_R, [tail, 1 - tail])
    return Interval(float(values.mean()), float(low), float(high))


def standard_error(values_N: NDArray[np.floating]) -> float:
    """Standard error of the mean of N values, from their standard deviation over N - 1; NaN for a single value."""
    values = _checked(values_N)
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")


def randomisation_test(differences_N: NDArray[np.floating], *, seed: int, permutations: int = PERMUTATIONS) -> float:
    """Two-sided p that the mean of N paired differences is 0, by flipping their signs at random.

    The observed signs count as one of the permutations, (1 + as large) / (1 + permutations), so that p is never 0 and
    the test never claims more than its level (Phipson and Smyth 2010). 1.0 if all differences are 0.
    """
    values = _checked(differences_N)
    return float(randomisation_tests(values[np.newaxis], seed=seed, permutations=permutations)[0])


def randomisation_tests(
    differences_CN: NDArray[np.floating], *, seed: int, permutations: int = PERMUTATIONS
) -> Doubles:
    """(C,) the p of `randomisation_test` for each of C comparisons on the same N needs, all with the same flips."""
    differences = np.array([_checked(row) for row in differences_CN])
    differences = differences[:, (differences != 0).any(axis=0)]  # a zero has no sign to flip
    if not differences.size:
        return np.ones(len(differences_CN))
    rng = np.random.default_rng(seed)
    # A permutation that equals the observed signs must count as "as large" whatever the order of summation.
    bounds_C = np.abs(differences.sum(axis=1)) - 1e-9 * np.abs(differences).sum(axis=1)
    as_large_C = np.zeros(len(differences), np.int64)
    for rows in _blocks(permutations, differences[0]):
        sums_RC = _signs(rng, rows, differences.shape[1]) @ differences.T
        as_large_C += (np.abs(sums_RC) >= bounds_C).sum(axis=0)
    p_C: Doubles = (1 + as_large_C) / (1 + permutations)
    return p_C


def bootstrap_test(differences_N: NDArray[np.floating], *, seed: int, resamples: int = PERMUTATIONS) -> float:
    """Two-sided p that the mean of N paired differences is 0, by the studentised bootstrap.

    Resamples are drawn from the differences moved to mean 0, as they would be without an effect, and their t is
    compared with the observed one (Efron and Tibshirani 1993, chapter 16.4; for retrieval measures Sakai, SIGIR 2006).
    1.0 if all differences are 0, and never below 1 / (1 + resamples).
    """
    values = _checked(differences_N)
    if not values.any():
        return 1.0
    rng, size = np.random.default_rng(seed), len(values)
    observed = abs(_student(values[np.newaxis], 0.0)[0])
    as_large = sum(
        int((np.abs(_student(values[rng.integers(0, size, (rows, size))], values.mean())) >= observed - 1e-9).sum())
        for rows in _blocks(resamples, values)
    )
    return (1 + as_large) / (1 + resamples)


def effect_size(differences_N: NDArray[np.floating]) -> float | None:
    """Cohen's d of N paired differences: their mean divided by their standard deviation (over N - 1).

    0.2 is called small, 0.5 medium, 0.8 large. 0 if all differences are 0; None if they are equal and not 0.
    """
    values = _checked(differences_N)
    if not values.any():
        return 0.0
    spread = float(values.std(ddof=1)) if len(values) > 1 else 0.0
    return float(values.mean()) / spread if spread > 0 else None


def holm(p_C: NDArray[np.floating] | Sequence[float]) -> Doubles:
    """(C,) p values corrected for C tests: the risk of any false claim among those below 0.05 is at most 0.05.

    Holm 1979: the smallest times C, the next times C - 1, and so on, none below the one before it and none above 1.
    """
    p = np.asarray(p_C, np.float64)
    order = np.argsort(p, kind="stable")
    rising = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(rising, 1.0)
    return corrected


def _checked(values_N: NDArray[np.floating]) -> Doubles:
    values: Doubles = np.asarray(values_N, np.float64)
    if values.ndim != 1 or not len(values):
        raise ValueError(f"statistics need a list of at least one value, got an array of shape {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError("a value is not finite")
    return values


def _blocks(total: int, values_N: Doubles) -> Iterator[int]:
    """How many repetitions to draw at a time, so that memory stays bounded."""
    size = max(1, _BLOCK // len(values_N))
    yield from (min(size, total - start) for start in range(0, total, size))


def _student(values_RN: Doubles, centre: float) -> Doubles:
    """(R,) how many standard errors each mean is from the centre; infinite if the values are all equal."""
    size = values_RN.shape[1]
    errors = values_RN.std(axis=1, ddof=1) / np.sqrt(size) if size > 1 else np.zeros(len(values_RN))
    away = values_RN.mean(axis=1) - centre
    with np.errstate(divide="ignore", invalid="ignore"):
        t: Doubles = np.where(np.abs(away) < 1e-12, 0.0, away / errors)
    return t


def _signs(rng: np.random.Generator, rows: int, columns: int) -> Doubles:
    """(rows, columns) of -1 and +1, from one random bit each."""
    bits = rng.integers(0, 256, (rows, (columns + 7) // 8), np.uint8)
    signs: Doubles = np.unpackbits(bits, axis=1, count=columns).astype(np.float64) * 2 - 1
    return signs
