"""`recr1 ls` and `recr1 cp`: the recipes and the built-in parts that are there, found on disk and in the registries."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path

from recr1.config.build import KINDS, builtin, find_class
from recr1.errors import UserError
from recr1.recipe import find_recipe, shipped_launch_configs, shipped_recipes
from retrievers.options import options_of


def list_recipes() -> int:
    """Print each shipped recipe, and each configuration to launch one: its name and the first line of its header."""
    shipped = shipped_recipes() | shipped_launch_configs()
    width = max(map(len, shipped), default=0)
    sys.stdout.writelines(f"{name:<{width}}  {_headline(path)}\n" for name, path in shipped.items())
    return 0


def list_parts() -> int:
    """Print every built-in type of every kind, with its options, their defaults and what they take."""
    for kind in KINDS:
        sys.stdout.write(f"{kind}\n")
        sys.stdout.writelines(f"{line}\n" for name in builtin(kind) for line in _part(kind, name))
    return 0


def copy_recipe(name: str, destination: str) -> int:
    """Copy a recipe, or a configuration to launch one, to a new file, or into a folder under its own name.

    Raises `UserError` where a file is already.
    """
    source = shipped_launch_configs().get(name) or find_recipe(name)
    target = Path(destination)
    if target.is_dir() or destination.endswith("/"):
        target /= source.name
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with target.open("xb") as file:
            file.write(source.read_bytes())
    except FileExistsError as error:
        raise UserError(f"{target} exists already and stays as it is: choose another name") from error
    sys.stdout.write(f"wrote {target}\n")
    return 0


def _headline(path: Path) -> str:
    first = path.read_text(encoding="utf-8").partition("\n")[0]
    return first.lstrip("# ").strip()


def _part(kind: str, name: str) -> Iterator[str]:
    cls = find_class(kind, name)
    yield f"  {name:<14} {(inspect.getdoc(cls) or '').partition(chr(10))[0]}".rstrip()
    for key, option in options_of(cls, takes=KINDS[kind].takes).items():
        default = "required" if option.required else repr(option.default)
        yield f"    {key:<20} {default:<20} {option.expects}"
