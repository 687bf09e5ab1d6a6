"""Files of recipes: those that ship, and the text of one."""

from __future__ import annotations

from pathlib import Path

from recr1.errors import RecipeError, UserError
from retrievers.options import did_you_mean

LONGEST = 1_000_000
"""Bytes of the longest file that is read: a file of data in the place of a recipe would be read for minutes."""


def shipped_recipes() -> dict[str, Path]:
    """The recipes that come with the package: name ("toy/echo") -> file, in the order of their names."""
    return {name: path for name, path in _shipped().items() if not name.startswith("launch/")}


def shipped_launch_configs() -> dict[str, Path]:
    """The configurations for `accelerate launch` that come with the package: name ("launch/ddp") -> file."""
    return {name: path for name, path in _shipped().items() if name.startswith("launch/")}


def _shipped() -> dict[str, Path]:
    home = Path(__file__).resolve().parents[1]
    folder = next((f for f in (home / "recipes", home.parent / "recipes") if f.is_dir()), home)
    return {path.relative_to(folder).with_suffix("").as_posix(): path for path in sorted(folder.rglob("*.yaml"))}


def find_recipe(name: str | Path) -> Path:
    """The file of a path or of a shipped recipe's name; raises `UserError` if it is neither."""
    path = Path(name)
    if path.is_file():
        return path
    if path.is_dir():
        example = path / "recipe.yaml"
        file = f", such as {example}" if example.is_file() else ""
        raise UserError(f"{path} is a folder: name a recipe file{file}")
    shipped = shipped_recipes()
    if str(name) in shipped:
        return shipped[str(name)]
    bare = path.with_suffix("").as_posix().removeprefix("recipes/")
    raise UserError(f"there is no recipe '{name}'{did_you_mean(bare, shipped)} ('recr1 ls' lists those that ship)")


def recipe_text(path: Path) -> str:
    """The text of a recipe file; raises `UserError` for one that is too long, or not UTF-8."""
    if path.stat().st_size > LONGEST:
        raise UserError(
            f"{path} has {path.stat().st_size / 1e6:,.0f} MB: is it a recipe? (a YAML file of some 40 lines)"
        )
    content = path.read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        what = f"byte 0x{content[error.start]:02x} is not UTF-8: save the file in that encoding"
        raise RecipeError([f"{path}:{line}: {what}"], path) from error
