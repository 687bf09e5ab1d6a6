"""Bootstrap intervals and paired tests over needs, and over seeds and needs; seeded and vectorised.

An interval says how far the mean would move with other needs of the same kind; the randomisation test asks how often a
random swap of the two systems on each need gives a difference as large (Smucker, Allan and Carterette, CIKM 2007,
recommend it for retrieval measures). With several seeds of training both needs and seeds vary by chance, see `pooled`.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from recr1.errors import MissingLibrary

Doubles = NDArray[np.float64]

LEVEL, RESAMPLES, PERMUTATIONS = 0.95, 2_000, 10_000
Z = NormalDist().inv_cdf((1 + LEVEL) / 2)
"""The bounds of an interval of that level, in standard errors; a two-sided test has the level 1 - LEVEL."""
_BLOCK = 4_000_000
"""Random numbers drawn at a time: 32 MB."""
_HALVINGS = 60
"""Bisection steps for p; each halves the error of its logarithm."""


class Interval(NamedTuple):
    """A mean and the bounds of its interval."""

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
    drawn = (rng.integers(0, len(values), (rows, len(values))) for rows in _blocks(resamples, values))
    means_R, tail = np.concatenate([values[rows_RN].mean(axis=1) for rows_RN in drawn]), (1 - level) / 2
    return Interval(float(values.mean()), *np.quantile(means_R, [tail, 1 - tail]).tolist())


def mean_interval(values_SN: NDArray[np.floating], *, seed: int) -> Interval:
    """The mean of S seeds on N needs with its interval: over needs, and over seeds too if there are several."""
    if len(values_SN) == 1:
        return bootstrap_interval(values_SN[0], seed=seed)
    return Interval(*pooled(values_SN)[:3])


def ratio_interval(
    first_N: NDArray[np.floating], second_N: NDArray[np.floating], *, seed: int, level: float = LEVEL
) -> Interval | None:
    """The mean of N values divided by that of N others of the same needs, with its percentile bootstrap interval.

    Needs are drawn with both of their values. None unless the interval of the second mean is above 0: a ratio to what
    may be 0 says nothing.
    """
    pairs_N2 = np.stack([_checked(first_N), _checked(second_N)], axis=1)
    rng, tail = np.random.default_rng(seed), (1 - level) / 2
    drawn = (rng.integers(0, len(pairs_N2), (rows, len(pairs_N2))) for rows in _blocks(RESAMPLES, pairs_N2))
    means_R2 = np.concatenate([pairs_N2[rows_RN].mean(axis=1) for rows_RN in drawn])
    if np.quantile(means_R2[:, 1], tail) <= 0:
        return None
    first, second = pairs_N2.mean(axis=0).tolist()
    # The few resamples at or below 0, which are in the tail, stand for a ratio without a bound.
    ratios_R = np.where(means_R2[:, 1] > 0, means_R2[:, 0] / np.maximum(means_R2[:, 1], 1e-300), np.inf)
    low, high = np.quantile(ratios_R, [tail, 1 - tail], method="nearest").tolist()
    return Interval(first / second, low, high) if np.isfinite(high) else None


def wilson(rate_P: Doubles, trials_P: Doubles) -> tuple[Doubles, Doubles]:
    """The bounds of Wilson's interval (1927) for rates of that many trials."""
    centre_P = (rate_P + Z**2 / (2 * trials_P)) / (1 + Z**2 / trials_P)
    half_P = Z * np.sqrt(rate_P * (1 - rate_P) / trials_P + (Z / (2 * trials_P)) ** 2) / (1 + Z**2 / trials_P)
    return np.clip(centre_P - half_P, 0.0, rate_P), np.clip(centre_P + half_P, rate_P, 1.0)


def standard_error(values_N: NDArray[np.floating]) -> float:
    """Standard error of the mean of N values, from their standard deviation over N - 1; NaN for a single value."""
    values = _checked(values_N)
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")


def randomisation_test(differences_N: NDArray[np.floating], *, seed: int, permutations: int = PERMUTATIONS) -> float:
    """Two-sided p that the mean of N paired differences is 0, by flipping their signs at random.

    The observed signs count as one of the permutations, (1 + as large) / (1 + permutations), so that p is never 0 and
    the test never claims more than its level (Phipson and Smyth 2010). 1.0 if all differences are 0.
    """
    return float(randomisation_tests(_checked(differences_N)[np.newaxis], seed=seed, permutations=permutations)[0])


def randomisation_tests(
    differences_CN: NDArray[np.floating], *, seed: int, permutations: int = PERMUTATIONS
) -> Doubles:
    """(C,) p of `randomisation_test` for each of C comparisons on the same N needs, all with the same flips."""
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
    rng, size, as_large = np.random.default_rng(seed), len(values), 0
    observed = abs(_student(values[np.newaxis], 0.0)[0])
    for rows in _blocks(resamples, values):
        t_R = _student(values[rng.integers(0, size, (rows, size))], values.mean())
        as_large += int((np.abs(t_R) >= observed - 1e-9).sum())
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


