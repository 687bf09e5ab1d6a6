"""The page "Into production": its commands run in their order on the files that it shows."""

from __future__ import annotations

import re
import shlex
import shutil

from recr1.cli.main import run as recr1
from tests.docs.pages import blocks

PAGE = "docs/production.md"
RUNS_ON = {"serve", "playground"}
"""Commands that run until they are stopped; tests of their own start them."""


def test_commands_of_the_page_run_in_their_order(run, tmp_path, monkeypatch):
    shutil.copytree(run.path, tmp_path / "runs/quickstart")
    monkeypatch.chdir(tmp_path)
    for block in blocks("text"):
        title = re.search('title="(.+?)"', block.info)
        if block.name.startswith(PAGE) and title:
            (tmp_path / title[1]).write_text(block.text)
    commands = [line for block in blocks("bash") if block.name.startswith(PAGE) for line in block.text.splitlines()]
    assert len(commands) > 1
    for command in commands:
        words = shlex.split(command, comments=True)
        if words[0] == "recr1" and words[1] not in RUNS_ON:
            assert (command, recr1(words[1:])) == (command, 0)


def test_python_of_the_page_runs(bundle, tmp_path, monkeypatch, capsys):
    shutil.copytree(bundle.path, tmp_path / "bundle")
    monkeypatch.chdir(tmp_path)
    for block in blocks("python"):
        if block.name.startswith(PAGE):
            exec(compile(block.text, block.name, "exec"), {})
    assert "rewritten" in capsys.readouterr().out
