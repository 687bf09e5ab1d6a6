"""`recr1 search`: what the retriever of a recipe finds for a query, for a reader or for a program."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

from recr1.cli.arguments import add_overrides, at_least
from recr1.terminal import note

if TYPE_CHECKING:
    from retrievers.base import Retriever

COLUMNS = ("rank", "score", "id", "title")


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", metavar="RECIPE", help="a YAML file, or a name that 'recr1 ls' lists")
    parser.add_argument("query", metavar="QUERY", help="the query, or - to read one from each line of standard input")
    add_overrides(parser)
    parser.add_argument("-k", metavar="K", type=at_least(1), default=5, help="items to show (default: 5)")


def run(args: argparse.Namespace) -> int:
    """Print the k best items of each query: a table on a terminal, else lines of COLUMNS and the query, with tabs."""
    from recr1.config.build import build
    from recr1.errors import UserError
    from recr1.recipe import load_recipe
    from retrievers.abilities import max_k_of

    recipe = load_recipe(args.recipe, args.overrides)
    task = build("task", recipe.task)
    retriever: Retriever = build("retriever", recipe.retriever, task.catalog)
    most = max_k_of(retriever)
    if most is not None and args.k > most:
        raise UserError(f"-k {args.k}: the retriever finds at most {most} items")
    for text in filter(None, map(str.strip, sys.stdin)) if args.query == "-" else [args.query]:
        hits = retriever.search([text], args.k)
        found = enumerate(zip(hits.rows_QK[0], hits.scores_QK[0], strict=True), start=1)
        ids, title = task.catalog.ids, task.catalog.title
        rows = [(str(rank), f"{score:.4f}", ids[row], title(row)) for rank, (row, score) in found if row >= 0]
        if not rows:
            note(f"nothing matches {text!r}")
        elif sys.stdout.isatty():
            _print_table(text, rows)
        else:
            sys.stdout.writelines("\t".join([*row, " ".join(text.split())]) + "\n" for row in rows)
    return 0


def _print_table(query: str, rows: Iterable[tuple[str, ...]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(query), title_justify="left", box=None)
    for name in COLUMNS:
        table.add_column(name, justify="right" if name in ("rank", "score") else "left", no_wrap=True)
    for row in rows:
        table.add_row(*map(Text, row))
    Console().print(table)
