"""The options of TRL's own configs, read from the source of the installed TRL: a check imports nothing heavy."""

from __future__ import annotations

import ast
import typing
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args

from recr1.trainers.trl.bounds import bounded
from retrievers.options import Option

_TYPES: dict[str, Any] = {"int": int, "float": float, "str": str, "bool": bool, "list": list, "dict": dict}
_TYPES |= {"tuple": tuple, "typing": typing, **vars(typing)}
_OF_EVALUATION = ("reduce_lr_on_plateau", "greedy", "best")
"""Schedules, and a save strategy, that read transformers' own evaluation, which a run of recr1 does not make."""


@cache
def trl_options(config: str) -> dict[str, Option]:
    """The fields of a TRL config class ("GRPOConfig") with its bases'; empty when TRL is not installed.

    Each has the annotation of the source, within the bounds of `recr1.trainers.trl.bounds`. A field whose annotation
    names a class that cannot be read here takes any value; TRL checks it when its config is built.
    """
    specs = find_spec("trl"), find_spec("transformers")
    trl, transformers = (Path(spec.origin).parent if spec and spec.origin else None for spec in specs)
    if trl is None or transformers is None:
        return {}
    arguments = _parsed(transformers / "training_args.py")
    choices = dict(_enumerations([*_parsed(transformers / "trainer_utils.py"), *arguments]))
    base = _parsed(trl / "trainer" / "base_config.py")
    own = _parsed(trl / "trainer" / f"{config.removesuffix('Config').lower()}_config.py")
    found = {
        **_fields(arguments, "TrainingArguments", choices),
        **_fields(base, "_BaseConfig", choices),
        **_fields(own, config, choices),
    }
    return {name: Option(bounded(name, annotation), None) for name, annotation in found.items()}


def _parsed(path: Path) -> list[ast.ClassDef]:
    return [node for node in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(node, ast.ClassDef)]


def _enumerations(classes: list[ast.ClassDef]) -> Iterator[tuple[str, Any]]:
    """The name of each class of string constants, and its values as a type."""
    for found in classes:
        given = [node.value for node in found.body if isinstance(node, ast.Assign)]
        values = [node.value for node in given if isinstance(node, ast.Constant) and isinstance(node.value, str)]
        if values and any(isinstance(base, ast.Name) and base.id.endswith("Enum") for base in found.bases):
            yield found.name, Literal[tuple(value for value in values if value not in _OF_EVALUATION)]


def _fields(classes: list[ast.ClassDef], name: str, choices: Mapping[str, Any]) -> dict[str, Any]:
    found = next(node for node in classes if node.name == name)
    return {
        node.target.id: _annotation(node, choices)
        for node in found.body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }


def _annotation(node: ast.AnnAssign, choices: Mapping[str, Any]) -> Any:
    """The annotation of a field as a type: its choices where the source lists them, as metadata or as a class."""
    for part in ast.walk(node.value) if node.value else ():
        listed = isinstance(part, ast.Dict) and {
            key.value: value for key, value in zip(part.keys, part.values, strict=True) if isinstance(key, ast.Constant)
        }.get("choices")
        if isinstance(listed, ast.List):
            chosen: Any = Literal[tuple(ast.literal_eval(listed))]
            return chosen | None if NoneType in get_args(_plain(node.annotation)) else chosen
    names = [part.id for part in ast.walk(node.annotation) if isinstance(part, ast.Name)]
    if len(names) == 2 and names[0] in choices and names[1] == "str":  # SchedulerType | str
        return choices[names[0]]
    return _plain(node.annotation)


def _plain(node: ast.expr) -> Any:
    """The annotation as a type where it is built of plain ones, else Any. Names are looked up, nothing is called."""
    source = ast.unparse(node)
    if any(isinstance(part, ast.Call) for part in ast.walk(node)):
        return Any
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return _plain(ast.parse(node.value, mode="eval").body)
    if not {part.id for part in ast.walk(node) if isinstance(part, ast.Name)} <= _TYPES.keys():
        return Any
    return eval(compile(ast.Expression(node), source, "eval"), {"__builtins__": {}}, _TYPES)
