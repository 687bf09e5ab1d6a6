"""The alarm on series of numbers made by hand, and the thresholds that it is given."""

from __future__ import annotations

import json

import pytest

from recr1.config.build import AlarmSpec, EvaluationSpec
from recr1.trainers.watch.alarm import Alarm
from recr1.trainers.watch.best import Progress

MAIN = "eval/validation/nDCG@10"
SHORT = {"warn_after": 2, "stop_after": 4, "validations": 2}


def levels(spec, lines, best=None):
    """For each line, the signs that it told and how."""
    alarm = Alarm(spec, MAIN)
    alarm.best = best
    return [[f"{alert.level} {alert.sign}" for alert in alarm.take(line)] for line in lines]


def steps(name, *values):
    return [{name: value} for value in values]


def validations(*values, floor=0.2, error=0.01):
    return [{MAIN: value, f"{MAIN}/floor": floor, f"{MAIN}/stderr": error} for value in values]


def test_a_sign_is_told_when_it_lasts_and_stops_the_run_when_it_goes_on():
    spec = AlarmSpec(**SHORT, stop_on=("entropy",), entropy=0.1)
    told = levels(spec, steps("train/entropy", 1.0, 0.05, 0.05, 0.05, 0.05, 0.05))
    assert told == [[], [], ["warning entropy"], [], ["stop entropy"], []]


def test_a_step_on_the_good_side_begins_the_count_anew_and_does_not_repeat_the_warning():
    spec = AlarmSpec(**SHORT, stop_on=("entropy",), entropy=0.1)
    told = levels(spec, steps("train/entropy", 1.0, 0.05, 0.05, 0.05, 0.2, 0.05, 0.05, 0.05, 0.2, 0.2, 0.05, 0.05))
    assert [place for place, said in enumerate(told) if said] == [2, 11]  # two good steps make it change again


def test_what_was_bad_from_the_start_is_no_collapse_until_it_was_good_for_some_steps():
    spec = AlarmSpec(**SHORT)
    assert levels(spec, steps("train/outcome/invalid", *[0.9] * 9)) == [[]] * 9
    flickering = steps("train/outcome/invalid", 0.9, 0.2, 0.9, 0.9, 0.9, 0.9)
    assert levels(spec, flickering) == [[]] * 6
    learned = steps("train/outcome/invalid", 0.9, 0.2, 0.2, 0.9, 0.9, 0.9, 0.9)
    assert levels(spec, learned) == [[], [], [], [], ["warning valid"], [], ["stop valid"]]


def test_rollouts_without_an_answer_are_no_invalid_ones():
    line = {"train/outcome/invalid": 0.3, "train/outcome/retriever_error": 0.5}  # 0.3 of the half that was answered
    told = levels(AlarmSpec(**SHORT), [{"train/outcome/invalid": 0.0}, line, line])
    assert told[2] == ["warning valid"]
    without = {"train/outcome/invalid": 0.0, "train/outcome/retriever_error": 1.0}
    assert levels(AlarmSpec(**SHORT), [without] * 3) == [[]] * 3


@pytest.mark.parametrize(
    ("name", "good", "bad", "sign"),
    [
        ("train/entropy", 0.011, 0.009, "entropy"),
        ("train/kl", 9.0, 11.0, "kl"),
        ("train/query/repeated", 0.49, 0.51, "repeated"),
        ("train/outcome/invalid", 0.49, 0.51, "valid"),
        ("train/query/words", 11.9, 12.1, "growth"),
    ],
)
def test_each_sign_has_its_own_number_and_bound(name, good, bad, sign):
    best = {"value": 0.5, "error": 0.01, "words": 3.0}
    assert levels(AlarmSpec(), steps(name, *[good] * 30), best) == [[]] * 30
    told = levels(AlarmSpec(), steps(name, good, *[bad] * 20), best)
    assert told[5] == [f"warning {sign}"]
    assert told[20] == (["stop valid"] if sign == "valid" else [])
    off = {"stop_on": ()} if sign == "valid" else {}
    assert levels(AlarmSpec(**off, **{sign: None}), steps(name, good, *[bad] * 20), best) == [[]] * 21


def test_a_number_that_is_not_there_or_not_finite_changes_nothing():
    spec = AlarmSpec(**SHORT, stop_on=("entropy",), entropy=0.1)
    told = levels(spec, [*steps("train/entropy", 1.0, 0.05, None, float("nan"), 0.05), {}])
    assert told == [[], [], [], [], ["warning entropy"], []]


