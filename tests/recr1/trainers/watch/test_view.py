"""The live view: plain lines where there is no terminal, and a panel where there is one."""

import io

import pytest
from rich.console import Console

from recr1.trainers.watch.view import BARS, PLAIN_BARS, Panel, View, clock, spark

NUMBERS = {"train/reward": 0.5, "train/reward/length(6)": -0.1, "train/reward/nDCG@10": 0.6, "train/query/words": 3.25}
VALIDATED = {
    "eval/validation/nDCG@10": 0.4,
    "eval/validation/nDCG@10/floor": 0.2,
    "eval/validation/nDCG@10/ceiling": 0.9,
}
HEALTH = {
    **{"train/outcome/ok": 0.9, "train/outcome/no_hits": 0.06, "train/outcome/invalid": 0.04},
    **{"train/outcome/retriever_error": 0.0, "train/query/unique": 0.75, "train/query/repeated": 0.1},
    "train/query/copies_need": 0.95,
    **{
        "train/time/search": 0.012,
        "train/time/query": 0.00025,
        "train/retriever/hit_rate": 0.4,
        "train/time/step": 1.5,
    },
    **{"train/time/share/generation": 0.5, "train/time/share/search": 0.1, "train/time/share/rewards": 0.02},
    "train/time/share/update": 0.38,
}
QUERIES = [
    {"text": f"need {n}", "query": f"query {n}", "rank_before": None, "rank_after": n, "outcome": "ok"}
    for n in range(1, 6)
]


def test_a_plain_line_holds_step_reward_measure_length_and_time_left(capsys):
    view = View(20, quiet=False)
    view.start()
    for step in (1, 2, 10, 20):
        view.step(step, NUMBERS)
    view.stop()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines] == ["step 1/20", "step 10/20", "step 20/20"]
    assert lines[0] == "step 1/20  reward 0.500  nDCG@10 0.600  3.2 words"  # it compiles, and foretells nothing
    assert lines[1].startswith("step 10/20  reward 0.500  nDCG@10 0.600  3.2 words  ")
    assert lines[-1].endswith("0:00 left")


def test_a_validation_line_names_split_measure_floor_and_ceiling(capsys):
    view = View(20, quiet=False)
    view.start()
    view.validated(5, {**VALIDATED, "eval/validation/query/words": 3.0}, QUERIES)
    expected = "validation nDCG@10 0.400 after 5 steps  floor 0.200  ceiling 0.900"
    assert capsys.readouterr().out.strip() == expected


def test_only_the_first_process_speaks(capsys):
    view = View(20, quiet=True)
    view.start()
    view.step(1, NUMBERS)
    view.validated(1, {"eval/test/nDCG@10": 0.4})
    view.warn("something")
    view.stop()
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (125, "2:05"), (3725, "1:02:05")])
def test_time_left_reads_like_a_clock(seconds, text):
    assert clock(seconds) == text


def drawn(panel, width, **options):
    console = Console(record=True, force_terminal=True, width=width, file=io.StringIO(), **options)
    console.print(panel)
    return console.export_text().rstrip("\n").splitlines()


def filled(queries=QUERIES):
    panel = Panel(20)
    for step in range(1, 11):
        panel.take(step, {**NUMBERS, **HEALTH, "train/reward": step / 10})
    panel.take(10, {**VALIDATED})
    panel.queries, panel.left = queries, "0:12"
    return panel


@pytest.mark.parametrize("width", [80, 120])
def test_the_panel_shows_curves_outcomes_health_times_and_queries(width):
    lines = [line.rstrip() for line in drawn(filled(), width)]
    assert lines[0].startswith("step 10/20 ") and lines[0].endswith(" 0:12 left")
    assert lines[1:7] == [
        f"reward    {''.join(BARS[place] for place in (0, 1, 2, 2, 3, 4, 5, 5, 6, 7))} 1.000",
        f"nDCG@10   {BARS[0]} 0.400  floor 0.200  ceiling 0.900",
        "outcomes  found 90%  found nothing 6%  no query 4%",
        "queries   3.2 words, 75% different, 10% of the words repeated, 95% copy the need",
        "retriever 12 ms a search, 0.25 ms a query, 40% from the cache",
        "time      1.50 s a step: generation 50%  search 10%  rewards 2%  update 38%",
    ]
    assert [line.split()[:3] for line in lines[7:9]] == [["before", "need", "1"], ["after", "query", "1"]]
    assert (lines[7][-9:], lines[8][-6:]) == ("not found", "rank 1")
    assert len(lines) == 13 and max(map(len, lines)) <= width


def test_the_panel_stays_within_a_narrow_terminal_whatever_a_model_writes():
    wild = {"text": "x" * 300, "query": "\x1b[2J\n[bold]y[/bold] " * 50, "rank_before": 12345, "rank_after": 1}
    lines = drawn(filled([{**wild, "outcome": "ok"}]), 60)
    assert max(map(len, lines)) <= 60 and len(lines) == 9
    assert "[bold]y[/bold]" in lines[-1] and "\x1b" not in "".join(lines)


def test_a_completion_that_is_no_query_is_shown_as_its_outcome():
    lines = drawn(
        filled([{"text": "need", "query": None, "rank_before": 3, "rank_after": None, "outcome": "invalid"}]), 80
    )
    assert (
        lines[-2].rstrip().endswith("rank 3") and "(invalid)" in lines[-1] and lines[-1].rstrip().endswith("not found")
    )


def test_each_validation_shows_the_next_needs():
    panel = filled()
    panel.take(15, VALIDATED)
    assert [line.split()[:3] for line in drawn(panel, 80) if line.startswith("before")] == [
        ["before", "need", "4"],
        ["before", "need", "5"],
        ["before", "need", "1"],
    ]


def test_a_terminal_without_unicode_gets_ascii():
    buffer = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    Console(force_terminal=True, width=60, file=buffer, legacy_windows=False).print(filled())
    buffer.flush()
    assert PLAIN_BARS[-1] * 5 in buffer.buffer.getvalue().decode("ascii")


def test_in_a_terminal_the_panel_moves_and_validations_stay_above_it():
    console = Console(record=True, force_terminal=True, width=80, file=io.StringIO())
    view = View(20, quiet=False, console=console)
    view.start()
    view.validated(0, VALIDATED, QUERIES)
    for step in range(1, 21):
        view.step(step, NUMBERS)
    view.stop()
    lines = [line.rstrip() for line in console.export_text().splitlines() if line.strip()]
    assert "validation nDCG@10 0.400 after 0 steps  floor 0.200  ceiling 0.900" in lines
    assert any("step 20/20 " in line and line.endswith("0:00 left") for line in lines)
    assert not any(line.startswith("step 10/20  reward") for line in lines)


@pytest.mark.parametrize(
    ("values", "bars"),
    [([], ""), ([0.3], "0"), ([0.3, 0.3], "00"), ([0, 7], "07"), ([1, 0, 7], "107"), ([-7, 0], "07")],
)
def test_a_sparkline_goes_from_the_lowest_value_to_the_highest(values, bars):
    assert spark(values) == "".join(BARS[int(bar)] for bar in bars)


def test_a_long_curve_is_averaged_into_the_room():
    assert spark([0, 0, 7, 7, 0, 14], room=3) == BARS[0] + BARS[7] + BARS[7]
