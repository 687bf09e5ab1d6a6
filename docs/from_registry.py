"""A hook of mkdocs: what a page lists comes from the registries and from disk, never from a list written by hand.

`<!-- parts: retriever -->` becomes the description of every built-in retriever, from its docstring, and
`<!-- recipes -->` a table of the recipes that ship.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import re
from typing import Any

from recr1.config.build import builtin, find_class, options_of_part
from recr1.config.shipped import shipped_recipes

PARTS = re.compile(r"<!-- parts: (\w+) -->")
RECIPES = "<!-- recipes -->"


def on_page_markdown(markdown: str, **_: Any) -> str:
    """The text of a page with its markers filled in; mkdocs calls this for every page."""
    return PARTS.sub(lambda match: parts(match[1]), markdown).replace(RECIPES, recipes())


def parts(kind: str) -> str:
    """A section for each built-in type of a kind."""
    return "\n\n".join(described(kind, name, target) for name, target in builtin(kind).items())


def described(kind: str, name: str, target: str) -> str:
    """One type as mkdocstrings describes its class, and a table of the values that its options take."""
    path = target.replace(":", ".")
    options = {"show_root_toc_entry": "false", "show_root_heading": "false", "members": "false"}
    lines = [f"### `{name}`", "", f"::: {path}", "    options:"]
    lines += [f"      {option}: {value}" for option, value in options.items()]
    known = options_of_part(kind, name)
    texts = field_texts(find_class(kind, name))
    if texts:
        lines += ["", "| option | default | value | is |", "|---|---|---|---|"]
        for key, option in known.items():
            lines.append(f"| `{key}` | {cell(option.written)} | {cell(option.expects)} | {cell(texts[key])} |")
    elif known:
        lines += ["", "| option | default | value |", "|---|---|---|"]
        lines += [f"| `{key}` | {cell(o.written)} | {cell(o.expects)} |" for key, o in known.items()]
    return "\n".join(lines)


def field_texts(cls: type[Any]) -> dict[str, str]:
    """The texts below the fields of a dataclass, inherited ones included; none of another class."""
    texts: dict[str, str] = {}
    for base in filter(dataclasses.is_dataclass, reversed(cls.__mro__)):
        [body] = [node.body for node in ast.parse(inspect.getsource(base)).body if isinstance(node, ast.ClassDef)]
        for node, below in itertools.pairwise(body):
            if isinstance(node, ast.AnnAssign) and isinstance(below, ast.Expr):
                texts[getattr(node.target, "id", "")] = " ".join(getattr(below.value, "value", "").split())
    return texts


def cell(text: str) -> str:
    """A text inside of a table."""
    return text.replace("|", "\\|")


def recipes() -> str:
    """A table of the shipped recipes with the first line of each."""
    rows = [f"| `{name}` | {headline(path.read_text(encoding='utf-8'))} |" for name, path in shipped_recipes().items()]
    return "\n".join(["| recipe | what it is for |", "|---|---|", *rows])


def headline(text: str) -> str:
    """The first sentences of a recipe's header, up to the line that shows a command."""
    lines = []
    for line in text.splitlines():
        if not line.startswith("# ") or line.startswith("#  "):
            break
        lines.append(line.removeprefix("# ").strip())
    return " ".join(lines).replace("|", "\\|")
