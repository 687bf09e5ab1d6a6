"""An engine that does not answer is one line and status 2 in every command, whenever it falls silent."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from recr1.cli.main import run
from tests.recr1.config import parts

PARTS = """

from retrievers.errors import EngineError


class Away(Scan):
    def __init__(self, catalog, *, silent: Literal["first", "later"] = "first"):
        super().__init__(catalog)
        self.max_k = 2
        if silent == "first":
            self.fail()

    def fail(self):
        raise EngineError("shop engine", "http://shop:9200", 6, "ConnectError: [Errno 111]\\n Connection refused")

    def search(self, queries, k):
        self.fail()


class Train:
    def train(self, policy, env, run, *, seed, evaluation):
        env.retriever.search(["tent"], 2)
"""

RECIPE = """\
# A shop whose engine is away. Any CPU.
task: {type: toy}
retriever: {type: my_parts:Away}
k: 2
rewards:
  - {type: my_parts:Pay}
policy: {type: echo}
trainer: {type: my_parts:Train}
evaluate: {measures: [nDCG@2]}
"""

SEARCHING = {
    "train": [],
    "eval": [],
    "search": ["tent"],
    "serve-retriever": ["--port", "0"],
}
LINE = "recr1: error: shop engine at http://shop:9200, after 6 attempts: ConnectError: [Errno 111] Connection refused ("


@pytest.fixture(autouse=True)
def shop(tmp_path, monkeypatch) -> None:
    (tmp_path / "my_parts.py").write_text(Path(parts.__file__).read_text() + PARTS)
    (tmp_path / "away.yaml").write_text(RECIPE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.delitem(sys.modules, "my_parts", raising=False)


def assert_one_line(status: int, err: str) -> None:
    assert status == 2
    assert err.startswith(LINE)
    assert err.count("\n") == 1


@pytest.mark.parametrize("command", SEARCHING)
def test_an_engine_that_is_away_from_the_first_on_is_one_line(command, capsys):
    assert_one_line(run([command, "away.yaml", *SEARCHING[command]]), capsys.readouterr().err)


@pytest.mark.parametrize("command", ["train", "eval", "search"])
def test_an_engine_that_falls_silent_later_is_one_line(command, capsys):
    status = run(
        [command, "away.yaml", *SEARCHING[command], "retriever.silent=later", *(["-k", "2"] * (command == "search"))]
    )
    assert_one_line(status, capsys.readouterr().err)


@pytest.mark.parametrize("silent", ["first", "later"])
def test_an_engine_of_a_swap_is_one_line_too(silent, capsys):
    others = ["--retrievers", f"my_parts:Away(silent={silent})"]
    assert_one_line(run(["eval", "away.yaml", "retriever={type: my_parts:Scan}", *others]), capsys.readouterr().err)


def test_an_engine_inside_of_another_retriever_is_one_line_too(capsys):
    parts_of = "{type: hybrid, parts: [{type: my_parts:Away}, {type: bm25}]}"
    assert_one_line(run(["search", "away.yaml", "tent", f"retriever={parts_of}"]), capsys.readouterr().err)


def test_a_check_asks_no_engine(capsys):
    assert run(["check", "away.yaml", "--data"]) == 0


@pytest.mark.parametrize("silent", ["first", "later"])
def test_a_doctor_finds_it(silent, capsys):
    assert run(["doctor", "away.yaml", f"retriever.silent={silent}"]) == 3
    out = capsys.readouterr()
    assert "shop engine at http://shop:9200, after 6 attempts" in " ".join(out.out.split())
    assert out.err == ""


def test_the_traceback_is_there_when_asked_for():
    from retrievers.errors import EngineError

    with pytest.raises(EngineError, match="shop engine"):
        run(["search", "away.yaml", "tent", "--traceback"])


def test_more_items_than_an_engine_hands_out_are_refused(capsys):
    assert run(["search", "away.yaml", "tent", "-k", "3", "retriever.silent=later"]) == 2
    assert capsys.readouterr().err == "recr1: error: -k 3: the retriever finds at most 2 items\n"
