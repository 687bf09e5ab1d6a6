"""`recr1 ls`: the recipes and the built-in parts, found on disk and in the registries."""

from __future__ import annotations

import argparse
import inspect

from recr1.terminal import say


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--parts", action="store_true", help="list the built-in types and their options instead")


def run(args: argparse.Namespace) -> int:
    """Print each recipe and launch configuration with the first line of its header, or each type with its options."""
    from recr1.config.build import KINDS, builtin, find_class, options_of_part
    from recr1.config.shipped import shipped_launch_configs, shipped_recipes

    if args.parts:
        for kind in KINDS:
            say(kind)
            for name in builtin(kind):
                headline = (inspect.getdoc(find_class(kind, name)) or "").partition("\n")[0]
                say(f"  {name:<14}  {headline}".rstrip())
                for key, option in options_of_part(kind, name).items():
                    say(f"    {key:<26}  {option.written:<14}  {option.expects}")
        return 0
    shipped = shipped_recipes() | shipped_launch_configs()
    firsts = {name: path.read_text(encoding="utf-8").partition("\n")[0] for name, path in shipped.items()}
    width = max(map(len, shipped), default=0)
    for name, first in firsts.items():
        say(f"{name:<{width}}  {first.lstrip('# ').strip()}")
    return 0
