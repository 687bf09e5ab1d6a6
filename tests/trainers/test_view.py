"""The live view where there is no terminal, and what it makes of numbers."""

import pytest

from recr1.trainers.view import View, _clock

NUMBERS = {"train/reward": 0.5, "train/reward/length(6)": -0.1, "train/reward/nDCG@10": 0.6, "train/query/words": 3.25}


def test_a_plain_line_holds_step_reward_measure_length_and_time_left(capsys):
    view = View(20, quiet=False)
    view.start()
    for step in (1, 2, 10, 20):
        view.step(step, NUMBERS)
    view.stop()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines] == ["step 1/20", "step 10/20", "step 20/20"]
    assert lines[0].startswith("step 1/20  reward 0.500  nDCG@10 0.600  3.2 words  ")
    assert lines[-1].endswith("0:00 left")


def test_a_validation_line_names_split_measure_floor_and_ceiling(capsys):
    view = View(20, quiet=False)
    view.start()
    view.validated(
        5,
        {
            "eval/validation/nDCG@10": 0.4,
            "eval/validation/nDCG@10/floor": 0.2,
            "eval/validation/nDCG@10/ceiling": 0.9,
            "eval/validation/query/words": 3.0,
        },
    )
    expected = "validation nDCG@10 0.400 after 5 steps  floor 0.200  ceiling 0.900"
    assert capsys.readouterr().out.strip() == expected


def test_only_the_first_process_speaks(capsys):
    view = View(20, quiet=True)
    view.start()
    view.step(1, NUMBERS)
    view.validated(1, {"eval/test/nDCG@10": 0.4})
    view.stop()
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (125, "2:05"), (3725, "1:02:05")])
def test_time_left_reads_like_a_clock(seconds, text):
    assert _clock(seconds) == text
