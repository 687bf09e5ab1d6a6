"""Lines for a reader: on a terminal they are broken at spaces, never inside a word or a number."""

from __future__ import annotations

import re
import shutil
import sys
from textwrap import wrap
from typing import TextIO

_STARTS = re.compile(r"^ *[-|] |^ +|(?<=\S)  +")
"""What can come before the text of a line: an indent, a mark, a column of a table."""

_KEPT = re.compile(r" [=<>]=? (?=[-+.\d])|pip install \S+")
"""What is not broken at its spaces."""


def say(text: str = "") -> None:
    """Write lines to standard output at once."""
    sys.stdout.write(f"{folded(text)}\n")
    sys.stdout.flush()


def note(text: str) -> None:
    """Write a remark to standard error at once: standard output may be read by a program."""
    sys.stderr.write(folded(f"recr1: note: {text}\n", sys.stderr))


def folded(text: str, stream: TextIO | None = None) -> str:
    """Text in lines that fit the terminal of a stream; for a file or a pipe the lines stay as they are.

    What follows a break begins where the text of its line does. A word that is wider than a line, such as a path, is
    not broken. The environment variable COLUMNS overrides the width of the terminal. For a file or a pipe it is
    ignored, because a parent process may have set it (readline does).
    """
    width = _width(stream or sys.stdout)
    return text if width is None else filled(text, width)


def filled(text: str, width: int) -> str:
    """Text in lines of this width, as `folded` breaks them."""
    return "\n".join(_filled(line, width) for line in text.split("\n"))


def _width(stream: TextIO) -> int | None:
    return shutil.get_terminal_size().columns if stream.isatty() else None


def _filled(line: str, width: int) -> str:
    if len(line) <= width:
        return line
    start = max((found.end() for found in _STARTS.finditer(line[: width * 5 // 8])), default=0)
    text = _KEPT.sub(lambda kept: kept[0].replace(" ", "\0"), line[start:])
    lines = wrap(text, max(width - start, 1), break_long_words=False, break_on_hyphens=False)
    return (line[:start] + f"\n{' ' * start}".join(lines)).replace("\0", " ")
