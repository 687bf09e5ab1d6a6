"""Tables of results: the same cells for a terminal, Markdown and HTML."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from recr1.runs import write_text, writing

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

_GAPS = (3, 2)
"""Spaces between columns: the first where they fit, else the second."""
_NAMES = 20
"""Characters that the first column keeps where a table is too wide."""
_ONE = r"[-+]?[\d.,]+%?(?: s)?"
_NUMBER = re.compile(rf"|-|none|(?:\d+/){{2}}\d+|(?:< ?)?{_ONE}(?: p [<=] {_ONE})?(?:\s\(?{_ONE}\)?)?(?: to {_ONE})?")
"""A cell of a column of numbers: empty, a number with or without p and interval, or needs won, tied and lost."""


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

        Headers and the names in the first column are broken at spaces where the table is too wide. A number never is:
        columns that still do not fit come in a second block, below the first, with the names repeated.
        """
        blocks = "\n\n".join("\n".join(self._block(columns, width)) for columns in self._blocks(width))
        return "\n".join([_filled(self.title, width), blocks, *(_filled(note, width) for note in self.notes)])

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """How `rich` prints it: the text, with a bold title."""
        from rich.text import Text

        shown = Text(self.text(options.max_width), no_wrap=True, overflow="ignore")
        shown.stylize("bold", 0, len(_filled(self.title, options.max_width)))
        yield shown

    def _column(self, place: int) -> list[str]:
        return [self.header[place], *(row[place] for row in self.rows)]

    def _whole(self, place: int) -> int:
        """The width of a column of which nothing is broken."""
        return max(len(line) for cell in self._column(place) for line in cell.split("\n"))

    def _least(self, place: int) -> int:
        """The width of a column whose header, or whose names, are broken at spaces."""
        words = [len(word) for word in self.header[place].split()]
        if place == 0:
            return min(self._whole(0), _NAMES)
        return max(words + [len(line) for row in self.rows for line in row[place].split("\n")])

    def _blocks(self, width: int) -> list[list[int]]:
        """The columns of each block; the first column is in all of them."""
        places = range(len(self.header))
        if _total([self._whole(place) for place in places]) <= width:
            return [list(places)]
        blocks = [[0]]
        for place in places[1:]:
            if len(blocks[-1]) > 1 and _total([self._least(one) for one in (*blocks[-1], place)]) > width:
                blocks.append([0])
            blocks[-1].append(place)
        return blocks

    def _block(self, columns: Sequence[int], width: int) -> Iterator[str]:
        widths = [self._whole(place) for place in columns]
        if _total(widths) > width:
            widths = [self._least(place) for place in columns]
        gap = next((gap for gap in _GAPS if _total(widths, gap) <= width), _GAPS[-1])
        lines = [list(self.header), *map(list, self.rows)]
        for number, line in enumerate(lines):
            cells = [_broken(line[place], size) for place, size in zip(columns, widths, strict=True)]
            for part in range(max(map(len, cells))):
                texts = [cell[part] if part < len(cell) else "" for cell in cells]
                yield (" " * gap).join(f"{text:<{size}}" for text, size in zip(texts, widths, strict=True)).rstrip()
            if number == 0:
                yield "─" * _total(widths, gap)


def print_tables(tables: Iterable[Table], lines: Iterable[str] = (), *, end: str = "") -> None:
    """Tables for the terminal, then lines that are not wrapped, and a last one in bold."""
    from rich.console import Console

    console = Console(highlight=False)
    for table in tables:
        console.print(table)
        console.print()
    for line in lines:
        console.print(line, soft_wrap=True, markup=False)
    if end:
        console.print(f"\n{end}", soft_wrap=True, markup=False, style="bold")


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


def _filled(text: str, width: int) -> str:
    return "\n".join(wrap(text, width, break_long_words=False, break_on_hyphens=False))


def _broken(cell: str, width: int) -> list[str]:
    """The lines of a cell; only what is wider than its column is broken."""
    return [
        part
        for line in cell.split("\n")
        for part in (wrap(line, width, break_on_hyphens=False) if len(line) > width else [line])
    ]


def _one_line(cell: str) -> str:
    return " ".join(cell.replace("|", "\\|").split())
