"""The task of Amazon-C4: long needs written from reviews, one product that meets each, a million others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from recr1.config.build import build
from recr1.errors import DataError, shown
from recr1.tasks.judged import ALL, JudgedTask
from recr1.tasks.published.source import Source, require
from recr1.tasks.readers import Record, records
from recr1.tasks.splits import share_problem
from recr1.tasks.tables import QrelsReader, Reading, read_catalog, read_needs
from retrievers.options import PositiveInt, checked, did_you_mean

SOURCE = Source(
    {"test.csv": "12.5 MB", "sampled_item_metadata_1M.jsonl": "643 MB"},
    "https://huggingface.co/datasets/McAuley-Lab/Amazon-C4",
    "hf download McAuley-Lab/Amazon-C4 --repo-type dataset --local-dir amazon_c4",
)
_NAMES = {"item_id": ("item_id",), "need_id": ("qid",), "need_text": ("query",)}


@checked
class AmazonC4Task(JudgedTask):
    """Product search of Amazon-C4: 21,223 needs that were written from reviews, and the product of the review.

    `path` holds `test.csv` and `sampled_item_metadata_1M.jsonl`. All needs are in one file, whatever its name says, and
    are split by a hash of their text. The review behind a need (`ori_review`) is in no need and no item. Only the
    reviewed product counts as relevant; others that would do are not judged. Of products with the same id the first is
    kept.

    An item's fields are category and metadata (title and description), and its text is metadata.

    Args:
        path: the folder.
        category: only the needs whose product is of this category, a short name such as Games; the catalog stays whole.
        unknown_items: if the product of a need does not exist, refuse the data, or exclude the need.
        splits: shares of the needs by split; by default 0.8, 0.1 and 0.1.
        split_seed: another seed gives another split by hash.
        max_needs: keep at most this many needs of each split, chosen by hash; None for all.
        format: prompt and parser, `{type: plain}` by default.

    Raises:
        DataError: for a missing file, with how to get it, and for anything wrong in a file, with its line.
    """

    text_fields = ("metadata",)

    def __init__(
        self,
        *,
        path: str,
        category: str | None = None,
        unknown_items: Literal["refuse", "exclude"] = "refuse",
        splits: dict[str, float] | None = None,
        split_seed: int = 0,
        max_needs: PositiveInt | None = None,
        format: dict[str, Any] | None = None,
    ) -> None:
        self.format = build("format", format or {"type": "plain"}, path="task.format")
        queries, products = SOURCE.find(path)
        counts = Counter[str]()
        how = Reading(_NAMES, None, (), counts, _product)
        self.catalog = read_catalog(products, how, self.text_fields, keep_first=True)
        needs = read_needs(queries, replace(how, prepare=_need))
        reader = QrelsReader(self.catalog, needs, how, 1, unknown_items == "refuse", None)
        rows = ((line, {**row, "grade": 1}, ["qid", "item_id", "grade"]) for line, row in records(queries, "needs"))
        answers = reader.read(queries, rows)
        if category is not None:
            of_item = self.catalog.column("category")
            if category not in of_item:
                known = did_you_mean(category, set(of_item)) or f" (categories: {', '.join(sorted(set(of_item)))})"
                raise DataError(products, None, f"no category {shown(category)}{known}")
            kept = {need: key for need, key in answers.items() if of_item[next(iter(key))] == category}
            counts["needs left out, of another category"] = len(answers) - len(kept)
            answers, needs = kept, {name: need for name, need in needs.items() if name in kept}
        self.settle({ALL: answers}, needs, {ALL: queries}, counts, shares=splits, seed=split_seed, max_needs=max_needs)

    @staticmethod
    def check_options(options: Mapping[str, Any]) -> list[str]:
        """What is wrong with options of the right types, found without opening a file."""
        problem = share_problem(options["splits"]) if options.get("splits") is not None else None
        return [f"splits: {problem}"] if problem else []


def _product(path: Path, line: int, record: Record) -> Record:
    return require(path, line, record, ("item_id", "category", "metadata"))


def _need(path: Path, line: int, record: Record) -> Record:
    return require(path, line, record, ("qid", "query", "item_id"))