def test_a_measure_below_the_floor_alarms_only_after_it_was_above():
    assert levels(AlarmSpec(), validations(0.01, 0.02, 0.15, 0.1)) == [[]] * 4
    told = levels(AlarmSpec(drop=None, stop_on=("floor",)), validations(0.01, 0.4, 0.1, 0.1))
    assert told == [[], [], ["warning floor"], ["stop floor"]]


def test_a_fall_within_what_chance_does_is_none():
    uncertain = AlarmSpec(stop_on=("drop", "floor"))
    assert levels(uncertain, validations(0.4, 0.1, 0.1, error=0.1), {"value": 0.4, "error": 0.1}) == [[]] * 3
    certain = levels(uncertain, validations(0.4, 0.1, 0.1, error=0.02), {"value": 0.4, "error": 0.02})
    assert certain == [[], ["warning floor", "warning drop"], ["stop floor", "stop drop"]]
    # 0.16 is below half the best; 0.24 lies within 3 * sqrt(0.06^2 + 0.06^2) = 0.2546 of it, and 0.26 not
    fell = {"value": 0.42, "error": 0.06}
    assert levels(AlarmSpec(floor=None, stop_on=()), validations(0.18, error=0.06), fell) == [[]]
    assert levels(AlarmSpec(floor=None, stop_on=()), validations(0.16, error=0.06), fell) == [["warning drop"]]


def copying(*pairs):
    return [{"train/query/copies_need": copied, "train/groups/flat": flat} for copied, flat in pairs]


def test_copies_of_flat_groups_are_a_stall_from_the_start():
    spec = AlarmSpec(**SHORT)
    assert levels(spec, copying((0.95, 0.6), (0.95, 0.6), (0.95, 0.6))) == [[], ["warning copies"], []]
    assert levels(spec, copying((0.95, 0.5), (0.81, 0.5))) == [[], ["warning copies"]]
    assert levels(AlarmSpec(copies=None), copying(*[(1.0, 1.0)] * 9)) == [[]] * 9
    stops = AlarmSpec(**SHORT, stop_on=("copies",))
    assert levels(stops, copying(*[(1.0, 1.0)] * 4)) == [[], ["warning copies"], [], ["stop copies"]]


def test_copies_are_no_stall_where_the_rest_of_a_group_differs_or_few_completions_copy():
    spec = AlarmSpec(**SHORT)
    assert levels(spec, copying(*[(0.95, 0.49), (0.79, 1.0)] * 4)) == [[]] * 8
    assert levels(spec, copying((0.95, 0.9), (0.5, 0.9), (0.95, 0.9), (0.5, 0.9))) == [[]] * 4


def test_copies_are_counted_without_groups_and_not_of_a_validation_alone():
    spec = AlarmSpec(**SHORT)
    assert levels(spec, steps("train/query/copies_need", 0.9, 0.9)) == [[], ["warning copies"]]
    assert levels(spec, steps("eval/validation/query/copies_need", *[1.0] * 9)) == [[]] * 9
    assert levels(spec, steps("train/groups/flat", *[1.0] * 9)) == [[]] * 9


def test_the_stall_is_named_with_both_numbers_and_what_helps():
    (alert,) = Alarm(AlarmSpec(warn_after=1), MAIN).take({"train/query/copies_need": 0.953, "train/groups/flat": 0.75})
    assert alert.text.startswith(
        "share of completions that copy their need 0.953 and of flat groups 0.75 for 1 step, 0.953 at first "
        "(evaluate.alarm.copies 0.8): "
    )
    assert "trl.temperature" in alert.text and "sft" in alert.text


def test_the_action_decides_what_follows():
    lines = steps("train/outcome/invalid", 0.0, *[1.0] * 30)
    for action, expected in (("stop", {"warning", "stop"}), ("warn", {"warning"}), ("off", set())):
        told = [said for line in levels(AlarmSpec(action=action), lines) for said in line]
        assert {said.split()[0] for said in told} == expected


def test_the_line_names_values_bound_key_and_remedy():
    alarm = Alarm(AlarmSpec(warn_after=1), MAIN)
    alarm.take({"train/entropy": 1.25})
    (alert,) = alarm.take({"train/entropy": 0.004})
    assert alert.text.startswith(
        "entropy in nats a token 0.004 for 1 step, 1.25 at first (evaluate.alarm.entropy 0.01): "
    )
    assert "trl.learning_rate" in alert.text
    assert alert.values == {"value": 0.004, "bound": 0.01, "for": 1}


