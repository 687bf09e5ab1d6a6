"""`recr1 cp`: a recipe, or a configuration to launch one, as a file of your own."""

from __future__ import annotations

import argparse
from pathlib import Path

from recr1.terminal import say


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="a name that 'recr1 ls' lists, or a file")
    parser.add_argument("destination", metavar="DEST", help="a new file, or a folder")


def run(args: argparse.Namespace) -> int:
    """Copy to a new file, or into a folder under the same name; raises `UserError` for a file that exists."""
    from recr1.config.shipped import find_recipe, shipped_launch_configs
    from recr1.errors import UserError

    source = shipped_launch_configs().get(args.name) or find_recipe(args.name)
    target = Path(args.destination)
    if target.is_dir() or args.destination.endswith("/"):
        target /= source.name
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with target.open("xb") as file:
            file.write(source.read_bytes())
    except FileExistsError as error:
        raise UserError(f"{target} exists already and is not overwritten: choose another name") from error
    say(f"wrote {target}")
    return 0
