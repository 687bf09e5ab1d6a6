"""Several seeds pooled: formulas by hand, and how often it claims what is not so and finds what is."""

from __future__ import annotations

import numpy as np
import pytest

from recr1.judge.stats import pooled, standard_error

NEED, BOTH, NOISE = 0.3, 0.15, 0.01
"""Deviations of needs, of what a seed makes of a need, and of the seeds of a run like the quickstart."""


def drawn(rng, seeds, spread, needs=200, difference=0.0, both=BOTH):
    """(S, N) a policy by its seeds, against a fixed one: 0 or `difference` on average over all seeds and needs."""
    need, seed = rng.normal(0, NEED, (1, needs)), rng.normal(0, 1, (seeds, 1)) * spread
    return difference + need + seed + rng.normal(0, both, (seeds, needs))


def claims(first, second=None):
    """Whether a difference is claimed at 0.05; by the interval, which takes less time than p."""
    found = pooled(first, second)
    return found.low > 0 or found.high < 0


def share_claimed(seeds, spread, trials, *, against=1, seed=0, **options):
    """How often two systems are told apart: S seeds against a fixed policy, or other seeds on the same needs."""
    rng, claimed = np.random.default_rng(seed), 0
    for _ in range(trials):
        first = drawn(rng, seeds, spread, **options)
        second = drawn(rng, against, spread, **{**options, "difference": 0.0}) if against > 1 else None
        claimed += claims(first, second)
    return claimed / trials


@pytest.mark.parametrize(("seeds", "against"), [(2, 1), (3, 1), (5, 1), (3, 3)])
@pytest.mark.parametrize("spread", [0.0, 0.02, 0.06])
def test_no_more_than_5_percent_of_null_comparisons_are_claimed(seeds, against, spread):
    # 300 trials: 0.05 and two standard errors of a share, so that a level of 8% is told in most of these cases.
    assert share_claimed(seeds, spread, 300, against=against) <= 0.05 + 2 * (0.05 * 0.95 / 300) ** 0.5


@pytest.mark.slow
@pytest.mark.parametrize("against", [1, 2, 3, 5])
@pytest.mark.parametrize("seeds", [2, 3, 5])
@pytest.mark.parametrize("spread", [0.0, 0.01, 0.03, 0.06, 0.2])
def test_the_level_holds_for_few_and_many_seeds_of_any_spread(seeds, against, spread):
    trials = 1_000
    shares = [share_claimed(seeds, spread, trials, against=against, seed=7, needs=needs) for needs in (30, 300)]
    assert max(shares) <= 0.05 + 2.5 * (0.05 * 0.95 / trials) ** 0.5


def test_a_difference_of_five_hundredths_over_500_needs_is_found_with_three_seeds():
    assert share_claimed(3, 0.0, 300, needs=500, difference=0.05) > 0.8
    assert share_claimed(3, NOISE, 300, needs=500, difference=0.05) > 0.6
    assert share_claimed(5, NOISE, 300, needs=500, difference=0.05) > 0.8


def test_averages_over_seeds_would_claim_what_the_next_seeds_take_back():
    rng, naive = np.random.default_rng(5), 0
    for _ in range(200):
        differences = drawn(rng, 3, 0.06).mean(axis=0)
        naive += abs(differences.mean()) > 1.98 * standard_error(differences)
    assert naive / 200 > 0.3


def test_what_is_larger_than_the_spread_of_seeds_is_found():
    rng = np.random.default_rng(6)
    found = pooled(drawn(rng, 5, NOISE, difference=0.2), drawn(rng, 5, NOISE))
    assert found.p < 0.01 and found.low < 0.2 < found.high


def test_pooled_numbers_are_those_of_the_hand():
    # Means of the seeds 0.2 and 0.4: their variance 0.02, by 2 seeds 0.01. Means of the needs 0.5 and 0.1: 0.08, by 2
    # needs 0.04. With one degree of freedom each t is 12.7062 at the level 0.95: 161.4474 * 0.05.
    found = pooled(np.array([[0.3, 0.1], [0.7, 0.1]]))
    assert found.difference == pytest.approx(0.3)
    assert found.high - 0.3 == 0.3 - found.low == pytest.approx(161.447639**0.5 * 0.05**0.5)
    # Both have one degree of freedom, so that p is that of t = 0.3 / sqrt(0.05) alone: Cauchy, 1 - 2 atan(t) / pi.
    assert found.p == pytest.approx(1 - 2 * np.arctan(0.3 / 0.05**0.5) / np.pi)


def test_seeds_of_both_sides_and_needs_add_up_as_squares():
    rng = np.random.default_rng(9)
    first, second = drawn(rng, 3, 0.05), drawn(rng, 4, 0.05)
    found = pooled(first, second)
    of_seeds = [4.302653 * standard_error(first.mean(axis=1)), 3.182446 * standard_error(second.mean(axis=1))]
    of_needs = 1.971957 * standard_error(first.mean(axis=0) - second.mean(axis=0))  # t of 199 at 0.95
    assert found.high - found.difference == pytest.approx(np.hypot(np.hypot(*of_seeds), of_needs))


@pytest.mark.parametrize("level", [0.5, 0.95, 0.999])
def test_the_interval_of_level_1_minus_p_ends_at_0(level):
    first = drawn(np.random.default_rng(2), 3, 0.02)
    edge = first + pooled(first, level=level).high - 2 * first.mean()
    assert pooled(edge, level=level).low == pytest.approx(0, abs=1e-12)
    assert pooled(edge).p == pytest.approx(1 - level, rel=1e-9)
    assert pooled(-edge).p == pytest.approx(1 - level, rel=1e-9)


def test_a_single_seed_on_either_side_is_the_t_test_over_needs():
    rng = np.random.default_rng(8)
    first, second = rng.normal(0.1, 1, (1, 30)), rng.normal(0, 1, (1, 30))
    found, differences = pooled(first, second), (first - second)[0]
    assert found.high - found.difference == pytest.approx(2.045230 * standard_error(differences))  # t of 29 at 0.95


def test_a_great_difference_has_a_small_p_and_no_error():
    assert 0 <= pooled(1e9 + drawn(np.random.default_rng(0), 1, 0.0)).p < 1e-300
    assert 0 < pooled(1e9 + drawn(np.random.default_rng(0), 3, 0.01)).p < 1e-15


def test_no_spread_at_all_is_a_point():
    assert pooled(np.full((2, 3), 0.5), np.full((2, 3), 0.5))[:4] == (0, 0, 0, 1)
    assert pooled(np.full((2, 3), 0.5))[:4] == (0.5, 0.5, 0.5, 0)


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (np.zeros((2, 3)), np.zeros((2, 4)), "3 needs with 4"),
        (np.zeros(3), None, "seeds by at least 2 needs"),
        (np.array([[0.1, np.nan]]), None, "not finite"),
    ],
)
def test_pooling_refuses_other_shapes(first, second, message):
    with pytest.raises(ValueError, match=message):
        pooled(first, second)
