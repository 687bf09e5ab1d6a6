"""Tables of results: the same cells for a terminal, Markdown and HTML."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from recr1.runs import write_text, writing
from recr1.terminal import filled, folded, say

_GAPS = (3, 2)
"""Spaces between columns: the first where they fit, else the second."""
_NAMES = 20
"""Characters that the first column keeps where a table is too wide."""
_ONE = r"[-+]?[\d.,]+%?(?: s)?"
_NUMBER = re.compile(rf"|-|none|(?:\d+/){{2}}\d+|(?:< ?)?{_ONE}(?: p [<=] {_ONE})?(?:\s\(?{_ONE}\)?)?(?: to {_ONE})?")
"""A cell of a column of numbers: empty, a number with or without p and interval, or needs won, tied and lost."""

_JOINT = re.compile(r"(?<=\s)|(?<=[/_])(?=\w)|(?<=[^\W\d]-)(?=\w)|(?<=\d-)(?=\d)|(?<=[,:])(?=[^\W\d])")
"""Where a name may be broken: after a space, within a path, a date, a list; never in a number."""


@dataclass(frozen=True)
class Table:
    """Cells, each of one line or two."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()

    @property
    def numeric(self) -> list[bool]:
        """Of each column whether it holds nothing but numbers."""
        return [all(_NUMBER.fullmatch(cell) for cell in column) for column in zip(*self.rows, strict=True)]

    def markdown(self) -> str:
        """A Markdown section: title, table, notes."""
        lines = [self.header, ["---"] * len(self.header), *self.rows]
        cells = "\n".join("| " + " | ".join(_one_line(cell) for cell in line) + " |" for line in lines)
        return "\n\n".join([f"## {self.title}", cells, *self.notes]) + "\n"

    def text(self, width: int = 80) -> str:
        """Lines for a terminal of this width.

        Headers and the names in the first column are broken where the table is too wide. A number never is:
        columns that still do not fit come in a second block, below the first, with the names repeated.
        """
        columns = list(zip(self.header, *self.rows, strict=True))
        whole = [max(len(line) for cell in column for line in cell.split("\n")) for column in columns]
        least = [min(whole[0], _NAMES)]
        for header, *cells in columns[1:]:
            least.append(max(len(part) for part in [*header.split(), *"\n".join(cells).split("\n")]))
        blocks = [[0]]
        for place in range(1, len(columns)):
            if len(blocks[-1]) > 1 and _total([least[one] for one in (*blocks[-1], place)]) > width:
                blocks.append([0])
            blocks[-1].append(place)
        shown = []
        for block in blocks:
            fits = _total([whole[place] for place in block]) <= width
            sizes = [(whole if fits else least)[place] for place in block]
            shown.append("\n".join(_lines([columns[place] for place in block], sizes, width)))
        return "\n".join([filled(self.title, width), "\n\n".join(shown), *(filled(n, width) for n in self.notes)])


def _lines(columns: Sequence[Sequence[str]], sizes: Sequence[int], width: int) -> Iterator[str]:
    """The header, a rule and the rows of some columns of these sizes."""
    gap = next((gap for gap in _GAPS if _total(sizes, gap) <= width), _GAPS[-1])
    for number, line in enumerate(zip(*columns, strict=True)):
        cells = [_broken(cell, size) for cell, size in zip(line, sizes, strict=True)]
        for texts in zip_longest(*cells, fillvalue=""):
            yield (" " * gap).join(f"{text:<{size}}" for text, size in zip(texts, sizes, strict=True)).rstrip()
        if number == 0:
            yield "─" * _total(sizes, gap)


def print_tables(tables: Iterable[Table], lines: Iterable[str] = (), *, end: str = "") -> None:
    """Tables for the terminal with bold titles, then lines that are not wrapped, and a last one in bold."""
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    for table in tables:
        shown = Text(table.text(console.width), no_wrap=True, overflow="ignore")
        shown.stylize("bold", 0, len(filled(table.title, console.width)))
        console.print(shown, end="\n\n")
    for line in lines:
        say(line)
    if end:
        console.print(f"\n{folded(end)}", soft_wrap=True, markup=False, style="bold")


def page(tables: Iterable[Table], lines: Iterable[str] = ()) -> str:
    """Tables in Markdown, then a list of lines."""
    return "\n".join([*(table.markdown() for table in tables), *(f"- {line}" for line in lines), ""])


def write_result(
    folder: Path, name: str, content: Mapping[str, Any], tables: Iterable[Table], lines: Iterable[str] = ()
) -> None:
    """Write `<name>.json` and `<name>.md` into a folder, which is made; raises `RunError` if it cannot be written."""
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / f"{name}.json", json.dumps(content, indent=2) + "\n")
        write_text(folder / f"{name}.md", page(tables, lines))


def _total(widths: Sequence[int], gap: int = _GAPS[-1]) -> int:
    return sum(widths) + gap * (len(widths) - 1)


def _broken(cell: str, width: int) -> list[str]:
    """The lines of a cell; only what is wider than its column is broken: where `_JOINT` says, or else anywhere."""
    lines = [""]
    for line in cell.split("\n"):
        for piece in _JOINT.split(line) if len(line) > width else [line]:
            if lines[-1] and len((lines[-1] + piece).rstrip()) > width:
                lines.append("")
            lines[-1] += piece
        lines.append("")
    return [line[at : at + width] for line in map(str.rstrip, lines[:-1]) for at in range(0, max(len(line), 1), width)]


def _one_line(cell: str) -> str:
    return " ".join(cell.replace("|", "\\|").split())
