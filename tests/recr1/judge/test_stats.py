from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from recr1.judge.difference import paired_test
from recr1.judge.stats import (
    bootstrap_interval,
    bootstrap_test,
    effect_size,
    holm,
    randomisation_test,
    randomisation_tests,
    ratio_interval,
    standard_error,
)


def test_the_interval_surrounds_the_mean_and_is_seeded():
    values = np.random.default_rng(0).random(50)
    one, again, other = (bootstrap_interval(values, seed=seed) for seed in (1, 1, 2))
    assert one.low < one.mean < one.high and one.mean == pytest.approx(values.mean())
    assert one == again and one != other


def test_the_interval_has_the_width_of_the_normal_one_on_many_values():
    values = np.random.default_rng(0).normal(size=2_000)
    interval = bootstrap_interval(values, seed=0)
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * values.std() / 2_000**0.5, rel=0.06)


def test_the_interval_covers_the_true_mean_as_often_as_it_says():
    rng = np.random.default_rng(7)
    samples = rng.beta(0.5, 0.8, size=(300, 100))  # like nDCG: piled up at 0 and 1
    covered = [low <= 0.5 / 1.3 <= high for _, low, high in (bootstrap_interval(s, seed=0) for s in samples)]
    assert 0.91 <= np.mean(covered) <= 0.98


def test_one_value_and_equal_values_have_a_point_as_interval():
    assert bootstrap_interval(np.array([0.25]), seed=0) == (0.25, 0.25, 0.25)
    assert bootstrap_interval(np.full(9, 0.5), seed=0) == (0.5, 0.5, 0.5)


@pytest.mark.parametrize("values", [[], [[1.0]]])
def test_statistics_need_a_list_of_values(values):
    with pytest.raises(ValueError, match="at least one value"):
        bootstrap_interval(np.array(values), seed=0)


def test_statistics_refuse_what_is_not_finite():
    with pytest.raises(ValueError, match="not finite"):
        randomisation_test(np.array([0.1, np.nan]), seed=0)


def test_the_test_agrees_with_all_sign_flips_of_a_small_sample():
    differences = np.array([0.3, 0.1, -0.05, 0.2, 0.15, -0.1, 0.25, 0.05])
    flips = np.array(list(itertools.product([-1, 1], repeat=8)))
    exact = np.mean(np.abs(flips @ differences) >= abs(differences.sum()) - 1e-12)
    assert randomisation_test(differences, seed=0, permutations=50_000) == pytest.approx(exact, abs=0.006)


def test_p_values_without_an_effect_are_uniform():
    rng = np.random.default_rng(3)
    systems = rng.beta(0.5, 0.8, size=(200, 2, 60))
    p = np.array([randomisation_test(a - b, seed=0, permutations=2_000) for a, b in systems])
    assert np.mean(p < 0.05) <= 0.06
    assert np.mean(p < 0.5) == pytest.approx(0.5, abs=0.1)


def test_a_true_difference_of_five_hundredths_is_found_on_500_needs():
    rng = np.random.default_rng(0)
    floor = np.clip(rng.normal(0.4, 0.25, 500), 0, 1)
    policy = np.clip(floor + rng.normal(0.05, 0.2, 500), 0, 1)
    found = paired_test(policy, floor, seed=0)
    assert found.p < 0.001 and 0 < found.low < found.difference < found.high


def test_no_difference_at_all_has_p_one():
    assert randomisation_test(np.zeros(10), seed=0) == 1.0


def test_p_is_never_zero_and_does_not_depend_on_the_direction():
    differences = np.full(100, 0.5)
    assert randomisation_test(differences, seed=0, permutations=999) == pytest.approx(1 / 1000)
    some = np.array([0.4, -0.1, 0.2, 0.3, 0.05])
    assert randomisation_test(some, seed=1) == randomisation_test(-some, seed=1)


def test_needs_without_a_difference_change_nothing():
    some = np.array([0.4, -0.1, 0.2, 0.3, 0.05])
    assert randomisation_test(np.append(some, np.zeros(50)), seed=1) == randomisation_test(some, seed=1)


def test_large_inputs_are_worked_off_in_blocks():
    values = np.random.default_rng(0).normal(0.02, 1, 20_000)
    assert bootstrap_interval(values, seed=0, resamples=500).low < values.mean()
    assert 0 < randomisation_test(values, seed=0, permutations=500) <= 1


