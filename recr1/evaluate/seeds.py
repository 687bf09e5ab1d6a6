"""Several seeds of training, pooled: is one way of training better than another, and not only one run of it?

Needs and seeds are both chance. Averaging over the seeds and testing over needs alone would take the runs that happened
for all runs there could be: with 400 needs and few seeds it claims differences that the next seed takes back. Testing
over the means of the seeds alone would forget that other needs could have been asked. So both count, as in the studies
of several readers and many cases (Obuchowski and Rockette 1995; Hillis 2007): the same needs under every seed, two-way
random effects, and a t distribution whose degrees of freedom are few where the seeds are.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from recr1.evaluate.stats import LEVEL, Doubles


class Pooled(NamedTuple):
    """A difference of means over seeds and needs."""

    difference: float
    low: float
    high: float
    """Bounds of its interval."""
    p: float
    """Two-sided, that it is 0."""
    error: float
    """Its standard error."""
    freedom: float
    """Degrees of freedom."""


def pooled(
    first_SN: NDArray[np.floating], second_SN: NDArray[np.floating] | None = None, *, level: float = LEVEL
) -> Pooled:
    """The first system, S seeds on N needs, against the second, whose seeds are others and may be more or fewer.

    The variance of the mean is that of the seeds (of each system that has more than one: the variance of its means, by
    their number) plus that of needs (of the differences per need, by N, without the share that the seeds explain
    already). The degrees of freedom are Satterthwaite's. A system with one seed is taken as it is: then the claim is
    about that run.

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
    size = len(means_N)
    many = [arm for arm in arms if len(arm) > 1]
    seeds = [float(arm.mean(axis=1).var(ddof=1)) / len(arm) for arm in many]
    explained = sum(_interaction(arm) / (arm.size) for arm in many)
    needs = max(float(means_N.var(ddof=1)) / size - explained, 0.0)
    variance = sum(seeds) + needs
    difference = float(means_N.mean())
    if variance == 0:
        return Pooled(difference, difference, difference, float(difference == 0), 0.0, float(size - 1))
    lost = needs**2 / (size - 1) + sum(part**2 / (len(arm) - 1) for part, arm in zip(seeds, many, strict=True))
    freedom, error = variance**2 / lost, float(np.sqrt(variance))
    from scipy import special  # scipy.stats has the same t distribution, and takes seconds to import

    half = float(special.stdtrit(freedom, (1 + level) / 2)) * error
    p = 2 * float(special.stdtr(freedom, -abs(difference) / error))
    return Pooled(difference, difference - half, difference + half, p, error, freedom)


def _interaction(values_SN: Doubles) -> float:
    """The mean square of what neither need nor seed explains: the part of the needs' variance that seeds hold too."""
    seeds, size = values_SN.shape
    rest = values_SN - values_SN.mean(axis=0) - values_SN.mean(axis=1, keepdims=True) + values_SN.mean()
    return float((rest**2).sum() / ((seeds - 1) * (size - 1)))


def _checked(values_SN: NDArray[np.floating]) -> Doubles:
    values: Doubles = np.asarray(values_SN, np.float64)
    if values.ndim != 2 or not len(values) or values.shape[1] < 2:
        raise ValueError(f"pooling needs seeds by at least 2 needs, not an array of shape {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError("statistics of a value that is not finite")
    return values
