"""`recr1 check` runs nobody's code but recr1's own, unless it is told to."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from recr1.cli.main import run
from tests.processes import ROOT

PART = """\
import pathlib
pathlib.Path(__file__).with_suffix(".ran").write_text("")
class Part:
    name = "mine"
    def __init__(self, *, size: int = 1): pass
    def needs(self, split): ...
    def render(self, need): ...
    def parse(self, completion): ...
    def search(self, queries, k): ...
    def __call__(self, batch): ...
    def generate(self, chats, n): ...
    def train(self, policy, env, run): ...
"""
RECIPE = """\
task: {type: shop, format: {type: "stranger:Part"}}
retriever: {type: hybrid, parts: [{type: bm25}, {type: "stranger:Part"}]}
k: 10
rewards:
  - {type: measure, measure: nDCG@10}
  - {type: "stranger:Part"}
  - {type: across, reward: {type: "stranger:Part"}, retrievers: [{type: "stranger:Part"}]}
policy: {type: "stranger:Part"}
trainer: [{type: "stranger:Part", size: 2}, {type: "stranger:Part", size: many}]
log: [{type: "stranger:Part"}]
"""
LEFT_OUT = """\
not checked, as it is code from outside of recr1 that --trust would run:
  task.format: stranger:Part
  retriever.parts.1: stranger:Part
  rewards.1: stranger:Part
  rewards.2.reward: stranger:Part
  rewards.2.retrievers.0: stranger:Part
  policy: stranger:Part
  trainer.0: stranger:Part
  trainer.1: stranger:Part
  log.0: stranger:Part
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "stranger", raising=False)
    (tmp_path / "stranger.py").write_text(PART)
    (tmp_path / "mine.yaml").write_text(RECIPE)
    return tmp_path


def test_check_runs_no_part_from_outside_and_says_which(folder, capsys):
    assert run(["check", "mine.yaml"]) == 0
    assert capsys.readouterr().out == f"mine.yaml: the recipe is fine, as far as it was checked\n{LEFT_OUT}"
    assert not (folder / "stranger.ran").exists()


def test_what_needs_the_code_of_a_part_is_refused_without_trust(folder, capsys):
    assert run(["check", "mine.yaml", "--data"]) == 2
    assert "'stranger:Part' is not imported, as it is code from outside of recr1" in capsys.readouterr().err
    assert not (folder / "stranger.ran").exists()


def test_the_other_parts_are_checked_all_the_same(folder, capsys):
    assert run(["check", "mine.yaml", "retriever.parts.0.k1=-1", "rewards.1.weight=heavy"]) == 2
    assert [line.split(": ", 1)[1] for line in capsys.readouterr().err.splitlines()[1:]] == [
        "retriever.parts.0.k1: must be a number >= 0 (0.9 to 1.5 is usual), got -1",
        "rewards.1.weight: must be a number, got 'heavy'",
    ]


def test_with_trust_parts_from_outside_are_checked(folder, capsys):
    assert run(["check", "mine.yaml", "--trust"]) == 2
    assert "trainer.1.size: must be an integer, got 'many'" in capsys.readouterr().err
    assert (folder / "stranger.ran").exists()


def test_the_code_of_a_model_runs_with_trust_alone(capsys):
    assert run(["check", "quickstart", "policy.trust_remote_code=true", "--memory"]) == 2
    assert "policy.trust_remote_code: the estimate would run the model's own code: add --trust" in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize("path", [str(ROOT), f"{ROOT}{os.pathsep}"], ids=["-m", "and an empty entry"])
def test_the_current_folder_hides_no_library(tmp_path, path):
    for name in ("yaml", "numpy", "pydantic", "annotated_types", "stranger"):
        (tmp_path / f"{name}.py").write_text(PART)
    (tmp_path / "mine.yaml").write_text(RECIPE)
    command, env = [sys.executable, "-m", "recr1", "check", "mine.yaml"], {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.stdout.endswith(LEFT_OUT), done.stderr
    assert list(tmp_path.glob("*.ran")) == []
