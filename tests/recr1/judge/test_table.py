"""Tables for a terminal, Markdown and HTML: the same cells, and no number that is broken."""

from __future__ import annotations

import re

import pytest

from recr1.judge.difference import difference_cell, mean_cell
from recr1.judge.table import Table, print_tables

CELL = mean_cell({"mean": 0.8694, "low": 0.8412, "high": 0.8961}, 0.0001)
GAIN = difference_cell({"difference": -0.0123, "low": -0.02, "high": 0.001, "p": 0.0123})
SHARE = mean_cell({"mean": 0.25, "low": 0.2, "high": 0.3125}, spec=".1%")


def made(measures=2, name="trained"):
    header = ["", *(f"nDCG@{10 * (n + 1)}" for n in range(measures)), "won/tied/lost", "tokens written"]
    rows = [["floor", *[CELL] * measures, "", ""], [name, *[GAIN] * measures, "360/19/21", "12.5"]]
    return Table("test: 400 needs", header, rows, ["A note of some words, long enough that it takes two lines " * 2])


def numbers(text):
    return re.findall(r"[-+]?\d+\.\d+%?", text)


def test_cells_hold_the_mean_and_below_it_the_interval():
    assert CELL == "0.869 p < 0.001\n0.841 to 0.896"
    assert GAIN == "-0.012 p = 0.012\n-0.020 to +0.001"
    assert SHARE == "25.0%\n20.0% to 31.2%"


def test_a_table_of_two_measures_fits_a_terminal():
    lines = made().text(80).splitlines()
    assert max(map(len, lines)) <= 80 and lines[0] == "test: 400 needs"
    assert lines[1].split() == ["nDCG@10", "nDCG@20", "won/tied/lost", "tokens", "written"]
    assert lines[3:6] == [
        "floor     0.869 p < 0.001    0.869 p < 0.001",
        "          0.841 to 0.896     0.841 to 0.896",
        "trained   -0.012 p = 0.012   -0.012 p = 0.012   360/19/21       12.5",
    ]


@pytest.mark.parametrize("width", [40, 60, 80, 100, 200])
@pytest.mark.parametrize(
    "name",
    ["trained", "bm25(k1=0.9, b=0.4, stemmer=english) with 3 seeds", "bm25(k1=0.9,b=0.4,stemmer=en)/0.25_a-b"],
)
def test_no_number_is_broken_at_any_width(width, name):
    table = made(6, name)
    shown = table.text(width)
    assert max(map(len, shown.splitlines())) <= width
    cells = [cell for row in table.rows for cell in row[1:]]
    blocks = shown.count("────\n")
    assert sorted(numbers(shown)) == sorted([*numbers(" ".join(cells)), *numbers(name) * blocks])
    assert all(word in shown for name in table.header for word in name.split())


def test_columns_that_do_not_fit_come_below_with_the_names_again():
    blocks = made(6).text(80).split("\n\n")
    assert len(blocks) == 2
    assert all(block.count("trained") == 1 for block in blocks)


def test_columns_of_numbers_are_known():
    rows = [
        [
            "a b",
            CELL,
            GAIN,
            SHARE,
            "0.869\n(0.850)",
            "360/19/21",
            "-",
            "1,234",
            "< 0.001",
            "+0.1 to +0.3",
            "1.5 s",
            "x 1",
        ],
        ["c", "0.869", "", "1.0%", "-", "", "none", "0", "0.500", "-0.2 to +0.3", "12.0 s", "2"],
    ]
    assert Table("", [""] * 12, rows).numeric == [False, *[True] * 10, False]


def test_markdown_puts_each_cell_on_a_line():
    text = Table("t", ["", "a|b"], [["x", CELL]]).markdown()
    assert text == "## t\n\n|  | a\\|b |\n| --- | --- |\n| x | 0.869 p < 0.001 0.841 to 0.896 |\n"


def test_printed_tables_are_separated_by_a_blank_line(capsys):
    print_tables([made(), made()], ["a line"], end="the last")
    table = made().text(80)
    assert capsys.readouterr().out == f"{table}\n\n{table}\n\na line\n\nthe last\n"
