"""YAML as recipes use it: a line for every key, no key twice, the plain values of YAML 1.2, and overrides.

PyYAML reads YAML 1.1, where `1e-5` is a string, `no` is False, `1:30` is 90 and `010` is 8. Here only `true` and
`false` are bools, `1e-5` is a float, and the rest are strings, when reading and when writing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from retrievers.errors import shown
from retrievers.options import Problem
from retrievers.secrets import literal_secrets

_PLAIN = (
    ("null", r"~|null|Null|NULL|", "~nN"),
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    # Nobody means an integer of twenty digits; as a float it is refused where an int is expected.
    ("int", r"[-+]?[0-9]{1,18}|0o[0-7]{1,18}|0x[0-9a-fA-F]{1,15}", "-+0123456789"),
    (
        "float",
        r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+.0123456789",
    ),
)
_TAG = "tag:yaml.org,2002:"


@dataclass(frozen=True)
class Document:
    """A YAML text: its value, the line of every path ("rewards.0.weight"), and what is wrong with it by line."""

    value: Any
    lines: dict[str, int] = field(default_factory=dict)
    problems: list[tuple[int, str]] = field(default_factory=list)


def read(text: str) -> Document:
    """The value of a YAML text; never raises, and with a syntax error the value is None and one problem says why."""
    walk = _Walk()
    try:
        node = _RecipeLoader(text).get_single_node()
        value = None if node is None else walk.value(node, "")
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = ": ".join(part for part in (error.context, error.problem) if part) or "cannot be read"
        if not isinstance(error, _UnwantedError):
            what = f"not YAML: {what}" + (" (write spaces instead of tabs)" if "'\\t'" in what else "")
        return Document(None, {}, [(mark.line + 1 if mark else 1, what)])
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        return Document(None, {}, [(line, f"not YAML: the character {chr(error.character)!r} is not allowed")])
    except RecursionError:
        return Document(None, {}, [(1, "not a recipe: brackets are nested too deep")])
    return Document(value, walk.lines, walk.problems)


def write(value: Any) -> str:
    """YAML text of plain values, which `read` reads as the same value; keys stay in their order."""
    text: str = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
    return text


class Places:
    """Where each path of a recipe was set, a line of the file or an override, so that a problem can name the place."""

    def __init__(self, file: Path, lines: Mapping[str, int]) -> None:
        self._file = file
        self._places = {path: f"{file}:{line}" for path, line in lines.items()}

    def of(self, path: str) -> str:
        """The place of a path, or of the section around it."""
        while path not in self._places and "." in path:
            path = path.rpartition(".")[0]
        return self._places.get(path, str(self._file))

    def apply(self, raw: dict[str, Any], override: str) -> Problem | None:
        """Put `section.key=value` into the recipe; returns what is wrong with it, or None."""
        path, equals, text = override.partition("=")
        document = read(text)
        hidden = any(literal_secrets({path.rpartition(".")[2]: document.value}))
        origin = f"override '{path}=...'" if hidden else f"override '{override}'"
        self._places[path] = origin
        if not equals or not all(path.split(".")):
            return Problem(path, "must be section.key=value, such as retriever.k1=1.2")
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
                    self._places[f"{here}.{key}" if here else key] = origin
                node = node[place]
        node[place] = document.value
        self._places = {p: s for p, s in self._places.items() if not p.startswith(f"{path}.")}
        return None


def _enter(node: object, key: str, here: str) -> str:
    """Why `key` cannot be set in the value of the path `here`, or an empty text."""
    if isinstance(node, list):
        if not key.isdecimal() or int(key) >= len(node):
            items = ", ".join(f"{here}.{place}" for place in range(len(node))) or "none"
            return f"'{here}' is a list with the items {items}"
    elif not isinstance(node, dict):
        return f"'{here}' is {shown(node)}, not a mapping or a list"
    return ""


class _UnwantedError(yaml.composer.ComposerError):
    """Valid YAML that a recipe must not use."""


class _RecipeLoader(yaml.SafeLoader):
    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        if self.check_event(yaml.AliasEvent):
            raise _UnwantedError(None, None, "a recipe has no aliases (*name): write the value out", event.start_mark)
        if getattr(event, "tag", None) is not None:
            what = f"a recipe has no tags ({event.tag}): write the value alone"
            raise _UnwantedError(None, None, what, event.start_mark)
        return super().compose_node(parent, index)


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_str(self, data: str) -> yaml.ScalarNode:
        # By default PyYAML writes the line ends of Unicode in a way that it reads back as a space.
        style = None if data.replace("\n", "").isprintable() else '"'
        return self.represent_scalar(f"{_TAG}str", data, style)


_Dumper.add_representer(str, _Dumper.represent_str)


for _class in (_RecipeLoader, _Dumper):
    _class.yaml_implicit_resolvers = {}
    for _name, _pattern, _first in _PLAIN:
        _class.add_implicit_resolver(f"{_TAG}{_name}", re.compile(f"(?:{_pattern})\\Z"), [*_first, ""])


class _Walk:
    """Turns nodes into values and notes where each came from."""

    def __init__(self) -> None:
        self.lines: dict[str, int] = {}
        self.problems: list[tuple[int, str]] = []

    def value(self, node: yaml.Node, path: str) -> Any:
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            items = enumerate(node.value)
            return [self._item(child, child, f"{path}.{place}" if path else str(place)) for place, child in items]
        return self._scalar(node)

    def _item(self, child: yaml.Node, marked: yaml.Node, path: str) -> Any:
        self.lines[path] = marked.start_mark.line + 1
        return self.value(child, path)

    def _mapping(self, node: yaml.MappingNode, path: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key_node, child in node.value:
            line = key_node.start_mark.line + 1
            key = self._scalar(key_node) if isinstance(key_node, yaml.ScalarNode) else None
            key = str(key) if type(key) is int else key  # the grades of gains: JSON, and so options, have no other keys
            if not isinstance(key, str):
                self.problems.append(
                    (line, "a key must be a string or an integer: put quotes around it if you mean it")
                )
                continue
            inner = f"{path}.{key}" if path else key
            if key in found:
                self.problems.append((line, f"{inner}: the key appears twice, first in line {self.lines[inner]}"))
                continue
            found[key] = self._item(child, key_node, inner)
        return found

    def _scalar(self, node: yaml.Node) -> Any:
        text = str(node.value)
        match node.tag.removeprefix(_TAG):
            case "null":
                return None
            case "bool":
                return text.lower() == "true"
            case "int":
                return int(text, 0) if text[:2] in ("0o", "0x") else int(text)  # base 0 refuses 010
            case "float":
                return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
        return text
