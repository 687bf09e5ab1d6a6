"""What every command prints, in a terminal of 80 columns: no line is wider, and no word or number is broken."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from contextlib import suppress

import pytest

from recr1 import terminal
from recr1.cli.main import run
from recr1.terminal import filled, folded, note
from retrievers import Catalog
from retrievers.bm25.bm25 import BM25
from tests.recr1.report.runs import make_run

NAMES = ("runs/quickstart-20261130-014500", "runs/a")
COMMANDS = {
    "ls": ["ls"],
    "parts": ["ls", "--parts"],
    "check": ["check", "toy/echo", "--data"],
    "memory": ["check", "quickstart", "--memory", "--launch", "launch/zero3", "--gpu-gb", "24"],
    "problems": ["check", "quickstart", "retriever.k1=-1", "policy.nothing=1", "trainer.trl.nothing=2", "seed=x"],
    "doctor": ["doctor", "toy/echo"],
    "eval": ["eval", "toy/echo", "--split", "test", "--measures", "nDCG@10,R@5,RR@10,Success@1,P@5"],
    "swap": ["eval", "toy/echo", "--split", "test", "--retrievers", "rank_bm25,bm25(k1=0.9,stemmer=english)"],
    "compare": ["compare", "toy/echo", "--policies", "echo,best_item,term_oracle,prf", "--split", "test"],
    "report": ["report", *NAMES],
    "rescore": ["rescore", NAMES[0], "retriever.type=rank_bm25", "--measures", "nDCG@10,R@10"],
    "headroom": ["headroom", "toy/echo", "--split", "test", "--samples", "2"],
    "store": ["store", "--folder", "store"],
    "no command": ["swap"],
    "no measure": ["eval", "toy/echo", "--measures", "MRR@10"],
    "no run": ["report", "runs/b"],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two runs and a store, as commands find them."""
    folder = tmp_path_factory.mktemp("width")
    for seed, name in enumerate(NAMES):
        make_run(folder / name, seed=seed)
    BM25(Catalog(["a"], ["red lamp"]), store=str(folder / "store"))
    return folder


def said(command, columns, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))  # for argparse and rich
    monkeypatch.setattr(terminal, "_width", lambda stream: columns)
    with suppress(SystemExit):
        run(command)
    out, err = capsys.readouterr()
    return out + err


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in ("memory", "report"))) for name in COMMANDS]
)
def test_no_line_is_wider_than_the_terminal_and_no_word_is_broken(name, folder, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    wide, narrow = (said(COMMANDS[name], columns, capsys, monkeypatch) for columns in (1000, 80))
    assert max(map(len, narrow.splitlines())) <= 80
    assert "Traceback" not in narrow and len(narrow) > 60
    if name not in ("doctor", "compare"):  # they print how long things took
        broken = set(wide.split()) - set(narrow.split())
        assert {word.strip("─") for word in broken if word not in " ".join(NAMES)} <= {""}


def test_a_terminal_is_asked_for_its_width():
    reader, writer = pty.openpty()
    code = f"import os, recr1.terminal as t; os.environ.pop('COLUMNS', 0); t.say({'word ' * 40!r})"
    fcntl.ioctl(writer, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 60, 0, 0))
    subprocess.run([sys.executable, "-c", code], stdout=writer, check=True)
    lines = os.read(reader, 10_000).decode().splitlines()
    assert len(lines) == 4 and max(map(len, lines)) <= 60


def test_a_remark_is_broken_as_well(capsys, monkeypatch):
    monkeypatch.setattr(terminal, "_width", lambda stream: 30 if stream is sys.stderr else None)
    note("the policy is the one of step 1,250")
    assert capsys.readouterr() == ("", "recr1: note: the policy is the\none of step 1,250\n")


def test_a_file_has_whole_lines(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")  # as readline sets it for the children of a process
    with open(os.devnull, "w") as stream:
        assert folded("word " * 100, stream) == "word " * 100


@pytest.mark.parametrize(
    ("line", "lines"),
    [
        ("a name    what it is, now", ["a name    what it", "          is, now"]),
        ("  an indent is kept too", ["  an indent is kept", "  too"]),
        ("- one of several points", ["- one of several", "  points"]),
        ("a gain of +0.1 (p = 0.397)", ["a gain of +0.1", "(p = 0.397)"]),
        ("get it with: pip install 'recr1[train]'", ["get it with:", "pip install 'recr1[train]'"]),
        ("see /a/path/that/is/wider/than/a/line", ["see", "/a/path/that/is/wider/than/a/line"]),
    ],
)
def test_what_follows_a_break_begins_where_the_text_does(line, lines):
    assert filled(line, 20).split("\n") == lines
