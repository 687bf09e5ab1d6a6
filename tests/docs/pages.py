"""The pages of the documentation, and the fenced blocks in them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from tests.processes import ROOT

PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted(ROOT.glob("docs/**/*.md")),
]

_FENCE = re.compile(r"^( *)```(\w+)([^\n]*)\n(.*?)^\1```", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """A fenced block; `name` is page and number, such as "docs/index.md-2"."""

    name: str
    language: str
    info: str
    text: str


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(language: str) -> list[Block]:
    """The blocks of all pages in a language, but those that only include a file."""
    return [
        Block(f"{name_of(page)}-{number}", found[2], found[3], found[4])
        for page in PAGES
        for number, found in enumerate(_FENCE.finditer(page.read_text(encoding="utf-8")), start=1)
        if found[2] == language and not found[4].startswith("{% include")
    ]


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return _FENCE.sub("", page.read_text(encoding="utf-8"))
