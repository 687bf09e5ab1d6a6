"""The page of judgements: its commands run in their order on the files that it shows, and print what it says."""

from __future__ import annotations

import re
import shlex

from recr1.cli.main import run
from recr1.judgements import FORMATS, WRITERS
from tests.docs.pages import blocks, read

PAGE = "docs/judgements.md"


def test_commands_of_the_page_run_and_print_what_it_shows(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shown = {}
    for block in blocks("text"):
        title = re.search('title="(.+?)"', block.info)
        if block.name.startswith(PAGE) and title and title[1].startswith("recr1 "):
            shown[title[1]] = block.text
        elif block.name.startswith(PAGE) and title:
            (tmp_path / title[1]).write_text(block.text)
    commands = [line for block in blocks("bash") if block.name.startswith(PAGE) for line in block.text.splitlines()]
    for command in commands:
        words = shlex.split(command, comments=True)
        assert (words[0], run(words[1:])) == ("recr1", 0)
        said = capsys.readouterr().out
        assert said == shown.pop(" ".join(words), said)
    assert shown == {}


def test_the_page_lists_the_formats_that_are_read_and_written():
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \| (.*?) \|", read(PAGE), re.MULTILINE)
    assert {name for name, given, _ in rows if given == "yes"} == set(FORMATS)
    assert {name for name, _, written in rows if written == "yes"} == set(WRITERS)
