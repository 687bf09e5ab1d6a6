"""The task of WANDS: product search of Wayfair with labels Exact, Partial and Irrelevant."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from recr1.tasks.cells import MISSING
from recr1.tasks.judged import ALL
from recr1.tasks.published.source import PublishedTask, Source, one_of, require, roles
from recr1.tasks.readers import Record
from recr1.tasks.tables import Reading, read_needs
from retrievers.options import NonNegativeFloat, checked

SOURCE = Source(
    {"product.csv": "42,994 products", "query.csv": "480 queries", "label.csv": "233,448 judgements"},
    "https://github.com/wayfair/WANDS",
    "git clone https://github.com/wayfair/WANDS; then set the task's path to WANDS/dataset",
)
GAINS = {"Exact": 1.0, "Partial": 0.5, "Irrelevant": 0.0}
_NAMES = roles("product_id", "query_id", "query", "label")


@checked
@dataclass(kw_only=True, eq=False)
class WandsTask(PublishedTask):
    """Product search of WANDS: 480 queries, 42,994 products of Wayfair, and labels Exact, Partial and Irrelevant.

    `path` holds `product.csv`, `query.csv` and `label.csv`, which are separated by tabs. The set has no splits: needs
    are split by a hash of their text. Labels of the same query and product are merged to the highest, and counted; of
    products with the same id the first is kept. Needs without an item of a gain above 0 are left out.

    An item's fields are title, class, category_hierarchy, description (without HTML), features, rating_count,
    average_rating and review_count, and its text the first five.
    """

    columns: ClassVar = {
        "title": ("product_name",),
        "class": ("product_class",),
        "category_hierarchy": ("category hierarchy", "category_hierarchy"),  # as in the file, as in its description
        "description": ("product_description",),
        "features": ("product_features",),
        **{name: (name,) for name in ("rating_count", "average_rating", "review_count")},
    }
    text: ClassVar = ("title", "class", "category_hierarchy", "description", "features")
    labels: ClassVar = tuple(GAINS)

    gains: dict[str, NonNegativeFloat] | None = None
    """What a label is worth to nDCG(gain=task)@k; null for Exact 1, Partial 0.5 and Irrelevant 0."""

    def read(self, counts: Counter[str]) -> None:
        """Read the three files."""
        products, queries, labels = SOURCE.find(self.path, counts)
        how = Reading(_NAMES, None, frozenset(MISSING), counts)
        self.catalog = self.items(products, how)
        asked = replace(how, prepare=lambda file, line, row: require(file, line, row, ("query_id", "query")))
        needs = read_needs(queries, asked)
        self.judge({ALL: labels}, needs, replace(how, prepare=_label), self.gains or GAINS)


def _label(path: Path, line: int, record: Record) -> Record:
    require(path, line, record, ("query_id", "product_id", "label"))
    one_of(path, line, record, "label", {name: name for name in GAINS})
    return record
