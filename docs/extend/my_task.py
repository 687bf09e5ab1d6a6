"""A task in a file of your own: clicks of a search log as judgements."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recr1.config.build import build
from recr1.errors import DataError, UserError
from recr1.tasks.readers import records
from recr1.tasks.splits import DEFAULT_SHARES, hash_split
from recr1.testing import TaskContract
from retrievers import Catalog
from rewards import Need, Qrels


class ClickLog:
    """A file with the columns query, item, title and clicks: each query is a need, its clicked items are graded.

    Args:
        path: The file; CSV, TSV, JSON lines or Parquet.
        often: Clicks from which an item has grade 2; fewer are grade 1.
        format: Prompt and parser, `{type: plain}` by default.
    """

    def __init__(self, *, path: str, often: int = 5, format: dict[str, Any] | None = None) -> None:
        titles: dict[str, str] = {}
        grades: dict[str, dict[str, int]] = {}
        for line, row in records(Path(path), "clicks"):
            missing = {"query", "item", "title", "clicks"} - row.keys()
            if missing:
                raise DataError(path, line, f"no column {min(missing)!r}; there are: {', '.join(row)}")
            if not str(row["clicks"]).isdecimal():
                raise DataError(path, line, f"clicks is {row['clicks']!r}: write an integer")
            titles[row["item"]] = row["title"]
            grades.setdefault(row["query"], {})[row["item"]] = 2 if int(row["clicks"]) >= often else 1
        self.catalog = Catalog(list(titles), list(titles.values()), {"title": list(titles.values())})
        self.format = build("format", format or {"type": "plain"}, path="task.format")
        self.qrels = {
            query: Qrels({self.catalog.row(item): grade for item, grade in key.items()})
            for query, key in grades.items()
        }
        self.counts: dict[str, int] = {}
        self._needs = hash_split([Need(id=query, text=query) for query in grades], DEFAULT_SHARES, seed=2)

    def needs(self, split: str) -> Sequence[Need]:
        """The needs of a split; raises `UserError` for one that is not there."""
        if split not in self._needs:
            raise UserError(f"no split {split!r}; there are: {', '.join(self._needs)}")
        return self._needs[split]


class TestClickLog(TaskContract):
    def build(self) -> ClickLog:
        return ClickLog(path=str(Path(__file__).with_name("clicks.csv")))
