"""The task of Amazon-C4: long needs written from reviews, one product that meets each, a million others."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from recr1.errors import DataError, shown
from recr1.tasks.judged import ALL
from recr1.tasks.published.source import PublishedTask, Source, require, roles
from recr1.tasks.readers import Record
from recr1.tasks.tables import Reading, read_needs
from retrievers.options import checked, did_you_mean

SOURCE = Source(
    {"test.csv": "12.5 MB", "sampled_item_metadata_1M.jsonl": "643 MB"},
    "https://huggingface.co/datasets/McAuley-Lab/Amazon-C4",
    "hf download McAuley-Lab/Amazon-C4 --repo-type dataset --local-dir amazon_c4",
)
_NAMES = roles("item_id", "qid", "query", "relevant")


@checked
@dataclass(kw_only=True, eq=False)
class AmazonC4Task(PublishedTask):
    """Product search of Amazon-C4: 21,223 needs that were written from reviews, and the product of the review.

    `path` holds `test.csv` and `sampled_item_metadata_1M.jsonl`. All needs are in one file, whatever its name says, and
    are split by a hash of their text. The review behind a need (`ori_review`) is in no need and no item. Only the
    reviewed product counts as relevant; others that would do are not judged. Of products with the same id the first is
    kept.

    An item's fields are category and metadata (title and description), and its text is metadata.
    """

    columns: ClassVar = {"category": ("category",), "metadata": ("metadata",)}
    text: ClassVar = ("metadata",)

    category: str | None = None
    """Only the needs whose product is of this category, a short name such as Games; the catalog stays whole."""

    def read(self, counts: Counter[str]) -> None:
        """Read both files, that of the needs twice: each has its product."""
        queries, products = SOURCE.find(self.path, counts)
        how = Reading(_NAMES, None, (), counts)
        self.catalog = self.items(products, how)
        categories = self.catalog.column("category")
        if self.category not in (None, *categories):
            known = did_you_mean(self.category, {*categories}) or f" (categories: {', '.join(sorted({*categories}))})"
            raise DataError(products, None, f"no category {shown(self.category)}{known}")

        def need(path: Path, line: int, record: Record) -> Record | None:
            require(path, line, record, ("qid", "query", "item_id"))
            item = str(record["item_id"])
            if self.category and item in self.catalog and categories[self.catalog.row(item)] != self.category:
                left_out[line] += 1
                return None
            return {**record, "relevant": 1}

        left_out = Counter[int]()
        how = replace(how, prepare=need)
        needs = read_needs(queries, how)
        counts["needs left out, of another category"] = len(left_out)
        self.judge({ALL: queries}, needs, how)
