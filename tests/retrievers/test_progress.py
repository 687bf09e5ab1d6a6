from __future__ import annotations

import os
import pty
import sys

import pytest

from retrievers import progress
from retrievers.progress import tracked


def drawn(monkeypatch, items):
    """What a terminal is sent while items are gone through."""
    ours, terminal = pty.openpty()
    with os.fdopen(terminal, "w", buffering=1) as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        monkeypatch.setenv("TERM", "xterm")
        assert list(tracked(items, "indexing items")) == list(items)
        stream.write("end")
    text = b""
    while not text.endswith(b"end"):
        text += os.read(ours, 2**16)
    os.close(ours)
    return text.decode()


def test_nothing_is_shown_for_what_takes_a_moment(monkeypatch):
    assert drawn(monkeypatch, range(2500)) == "end"


def test_a_bar_is_shown_for_what_takes_longer(monkeypatch):
    monkeypatch.setattr(progress, "PATIENCE", -1.0)
    text = drawn(monkeypatch, range(2500))
    assert "indexing items" in text
    assert "/2500" in text


@pytest.mark.parametrize("moment", [-1.0, 1.0])
def test_without_a_terminal_nothing_is_written(monkeypatch, capfd, moment):
    monkeypatch.setattr(progress, "PATIENCE", moment)
    assert list(tracked("ab" * 2000, "indexing items")) == list("ab" * 2000)
    assert capfd.readouterr() == ("", "")
