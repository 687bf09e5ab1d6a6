"""Several seeds of training, pooled: is one way of training better than another, and not only one run of it?

Needs and seeds are both chance. Averaging over the seeds and testing over needs alone would take the runs that happened
for all runs there could be: with 400 needs and few seeds it claims differences that the next seed takes back. Testing
over the means of the seeds alone would forget that other needs could have been asked. So both count: the same needs
under every seed, crossed random effects (Clark 1973), each with the quantile of its own degrees of freedom.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from recr1.judge.stats import LEVEL, Doubles

_HALVINGS = 60
"""Of the range that p is in; each halves the error of its logarithm."""


class Pooled(NamedTuple):
    """A difference of means over seeds and needs."""

    difference: float
    low: float
    high: float
    """Bounds of its interval."""
    p: float
    """Two-sided, that it is 0: the interval of level 1 - p ends at 0."""
    over_seeds: float
    """Half the interval that seeds alone would have; more seeds make it narrower. 0 where no system has several."""
    over_needs: float
    """Half the interval that needs alone would have; more needs make it narrower."""


class _Source(NamedTuple):
    """A source of chance: its share of the variance of the mean, as estimated, with its degrees of freedom."""

    variance: float
    freedom: int


def pooled(
    first_SN: NDArray[np.floating], second_SN: NDArray[np.floating] | None = None, *, level: float = LEVEL
) -> Pooled:
    """The first system, S seeds on N needs, against the second, whose seeds are others and may be more or fewer.

    Half the interval is the root of the sum of squares of what each source of chance would make it alone, for the
    seeds of each system that has several and for the needs (Banerjee 1961):

        half^2 = sum over systems of t(S - 1)^2 * var(means of seeds) / S  +  t(N - 1)^2 * var(means of needs) / N

    Its level holds whatever the variances are, for normal effects: the chance that a squared normal value is below x is
    concave in x, so that the chance of the weighted sum is at least the same weighted sum of chances, each of which is
    the level. One t distribution with Satterthwaite's degrees of freedom would be narrower, and is too bold with few
    seeds: where their means happen to lie close together, it takes the many degrees of freedom of the needs. What needs
    and seeds do together is in both terms, which errs on the safe side (as min F' of Clark 1973 does).

    A system with one seed is taken as it is: then the claim is about that run. With one seed on both sides this is the
    paired t test.

    Args:
        first_SN: values of a measure.
        second_SN: values on the same needs in the same order; None compares with 0.
        level: of the interval.

    Raises:
        ValueError: For other shapes, fewer than 2 needs, or a value that is not finite.
        ModuleNotFoundError: Where scipy is not installed.
    """
    arms = [_checked(first_SN), *([] if second_SN is None else [_checked(second_SN)])]
    if len({arm.shape[1] for arm in arms}) > 1:
        raise ValueError(f"a paired comparison of {arms[0].shape[1]} needs with {arms[1].shape[1]}")
    means_N = arms[0].mean(axis=0) - (arms[1].mean(axis=0) if len(arms) > 1 else 0.0)
    seeds = [_source(arm.mean(axis=1)) for arm in arms if len(arm) > 1]
    needs = [_source(means_N)]
    difference = float(means_N.mean())
    half = _half(seeds + needs, 1 - level)
    p = _p(difference, seeds + needs)
    return Pooled(difference, difference - half, difference + half, p, _half(seeds, 1 - level), _half(needs, 1 - level))


def _source(means: Doubles) -> _Source:
    return _Source(float(means.var(ddof=1)) / len(means), len(means) - 1)


def _half(sources: Sequence[_Source], p: float) -> float:
    """Half the interval of level 1 - p."""
    from scipy import special  # scipy.stats has the same t distribution, and takes seconds to import

    return float(np.sqrt(sum(float(special.stdtrit(freedom, p / 2)) ** 2 * variance for variance, freedom in sources)))


def _p(difference: float, sources: Sequence[_Source]) -> float:
    """The p whose interval ends at 0, between that of the source that alone would have the largest and 1."""
    from scipy import special

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


def _checked(values_SN: NDArray[np.floating]) -> Doubles:
    values: Doubles = np.asarray(values_SN, np.float64)
    if values.ndim != 2 or not len(values) or values.shape[1] < 2:
        raise ValueError(f"pooling needs seeds by at least 2 needs, not an array of shape {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError("statistics of a value that is not finite")
    return values
