"""Arguments that several commands have, and the checks of their values."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable


def add_recipe(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", metavar="RECIPE", help="a YAML file, or a name that 'recr1 ls' lists")
    add_overrides(parser)


def add_target(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("target", metavar="TARGET", help="a recipe, a name that 'recr1 ls' lists, or a run folder")
    add_overrides(parser)


def add_overrides(parser: argparse.ArgumentParser) -> None:
    text = "values that replace those of the recipe, such as retriever.k1=1.2 rewards.0.weight=2"
    parser.add_argument("overrides", metavar="key=value", nargs="*", type=override, default=[], help=text)


def add_split(parser: argparse.ArgumentParser, default: str | None) -> None:
    text = f"train, validation or test (default: {default or 'that of the recipe'})"
    parser.add_argument("--split", metavar="S", default=default, help=text)


def add_measures(parser: argparse.ArgumentParser, default: str = "those of the recipe") -> None:
    text = f"such as nDCG@10,R@100 (default: {default})"
    parser.add_argument("--measures", metavar="A,B", type=names, help=text)


def add_samples(parser: argparse.ArgumentParser) -> None:
    text = "completions per need; 0 for one greedy completion (default: 0)"
    parser.add_argument("--samples", metavar="N", type=at_least(0), default=0, help=text)


def add_category(parser: argparse.ArgumentParser) -> None:
    text = "the catalog field that needs are grouped by (default: 'category' or the like)"
    parser.add_argument("--category", metavar="FIELD", help=text)


def add_out(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", metavar="DIR", help="write the tables and all numbers into this folder")


def add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")


def override(text: str) -> str:
    if "=" not in text:
        raise argparse.ArgumentTypeError(f"must be key=value, such as retriever.k1=1.2, got {text!r}")
    return text


def names(text: str) -> list[str]:
    return [name.strip() for name in re.split(r",(?![^(]*\))", text) if name.strip()]


def parts(text: str) -> list[str]:
    from recr1.config.spelling import split_outside_brackets
    from recr1.errors import UserError

    try:
        return split_outside_brackets(text)
    except UserError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def at_least(least: int) -> Callable[[str], int]:

    def integer(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,9}", text) or int(text) < least:
            raise argparse.ArgumentTypeError(f"must be an integer >= {least}, got {text!r}")
        return int(text)

    return integer


def above_zero(text: str) -> float:
    if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text) or float(text) == 0:
        raise argparse.ArgumentTypeError(f"must be a number > 0, got {text!r}")
    return float(text)


def share(text: str) -> float:
    value = above_zero(text)
    if value >= 1:
        raise argparse.ArgumentTypeError(f"must be a number > 0 and < 1, got {text!r}")
    return value
