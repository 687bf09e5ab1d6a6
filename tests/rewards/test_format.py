from __future__ import annotations

import pytest

from rewards.guards.form import FormatReward
from rewards.testing import batch_of


def batch():
    return batch_of(["tent", None, ""], [[1], [-1], [-1]], [{1: 1}] * 3)


def test_pays_for_a_completion_that_could_be_read():
    assert FormatReward()(batch()).tolist() == [1.0, 0.0, 1.0]


def test_both_numbers_are_options():
    assert FormatReward(valid=0.25, invalid=-2)(batch()).tolist() == [0.25, -2.0, 0.25]


def test_the_name_says_which_numbers_are_not_the_usual_ones():
    assert FormatReward().name == "format"
    assert FormatReward(invalid=-1.0).name == "format(invalid=-1.0)"
    assert FormatReward(valid=0.5, invalid=-1.0).name == "format(valid=0.5,invalid=-1.0)"


def test_paying_more_for_an_invalid_completion_is_refused():
    with pytest.raises(ValueError, match=r"invalid: must not be above valid \(1.0\), got 1.5: swap them, or lower it"):
        FormatReward(invalid=1.5)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_numbers_that_are_not_finite_are_refused(number):
    with pytest.raises(ValueError, match="invalid: must be a number, got"):
        FormatReward(invalid=number)
