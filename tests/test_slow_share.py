"""The share of slow tests that CI runs: which, how long, and what is said about the rest."""

import sys

import pytest

from tests.processes import ROOT, begin
from tests.slow_share import in_turn

TESTS = [f"tests/{folder}/test_{file}.py::test_{n}" for folder in "ab" for file in "xyz" for n in range(4)]


def test_every_test_comes_first_for_some_commit_and_none_is_lost():
    orders = [in_turn(TESTS, f"{commit:040x}") for commit in range(1000)]
    assert {order[0] for order in orders} == set(TESTS)
    assert all(sorted(order) == sorted(TESTS) for order in orders)


def test_the_same_commit_gives_the_same_order():
    assert in_turn(TESTS, "abc") == in_turn(TESTS, "abc") != in_turn(TESTS, "abd")


def test_no_tests_are_no_share():
    assert in_turn([], "abc") == []


@pytest.mark.parametrize(
    ("minutes", "summary", "rest"),
    [("1", "4 of 4", "ran: test_x.py (2)"), ("0", "0 of 4", "left for other commits: test_x.py (2)")],
)
def test_what_ran_is_named_and_too_little_time_is_no_failure(tmp_path, minutes, summary, rest):
    for name in ("test_x.py", "test_y.py"):
        (tmp_path / name).write_text("def test_one(): pass\ndef test_two(): pass\n")
    options = ["-p", "tests.slow_share", "--commit", "abc", "--minutes", minutes, "--rootdir", tmp_path]
    process = begin([sys.executable, "-m", "pytest", *options, tmp_path], PYTHONPATH=str(ROOT), PYTEST_ADDOPTS="")
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert f"slow tests of commit abc: {summary}" in out
    assert rest in out
