"""Where each value of a recipe was said, in its file or on the command line, so that a problem can name the place."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recr1.config import yaml12
from retrievers.options import Problem


class Places:
    """Where each path of a recipe was said: a line of the file, or an override."""

    def __init__(self, file: Path, lines: Mapping[str, int]) -> None:
        self._file = file
        self._said = {path: f"{file}:{line}" for path, line in lines.items()}

    def of(self, path: str) -> str:
        """The place of a path, or of the section around it."""
        while path not in self._said and "." in path:
            path = path.rpartition(".")[0]
        return self._said.get(path, str(self._file))

    def apply(self, raw: dict[str, Any], override: str) -> Problem | None:
        """Put `section.key=value` into the recipe; says what is wrong with it, or None."""
        path, equals, text = override.partition("=")
        document = yaml12.read(text)
        said = f"override '{override}'"
        self._said[path] = said
        if not equals or not all(path.split(".")):
            return Problem(path, "an override is section.key=value, such as retriever.k1=1.2")
        if document.problems:
            return Problem(path, f"the value is {document.problems[0][1]} (quote it?)")
        *outer, last = path.split(".")
        node: Any = raw
        for depth, key in enumerate([*outer, last]):
            here = ".".join(outer[:depth])
            problem = _enter(node, key, here)
            if problem:
                return Problem(path, problem)
            place = int(key) if isinstance(node, list) else key
            if depth < len(outer):
                if isinstance(node, dict) and node.get(key) is None:
                    node[key] = {}
                    self._said[f"{here}.{key}" if here else key] = said
                node = node[place]
        node[place] = document.value
        self._said = {p: s for p, s in self._said.items() if not p.startswith(f"{path}.")}
        return None


def _enter(node: object, key: str, here: str) -> str:
    """Why `key` cannot be set in the value of the path `here`, or an empty text."""
    if isinstance(node, list):
        if not key.isdecimal() or int(key) >= len(node):
            items = ", ".join(f"{here}.{place}" for place in range(len(node))) or "none"
            return f"'{here}' is a list, whose items are: {items}"
    elif not isinstance(node, dict):
        return f"'{here}' is {node!r}, which has no keys"
    return ""