def test_a_comparison_counts_wins_ties_and_losses():
    found = paired_test(np.array([1, 0.5, 0.2, 0.9]), np.array([0.5, 0.5, 0.4, 0.1]), seed=0)
    assert (found.wins, found.ties, found.losses) == (2, 1, 1)
    assert found.difference == pytest.approx(0.275)


def test_a_comparison_needs_the_same_needs():
    with pytest.raises(ValueError, match="2 needs with 3"):
        paired_test(np.zeros(2), np.zeros(3), seed=0)


def test_the_standard_error_of_a_mean_is_that_of_the_hand_and_unknown_for_one_value():
    assert standard_error(np.array([1.0, 0.0, 0.0])) == pytest.approx(1 / 3)
    assert standard_error(np.full(5, 0.25)) == 0
    assert math.isnan(standard_error(np.array([0.5])))


def null_differences(comparisons, needs, seed):
    """Two systems alike, each piled up at 0 and 1 as nDCG is."""
    first, second = np.random.default_rng(seed).beta(0.5, 0.8, size=(2, comparisons, needs))
    return first - second


def test_of_200_null_comparisons_no_more_than_5_percent_are_called_significant():
    p = randomisation_tests(null_differences(200, 100, seed=0), seed=0, permutations=5_000)
    assert np.mean(p < 0.05) <= 0.05
    assert (holm(p) < 0.05).sum() == 0


def test_many_comparisons_at_once_have_the_p_of_each_alone():
    differences = null_differences(5, 40, seed=1)
    assert randomisation_tests(differences, seed=3) == pytest.approx(
        [randomisation_test(d, seed=3) for d in differences]
    )
    with_zeros = np.vstack([differences, np.zeros(40)])
    assert randomisation_tests(with_zeros, seed=3)[-1] == 1.0
    assert randomisation_tests(np.zeros((2, 4)), seed=0).tolist() == [1, 1]


def test_holm_is_that_of_the_hand():
    # 0.005 * 4, 0.01 * 3, 0.03 * 2 and 0.04 * 1, which may not be below the 0.06 before it.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]).tolist() == [1.0, 1.0]
    assert holm([0.2]).tolist() == [0.2]
    assert holm([]).tolist() == []


def test_the_effect_is_the_mean_by_the_standard_deviation():
    assert effect_size(np.array([0.0, 0.2, 0.4])) == pytest.approx(0.2 / 0.2)
    assert effect_size(np.zeros(3)) == 0.0
    assert effect_size(np.full(3, 0.25)) is None
    assert effect_size(np.array([0.25])) is None


def test_the_bootstrap_test_holds_its_level_and_finds_an_effect():
    null = [bootstrap_test(d, seed=0, resamples=1_000) for d in null_differences(600, 60, seed=2)]
    assert 0.03 <= np.mean(np.array(null) < 0.05) <= 0.07
    assert bootstrap_test(np.random.default_rng(0).normal(0.05, 0.2, 500), seed=0) < 0.001
    assert bootstrap_test(np.zeros(5), seed=0) == 1.0
    assert bootstrap_test(np.full(9, 0.5), seed=0, resamples=99) <= 0.05


def test_a_ratio_is_that_of_the_means_and_its_interval_covers_the_true_one():
    rng, inside = np.random.default_rng(0), 0
    for seed in range(100):
        second = rng.normal(0.2, 0.3, 150)
        first = 2 * second + rng.normal(0.1, 0.2, 150)  # means 0.5 and 0.2
        found = ratio_interval(first, second, seed=seed)
        assert found.mean == pytest.approx(first.mean() / second.mean())
        inside += found.low <= 2.5 <= found.high
    assert 0.90 <= inside / 100 <= 0.99
    assert ratio_interval(first, first / 2, seed=0) == pytest.approx((2, 2, 2))


def test_there_is_no_ratio_to_what_may_be_zero_or_is_below():
    rng = np.random.default_rng(0)
    values = rng.normal(0, 1, 100)
    near = values - values.mean() + 0.1  # a mean of one standard error
    assert ratio_interval(np.ones(100), near, seed=0) is None
    assert ratio_interval(np.ones(100), near - 5, seed=0) is None
    assert ratio_interval(np.ones(100), near + 0.2, seed=0).mean == pytest.approx(1 / 0.3)
