"""Groups are counted, not simulated: by hand, and against every group that there is."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from recr1.headroom.headroom import best_of, flat_shares


def test_flat_groups_by_hand():
    # Of four rewards 0 0 0 1, pairs: 6, three of them equal; triples: 4, one of them equal; all four are not.
    rewards = np.array([[0, 1, 0, 0]], np.float32)
    assert [flat_shares(rewards, size, 1e-6).item() for size in (2, 3, 4)] == pytest.approx([3 / 6, 1 / 4, 0])


def test_a_need_that_always_earns_the_same_is_flat_and_one_that_never_does_is_not():
    rewards = np.array([[0.5] * 4, [0.1, 0.2, 0.3, 0.4]])
    assert flat_shares(rewards, 3, 1e-6).tolist() == [1.0, 0.0]


def test_the_tolerance_is_from_the_smallest_to_the_largest_of_a_group():
    # 0.0, 0.1, 0.2: neighbours are within 0.1, the outer two are not, and no chain makes them so.
    rewards = np.array([[0.2, 0.0, 0.1]])
    assert flat_shares(rewards, 2, 0.1).item() == pytest.approx(2 / 3)
    assert flat_shares(rewards, 3, 0.1).item() == 0
    assert flat_shares(rewards, 3, 0.2).item() == 1


def test_best_of_by_hand():
    values = np.array([[3.0, 1.0, 2.0]])
    # Pairs: {1,2} {1,3} {2,3}, whose best are 2, 3, 3.
    assert [best_of(values, size).item() for size in (1, 2, 3)] == pytest.approx([2, 8 / 3, 3])


@pytest.mark.parametrize("size", [2, 3, 5, 7])
def test_both_are_the_means_over_every_group(size):
    rewards = np.random.default_rng(size).integers(0, 4, (5, 7)) / 3
    groups = list(combinations(range(7), size))
    flat = [[np.ptp(row[list(group)]) <= 0.34 for group in groups] for row in rewards]
    best = [[row[list(group)].max() for group in groups] for row in rewards]
    np.testing.assert_allclose(flat_shares(rewards, size, 0.34), np.mean(flat, axis=1), atol=1e-12)
    np.testing.assert_allclose(best_of(rewards, size), np.mean(best, axis=1), atol=1e-12)


def test_the_estimate_is_unbiased():
    """Over all samples of 4 from a coin of 0.25, its mean is the probability itself: 0.25^2 + 0.75^2."""
    samples = np.array(list(np.ndindex(2, 2, 2, 2)), np.float64)
    weights = np.prod(np.where(samples == 1, 0.25, 0.75), axis=1)
    assert weights @ flat_shares(samples, 2, 0.0) == pytest.approx(0.25**2 + 0.75**2)


def test_large_samples_do_not_overflow():
    assert flat_shares(np.zeros((1, 2000)), 32, 0.0).item() == pytest.approx(1)


@pytest.mark.parametrize("size", [1, 5])
def test_groups_that_the_samples_do_not_hold_are_refused(size):
    with pytest.raises(ValueError, match=rf"group size must be from 2 to 4 \(the samples\), got {size}"):
        flat_shares(np.zeros((1, 4)), size, 0.0)
