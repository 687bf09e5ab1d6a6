"""Prints docs/map.md, every module with the first line of its docstring: python docs/gen_map.py > docs/map.md"""

from __future__ import annotations

import ast
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("retrievers", "rewards", "recr1")

PAGE = """\
# Map

<!-- Written by docs/gen_map.py from the first line of every module: change it there, and run `make map`. -->

```bash
make map    # write this page again
```

All modules of the three packages. `rewards` imports `retrievers`, and `recr1` imports both. The folders of `recr1` are
in the order of their layers: each imports only what comes before it. Begin with the
[reading order](contributing.md#reading-order) of sixteen files.
"""


def page() -> str:
    sections = [section(folder) for package in PACKAGES for folder in folders(ROOT / package)]
    return "\n".join([PAGE, *(line for lines in sections for line in lines)])


def folders(folder: Path) -> Iterator[Path]:
    """A folder of Python files and those inside it, lower layers first."""
    yield folder
    for inner in sorted(folder.iterdir(), key=place):
        if (inner / "__init__.py").exists():
            yield from folders(inner)


def section(folder: Path) -> Iterator[str]:
    """A heading, what the folder is for, and a line a module."""
    name = folder.relative_to(ROOT).as_posix()
    yield from (f"##{'#' * min(name.count('/'), 1)} {name}", "", first_line(folder / "__init__.py"), "")
    modules = sorted((file for file in folder.glob("*.py") if file.stem != "__init__"), key=place)
    if modules:
        yield from ("| module | what it has |", "|---|---|")
        yield from (f"| `{file.name}` | {cell(first_line(file))} |" for file in modules)
        yield ""


def place(path: Path) -> tuple[int, str]:
    """Where a file or folder comes: in `recr1` by its layer, elsewhere by its name."""
    at = layers().index(path.stem) if path.parent == ROOT / "recr1" and path.stem in layers() else -1
    return at, path.name


def layers() -> list[str]:
    """The layers of `recr1` from pyproject.toml, lowest first."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    names = next(one["layers"] for one in contracts if one.get("containers") == ["recr1"])
    return [name.strip() for line in reversed(names) for name in line.replace(":", "|").split("|")]


def first_line(file: Path) -> str:
    text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return text.partition("\n")[0]


def cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(page())