# --- the progress of a training


def progress(values, **options):
    spec = EvaluationSpec(alarm=AlarmSpec(action="off"), **options)
    taken = Progress(spec, "nDCG@10")
    change = [taken.take(10 * place, {MAIN: value}).better for place, value in enumerate(values)]
    return taken, change


def test_the_best_is_the_highest_and_of_equals_the_earlier():
    taken, better = progress([0.2, 0.5, 0.5, 0.4, 0.6, 0.6])
    assert better == [True, True, False, False, True, False]
    assert (taken.best.step, taken.best.value, taken.validations) == (40, 0.6, 6)
    assert taken.stop is None


def test_patience_counts_validations_without_a_gain():
    assert progress([0.2, 0.5, 0.4, 0.5], patience=3)[0].stop is None
    stop = progress([0.2, 0.5, 0.4, 0.5, 0.3], patience=3)[0].stop
    assert (stop.why, stop.step) == ("patience", 40)
    assert stop.text == "nDCG@10 has not passed 0.500 in 3 validations (evaluate.patience 3)"


def test_small_rises_are_no_gain_but_may_be_the_best():
    taken, better = progress([0.50, 0.51, 0.52], patience=2, min_gain=0.05)
    assert better == [True, True, True] and taken.stop.step == 20
    assert "has not passed 0.500 by more than 0.05 in 2 validations" in taken.stop.text
    assert progress([0.50, 0.53, 0.56], patience=2, min_gain=0.05)[0].stop is None  # 0.06 above the last gain


def test_progress_that_is_read_from_the_log_again_is_the_same():
    values = [0.1, 0.5, 0.5, 0.1, None, 0.1, 0.1]
    lines = [
        {MAIN: value, f"{MAIN}/floor": 0.2, f"{MAIN}/stderr": 0.01, "train/entropy": value and value / 10}
        for value in values
    ]
    spec = EvaluationSpec(alarm=AlarmSpec(warn_after=1, stop_after=3, validations=3, entropy=0.02), patience=9)
    whole = Progress(spec, "nDCG@10")
    told = [whole.take(step, line) for step, line in enumerate(lines)]
    assert [alert.sign for change in told for alert in change.alerts] == [
        *("entropy", "floor", "drop"),
        *("floor", "drop"),
    ]
    for cut in range(len(lines)):
        read = json.loads(json.dumps(lines[:cut]))
        again = Progress(spec, "nDCG@10")
        for step, line in enumerate(read):
            again.take(step, line)
        assert [again.take(step, lines[step]) for step in range(cut, len(lines))] == told[cut:]
        assert (whole.stop, whole.best, whole.waited) == (again.stop, again.best, again.waited)


# --- thresholds


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("warn_after", 0, "warn_after: must be an integer >= 1, got 0"),
        ("stop_after", 4, r"stop_after: must be an integer >= warn_after \(5\), got 4"),
        ("validations", 0, "validations: must be an integer >= 1, got 0"),
        ("valid", 1.0, "valid: must be a number > 0 and < 1, or null, got 1.0"),
        ("copies", 1.0, "copies: must be a number > 0 and < 1, or null, got 1.0"),
        ("repeated", 0.0, "repeated: must be a number > 0 and < 1, or null"),
        ("drop", float("nan"), "drop: must be a number > 0 and < 1, or null"),
        ("entropy", 0.0, "entropy: must be a number > 0, or null"),
        ("kl", float("inf"), "kl: must be a number > 0"),
        ("floor", -1.0, "floor: must be a number > 0"),
        ("growth", 1.0, "growth: must be a number > 1"),
        ("certainty", -0.5, "certainty: must be a number >= 0"),
    ],
)
def test_a_threshold_that_means_nothing_is_refused(option, value, message):
    with pytest.raises(ValueError, match=message):
        AlarmSpec(**{option: value})


def test_a_section_turns_into_a_mapping_and_back():
    spec = AlarmSpec(action="warn", entropy=None, stop_on=("kl",))
    held = spec.to_dict()
    assert AlarmSpec(**{**held, "stop_on": tuple(held["stop_on"])}) == spec