class PooledDifference(NamedTuple):
    """A difference of means over seeds and needs."""

    difference: float
    low: float
    high: float
    p: float
    """Two-sided: the interval of level 1 - p ends at 0."""


_Chance: TypeAlias = tuple[float, int]
"""A source of chance: its estimated part of the variance of the mean, with its degrees of freedom."""


def pooled(
    first_SN: NDArray[np.floating], second_SN: NDArray[np.floating] | None = None, *, level: float = LEVEL
) -> PooledDifference:
    """The first system, S seeds on N needs, against the second, which has other seeds and may have more or fewer.

    Seeds and needs are crossed random effects (Clark 1973): other seeds give other policies, and other needs could have
    been drawn. The squares of the half intervals from each source of chance add up: the seeds of each system that has
    several, and the needs (Banerjee 1961):

        half^2 = sum over systems of t(S - 1)^2 * var(means of seeds) / S  +  t(N - 1)^2 * var(means of needs) / N

    The level holds for normal effects whatever the variances are: the probability that a squared normal value is below
    x is concave in x, so that the probability of the weighted sum is at least the weighted sum of the probabilities,
    each of which is the level. Satterthwaite's degrees of freedom claim too much with few seeds. The interaction of
    needs and seeds is in both terms, which makes the test conservative (as min F' of Clark 1973).

    With one seed, the claim is about that run. With one seed on both sides this is the paired t test.

    Args:
        first_SN: values of a measure.
        second_SN: values on the same needs in the same order; None compares with 0.
        level: of the interval.

    Raises:
        ValueError: For other shapes, fewer than 2 needs, or a value that is not finite.
        MissingLibrary: If scipy is not installed.
    """
    arms = [_checked_seeds(arm_SN) for arm_SN in (first_SN, second_SN) if arm_SN is not None]
    if len({arm.shape[1] for arm in arms}) > 1:
        raise ValueError(f"a paired test of {arms[0].shape[1]} needs with {arms[1].shape[1]}")
    means_N = arms[0].mean(axis=0) - (arms[1].mean(axis=0) if len(arms) > 1 else 0.0)
    varying = [*(arm.mean(axis=1) for arm in arms if len(arm) > 1), means_N]
    sources = [(float(means.var(ddof=1)) / len(means), len(means) - 1) for means in varying]
    difference, half = float(means_N.mean()), _half(sources, 1 - level)
    return PooledDifference(difference, difference - half, difference + half, _p(difference, sources))


def _half(sources: Sequence[_Chance], p: float) -> float:
    """Half the interval of level 1 - p."""
    special = _special()
    return float(np.sqrt(sum(float(special.stdtrit(freedom, p / 2)) ** 2 * variance for variance, freedom in sources)))


def _p(difference: float, sources: Sequence[_Chance]) -> float:
    """The p whose interval ends at 0: between the largest p from one source alone, and 1."""
    away = abs(difference)
    alone = [(freedom, float(np.sqrt(variance))) for variance, freedom in sources if variance > 0]
    if not (alone and away):
        return float(not away)
    low = max(2 * float(_special().stdtr(freedom, -away / error)) for freedom, error in alone)
    if len(alone) == 1 or low == 0:
        return low
    low, high = float(np.log(low)), 0.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if _half(sources, float(np.exp(middle))) > away else (low, middle)
    return float(np.exp(high))


def _special() -> Any:
    try:
        from scipy import special  # scipy.stats has the same t distribution, and takes seconds to import
    except ImportError as error:
        raise MissingLibrary("scipy", "compare", "pooling several seeds") from error
    return special


def _checked_seeds(values_SN: NDArray[np.floating]) -> Doubles:
    values: Doubles = np.asarray(values_SN, np.float64)
    if values.ndim != 2 or not len(values) or values.shape[1] < 2:
        raise ValueError(f"pooling needs an array of seeds by at least 2 needs, got shape {values.shape}")
    return np.array([_checked(row) for row in values])


def _checked(values_N: NDArray[np.floating]) -> Doubles:
    values: Doubles = np.asarray(values_N, np.float64)
    if values.ndim != 1 or not len(values):
        raise ValueError(f"statistics need a list of at least one value, got an array of shape {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError("a value is not finite")
    return values


def _blocks(total: int, values_N: Doubles) -> list[int]:
    """How many repetitions to draw at a time, so that memory stays bounded."""
    size = max(1, _BLOCK // len(values_N))
    return [min(size, total - start) for start in range(0, total, size)]


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
