"""How much of what was found anybody judged, in the numbers of a step, and the alarm that reads them."""

from __future__ import annotations

import numpy as np
import pytest

from recr1.config.build import AlarmSpec
from recr1.env import unjudged_metrics
from recr1.trainers.watch.alarm import Alarm
from rewards.testing import batch_of


def test_unjudged_items_are_counted_among_those_found():
    keys = [{1: 1, 2: 0}, {1: 1}, {1: 1}, {3: -1}]
    batch = batch_of(["a", "b", None, "d"], [[1, 2, 9], [8, 9, -1], [-1] * 3, [3, 9, -1]], keys)
    # 9 | 8 and 9 | nothing | 9: four of seven; of three rankings one holds nothing that is judged
    assert unjudged_metrics(batch) == {"hits/unjudged@3": pytest.approx(4 / 7), "hits/blind@3": pytest.approx(1 / 3)}


def test_only_the_first_ten_places_count():
    batch = batch_of(["a"], [[*range(20, 30), 1]], [{1: 1}])
    assert unjudged_metrics(batch) == {"hits/unjudged@10": 1.0, "hits/blind@10": 1.0}


def test_where_nothing_was_found_nothing_is_unjudged():
    for batch in (batch_of([None], [[-1, -1]], [{1: 1}]), batch_of([], np.empty((0, 3)), [])):
        assert set(unjudged_metrics(batch).values()) == {0.0}


@pytest.mark.parametrize("name", ["train/hits/blind@10", "train/hits/blind@3"])
def test_rankings_in_which_nothing_is_judged_are_told_once_from_the_start_and_stop_nothing(name):
    alarm = Alarm(AlarmSpec(warn_after=2, stop_after=4), "eval/validation/nDCG@10")
    told = [[f"{alert.level} {alert.sign}" for alert in alarm.take({name: 0.99})] for _ in range(9)]
    assert told == [[], ["warning blind"], *[[]] * 7]


def test_the_warning_says_what_helps():
    (alert,) = Alarm(AlarmSpec(warn_after=1), "eval/validation/nDCG@10").take({"train/hits/blind@10": 0.99})
    assert "rankings in which nothing is judged 0.99" in alert.text and "judge more items" in alert.text


def test_a_key_that_judges_some_of_what_is_found_is_no_cause_for_alarm():
    alarm = Alarm(AlarmSpec(warn_after=1), "eval/validation/nDCG@10")
    assert alarm.take({"train/hits/blind@10": 0.95}) == []
    assert Alarm(AlarmSpec(warn_after=1, blind=None), "m").take({"train/hits/blind@10": 1.0}) == []
