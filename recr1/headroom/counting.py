"""What a group of G completions would be like, from n that were drawn: counted over all its subsets, not simulated.

A group of a trainer is G independent completions of one need. The n that were sampled hold C(n, G) such groups; the
share of them that has a property is an unbiased estimate of its probability (a U-statistic: Hoeffding 1948).
"""

from __future__ import annotations

from math import comb

import numpy as np
from numpy.typing import NDArray

from recr1.judge.stats import Doubles


def flat_shares(rewards_NS: NDArray[np.floating], group: int, tolerance: float) -> Doubles:
    """(N,) for each need, how probably a group of its completions has no spread: nothing is learned from it.

    A group is flat where its largest reward exceeds its smallest by no more than the tolerance, as the trainers'
    `resample_tolerance` has it. Each flat group is counted once, at its smallest member: where c rewards lie within the
    tolerance above it (equal ones come later in the order), C(c, G - 1) groups begin with it.

    Raises:
        ValueError: For groups below 2 or above the number of samples.
    """
    samples = rewards_NS.shape[1]
    beginning = _shares(range(samples), group - 1, _groups(samples, group))
    ordered = np.sort(rewards_NS.astype(np.float64), axis=1)
    shares = np.empty(len(ordered))
    for need, rewards_S in enumerate(ordered):
        within = rewards_S[None, :] - rewards_S[:, None] <= tolerance
        later = np.triu(within, 1).sum(axis=1)
        shares[need] = beginning[later].sum()
    return shares


def best_of(values_NS: NDArray[np.floating], group: int) -> Doubles:
    """(N,) for each need, the expected best of a group of its completions.

    In rising order, the value at place i (from 0) is the best of C(i, G - 1) groups.

    Raises:
        ValueError: For groups below 1 or above the number of samples.
    """
    samples = values_NS.shape[1]
    weights = _shares(range(samples), group - 1, _groups(samples, group, least=1))
    best: Doubles = np.sort(values_NS.astype(np.float64), axis=1) @ weights
    return best


def _groups(samples: int, group: int, least: int = 2) -> int:
    if not least <= group <= samples:
        raise ValueError(f"groups of {group} in {samples} samples: from {least} to {samples} can be counted")
    return comb(samples, group)


def _shares(places: range, chosen: int, groups: int) -> Doubles:
    # Whole numbers to the end: C(1000, 32) is beyond what a float holds exactly.
    return np.array([comb(place, chosen) / groups for place in places])
