"""The options of TRL's own configs, read from the source of the installed TRL: a check imports nothing heavy."""

from __future__ import annotations

import ast
import typing
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from retrievers.options import Option

_TYPES: dict[str, Any] = {"int": int, "float": float, "str": str, "bool": bool, "list": list, "dict": dict}
_TYPES |= {"typing": typing, **vars(typing)}


@cache
def trl_options(config: str) -> dict[str, Option]:
    """The fields of a TRL config class ("GRPOConfig") with its bases'; empty when TRL is not installed.

    A field whose annotation names a class of TRL or transformers takes any value here; TRL checks it when it starts.
    """
    specs = find_spec("trl"), find_spec("transformers")
    trl, transformers = (Path(spec.origin).parent if spec and spec.origin else None for spec in specs)
    if trl is None or transformers is None:
        return {}
    own = trl / "trainer" / f"{config.removesuffix('Config').lower()}_config.py"
    return {
        **_fields(transformers / "training_args.py", "TrainingArguments"),
        **_fields(trl / "trainer" / "base_config.py", "_BaseConfig"),
        **_fields(own, config),
    }


def _fields(path: Path, class_name: str) -> dict[str, Option]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == class_name)
    return {
        node.target.id: Option(_annotation(node.annotation), None)
        for node in found.body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }


def _annotation(node: ast.expr) -> Any:
    """The annotation as a type where it is built of plain ones, else Any. Names are looked up, nothing is called."""
    source = ast.unparse(node)
    if any(isinstance(part, ast.Call) for part in ast.walk(node)):
        return Any
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return _annotation(ast.parse(node.value, mode="eval").body)
    if not {part.id for part in ast.walk(node) if isinstance(part, ast.Name)} <= _TYPES.keys():
        return Any
    return eval(compile(ast.Expression(node), source, "eval"), {"__builtins__": {}}, _TYPES)
