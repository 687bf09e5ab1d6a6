"""The README stays short, and shows what `make demo` prints."""

from __future__ import annotations

import re

from recr1.cli.main import run
from tests.docs.pages import ROOT, read

RECIPE = "recipes/quickstart.yaml"


def test_the_readme_is_a_door_and_not_the_house():
    assert len(read("README.md").splitlines()) <= 130


def test_the_demo_prints_lines_of_the_shape_that_the_readme_shows(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    out, small = str(tmp_path / "run"), ["trainer.steps=10", "evaluate.every=5", "evaluate.needs=20", "task.test=20"]
    assert run(["train", RECIPE, *small, "--out", out]) == 0
    assert run(["eval", out, "--split", "test"]) == 0
    printed = {shape(line.replace(out, "runs/demo")) for line in "".join(capsys.readouterr()).splitlines()}
    shown = re.search(r"<!-- demo output -->\n```text\n\$ make demo\n(.*?)```", read("README.md"), re.DOTALL)[1]
    # The line on the policy that is kept is printed only where the last one is not the best.
    lines = [line for line in shown.splitlines() if line not in {"", "..."} and not line.startswith("keeping ")]
    assert len(lines) > 8
    assert [line for line in lines if shape(line) not in printed] == []


def shape(line):
    """A line without its numbers, and with single spaces."""
    return re.sub(r"p ?[<=] ?#", "p #", re.sub(r"[-+]?\d+([.:/,]\d+)*%?", "#", " ".join(line.split())))
