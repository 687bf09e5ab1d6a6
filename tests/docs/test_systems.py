"""The page of systems is that of its records, and each record comes from commands that can be run."""

from __future__ import annotations

import shlex
import sys
from importlib import import_module

import pytest

from recr1.cli.main import parsed
from tests.docs.pages import ROOT, read

sys.path.append(str(ROOT / "docs"))
gen_systems = import_module("gen_systems")


def test_the_page_is_current():
    assert read("docs/systems.md") == gen_systems.page(), "run: make map"


def test_records_have_all_fields_and_commands_that_parse():
    for one in gen_systems.records():
        assert tuple(one) == gen_systems.FIELDS
        assert "/tmp/" not in str(one)
        assert one["values"]
        assert one["passed"] == all(gen_systems.holds(check, one["values"]) for check in one["checks"])
        for program, *rest in map(shlex.split, one["commands"]):
            assert program in ("recr1", "python")
            assert parsed(rest).run if program == "recr1" else (ROOT / rest[0]).is_file()


@pytest.mark.parametrize(
    ("path", "value"),
    [("0/hit", 0.5), ("1/measures/nDCG@10/low", -0.1)],
)
def test_a_value_is_looked_up_in_json(path, value):
    assert gen_systems.looked_up([{"hit": 0.5}, {"measures": {"nDCG@10": {"low": -0.1}}}], path) == value


def test_a_value_is_looked_up_in_a_table():
    assert gen_systems.looked_up("item_knn  0.31  9\nease      0.37  8\n", r"^ease +(\S+)") == 0.37


@pytest.mark.parametrize(
    ("check", "true"),
    [
        ("a > 0.4", True),
        ("a >= b + 0.2", False),
        ("a > b + 0.05", True),
        ("b >= 0.9*a", False),
        ("b >= 0.8*a", True),
        ("a <= -0.1", False),
    ],
)
def test_a_check_compares_values(check, true):
    assert gen_systems.holds(check, {"a": 0.5, "b": 0.4}) == true


def test_a_record_is_what_its_command_says(tmp_path, monkeypatch):
    monkeypatch.setattr(gen_systems, "RECORDS", tmp_path / "systems.jsonl")
    command = ["recr1", "eval", str(ROOT / "recipes/toy/echo.yaml"), "--json"]
    wanted = ["record", "Toy", "--bar", "a bar", "--values", "needs=0/needs", "--check", "needs > 0", "needs > 1000"]
    monkeypatch.setattr(sys, "argv", ["gen_systems.py", *wanted, "--", *command])
    gen_systems.main()
    (kept,) = gen_systems.records()
    assert (kept["system"], kept["commands"], kept["passed"]) == ("Toy", [shlex.join(command)], False)
    assert f"(`needs > 0`, `needs > 1000`) | no | needs: {kept['values']['needs']:.4g} |" in gen_systems.page()
