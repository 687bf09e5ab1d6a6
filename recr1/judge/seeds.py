"""Several seeds of training, pooled: is one way of training better than another, or only one run of it?

Both needs and seeds vary by chance. A test over needs of values averaged over seeds ignores that other seeds would give
other policies: with 400 needs and few seeds it claims differences that the next seed takes back. A test over the means
of the seeds ignores that other needs could have been drawn. So both count: the same needs under every seed, crossed
random effects (Clark 1973), each with the quantile of its own degrees of freedom.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recr1.errors import MissingLibrary
from recr1.judge.stats import LEVEL, Doubles, Interval, bootstrap_interval

_HALVINGS = 60
"""Bisection steps for p; each halves the error of its logarithm."""


class PooledDifference(NamedTuple):
    """A difference of means over seeds and needs."""

    difference: float
    low: float
    high: float
    """Bounds of its interval."""
    p: float
    """Two-sided: the interval of level 1 - p ends at 0."""
    over_seeds: float
    """Half the interval from seeds alone; more seeds make it narrower. 0 where no system has several."""
    over_needs: float
    """Half the interval from needs alone; more needs make it narrower."""


class _Chance(NamedTuple):
    """A source of chance: its estimated part of the variance of the mean, with its degrees of freedom."""

    variance: float
    freedom: int


def pooled(
    first_SN: NDArray[np.floating], second_SN: NDArray[np.floating] | None = None, *, level: float = LEVEL
) -> PooledDifference:
    """The first system, S seeds on N needs, against the second, which has other seeds and may have more or fewer.

    The squares of the half intervals from each source of chance add up: the seeds of each system that has several, and
    the needs (Banerjee 1961):

        half^2 = sum over systems of t(S - 1)^2 * var(means of seeds) / S  +  t(N - 1)^2 * var(means of needs) / N

    The level holds for normal effects whatever the variances are: the probability that a squared normal value is below
    x is concave in x, so that the probability of the weighted sum is at least the weighted sum of the probabilities,
    each of which is the level. One t distribution with Satterthwaite's degrees of freedom would be narrower, and claims
    too much with few seeds: where their means happen to be close, it takes the many degrees of freedom of the needs.
    The interaction of needs and seeds is in both terms, which makes the test conservative (as min F' of Clark 1973).

    With one seed, the claim is about that run. With one seed on both sides this is the paired t test.

    Args:
        first_SN: values of a measure.
        second_SN: values on the same needs in the same order; None compares with 0.
        level: of the interval.

    Raises:
        ValueError: For other shapes, fewer than 2 needs, or a value that is not finite.
        MissingLibrary: If scipy is not installed.
    """
    arms = [_checked(first_SN), *([] if second_SN is None else [_checked(second_SN)])]
    if len({arm.shape[1] for arm in arms}) > 1:
        raise ValueError(f"a paired test of {arms[0].shape[1]} needs with {arms[1].shape[1]}")
    means_N = arms[0].mean(axis=0) - (arms[1].mean(axis=0) if len(arms) > 1 else 0.0)
    seeds = [_chance(arm.mean(axis=1)) for arm in arms if len(arm) > 1]
    needs = [_chance(means_N)]
    difference = float(means_N.mean())
    half = _half(seeds + needs, 1 - level)
    p = _p(difference, seeds + needs)
    alone = [_half(one, 1 - level) for one in (seeds, needs)]
    return PooledDifference(difference, difference - half, difference + half, p, *alone)


def mean_interval(values_SN: NDArray[np.floating], *, seed: int) -> Interval:
    """The mean of S seeds on N needs with its interval: over needs, and over seeds too if there are several."""
    if len(values_SN) == 1:
        return bootstrap_interval(values_SN[0], seed=seed)
    return Interval(*pooled(values_SN)[:3])


def _chance(means: Doubles) -> _Chance:
    return _Chance(float(means.var(ddof=1)) / len(means), len(means) - 1)


def _half(sources: Sequence[_Chance], p: float) -> float:
    """Half the interval of level 1 - p."""
    special = _special()
    return float(np.sqrt(sum(float(special.stdtrit(freedom, p / 2)) ** 2 * variance for variance, freedom in sources)))


def _p(difference: float, sources: Sequence[_Chance]) -> float:
    """The p whose interval ends at 0: between the largest p from one source alone, and 1."""
    special = _special()
    away = abs(difference)
    alone = [(freedom, float(np.sqrt(variance))) for variance, freedom in sources if variance > 0]
    if not (alone and away):
        return float(not away)
    low = max(2 * float(special.stdtr(freedom, -away / error)) for freedom, error in alone)
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


def _checked(values_SN: NDArray[np.floating]) -> Doubles:
    values: Doubles = np.asarray(values_SN, np.float64)
    if values.ndim != 2 or not len(values) or values.shape[1] < 2:
        raise ValueError(f"pooling needs an array of seeds by at least 2 needs, got shape {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError("a value is not finite")
    return values
