"""`recr1 search`: what a recipe's retriever finds for a query, as a person wants to see it or as a program reads it."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from recr1.config.build import build
from recr1.errors import UserError
from recr1.recipe import load_recipe

if TYPE_CHECKING:
    from retrievers.base import Catalog, Hits, Retriever

STDIN = "-"
"""In place of a query: read queries from standard input, one a line."""
COLUMNS = ("rank", "score", "id", "title")


def search(recipe: str, query: str, overrides: Sequence[str] = (), *, k: int = 5) -> int:
    """Print the k best items of each query: a table on a terminal, else lines of COLUMNS and the query, with tabs."""
    from retrievers.abilities import max_k_of  # loads numpy

    loaded = load_recipe(recipe, overrides)
    task = build("task", loaded.task)
    retriever: Retriever = build("retriever", loaded.retriever, task.catalog)
    most = max_k_of(retriever)
    if most is not None and k > most:
        raise UserError(f"-k {k}: the retriever finds {most} items at most")
    for text in _queries(query):
        rows = list(_rows(task.catalog, retriever.search([text], k)))
        if not rows:
            sys.stderr.write(f"nothing matches {text!r}\n")
        elif sys.stdout.isatty():
            _print_table(text, rows)
        else:
            sys.stdout.writelines("\t".join([*row, _flat(text)]) + "\n" for row in rows)
    return 0


def _queries(query: str) -> Iterator[str]:
    if query != STDIN:
        yield query
        return
    yield from filter(None, (line.strip() for line in sys.stdin))


def _rows(catalog: Catalog, hits: Hits) -> Iterator[tuple[str, str, str, str]]:
    for rank, (row, score) in enumerate(zip(hits.rows_QK[0], hits.scores_QK[0], strict=True), start=1):
        if row >= 0:
            yield str(rank), f"{score:.4f}", catalog.ids[row], catalog.title(row)


def _flat(text: str) -> str:
    return " ".join(text.split())


def _print_table(query: str, rows: Iterable[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(query), title_justify="left", box=None)
    for name in COLUMNS:
        table.add_column(name, justify="right" if name in ("rank", "score") else "left", no_wrap=True)
    for row in rows:
        table.add_row(*map(Text, row))
    Console().print(table)
