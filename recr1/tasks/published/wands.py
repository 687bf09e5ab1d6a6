"""The task of WANDS: product search of Wayfair with labels Exact, Partial and Irrelevant."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import MinLen

from recr1.config.build import build
from recr1.tasks.cells import MISSING
from recr1.tasks.judged import ALL, JudgedTask
from recr1.tasks.published.source import Source, describe, one_of, option_problems, require
from recr1.tasks.readers import Record
from recr1.tasks.splits import share_problem
from recr1.tasks.tables import QrelsReader, Reading, grade_scale, read_catalog, read_needs
from retrievers.options import NonNegativeFloat, PositiveInt, checked

SOURCE = Source(
    {"product.csv": "42,994 products", "query.csv": "480 queries", "label.csv": "233,448 judgements"},
    "https://github.com/wayfair/WANDS",
    "git clone https://github.com/wayfair/WANDS; then set the task's path to WANDS/dataset",
)
GAINS = {"Exact": 1.0, "Partial": 0.5, "Irrelevant": 0.0}

FIELDS = {
    "product_name": "title",
    "product_class": "class",
    "category hierarchy": "category_hierarchy",  # a blank in the file, a low line in its description
    "product_description": "description",
    "product_features": "features",
    "rating_count": "rating_count",
    "average_rating": "average_rating",
    "review_count": "review_count",
}
"""Column -> field of the catalog."""

_TEXT = ("title", "class", "category_hierarchy", "description", "features")
_NAMES = {
    "item_id": ("product_id",),
    "need_id": ("query_id",),
    "need_text": ("query",),
    "qrels_need": ("query_id",),
    "qrels_item": ("product_id",),
    "grade": ("label",),
}


@checked
class WandsTask(JudgedTask):
    """Product search of WANDS: 480 queries, 42,994 products of Wayfair, and labels Exact, Partial and Irrelevant.

    `path` holds `product.csv`, `query.csv` and `label.csv`, which are separated by tabs. The set has no splits: needs
    are split by a hash of their text. Labels of the same query and product are merged to the highest, and counted; of
    products with the same id the first is kept. Needs without an item of a gain above 0 are left out.

    An item's fields are title, class, category_hierarchy, description (without HTML), features, rating_count,
    average_rating and review_count.

    Args:
        path: the folder.
        gains: what a label is worth to nDCG(gain=task)@k; by default Exact 1, Partial 0.5 and Irrelevant 0.
        text_fields: the fields that together are an item's text; by default title, class, category_hierarchy,
            description and features.
        unknown_items: if a judged product does not exist, refuse the data, or exclude the judgement.
        splits: shares of the needs by split; by default 0.8, 0.1 and 0.1.
        split_seed: another seed gives another split by hash.
        max_needs: keep at most this many needs of each split, chosen by hash; None for all.
        format: prompt and parser, `{type: plain}` by default.

    Raises:
        DataError: for a missing file, with how to get it, and for anything wrong in a file, with its line.
    """

    def __init__(
        self,
        *,
        path: str,
        gains: dict[str, NonNegativeFloat] | None = None,
        text_fields: Annotated[list[str], MinLen(1)] | None = None,
        unknown_items: Literal["refuse", "exclude"] = "refuse",
        splits: dict[str, float] | None = None,
        split_seed: int = 0,
        max_needs: PositiveInt | None = None,
        format: dict[str, Any] | None = None,
    ) -> None:
        self.format = build("format", format or {"type": "plain"}, path="task.format")
        self.text_fields = text_fields or list(_TEXT)
        products, queries, labels = SOURCE.find(path)
        counts = Counter[str]()

        def item(file: Path, line: int, record: Record) -> Record:
            if "category hierarchy" not in record and "category_hierarchy" in record:
                record["category hierarchy"] = record.pop("category_hierarchy")
            require(file, line, record, ("product_id", *FIELDS))
            named = {name: record[column] for column, name in FIELDS.items()}
            return {"product_id": record["product_id"], **describe(named, counts)}

        how = Reading(_NAMES, None, frozenset(MISSING), counts, item)
        self.catalog = read_catalog(products, how, self.text_fields, keep_first=True)
        how = replace(how, prepare=lambda file, line, row: require(file, line, row, ("query_id", "query")))
        needs = read_needs(queries, how)
        grade_of, worth = grade_scale(gains or GAINS)
        reader = QrelsReader(self.catalog, needs, replace(how, prepare=_label), 1, unknown_items == "refuse", grade_of)
        judged = {ALL: reader.read(labels)}
        self.settle(
            judged, needs, {ALL: labels}, counts, worth=worth, shares=splits, seed=split_seed, max_needs=max_needs
        )

    @staticmethod
    def check_options(options: Mapping[str, Any]) -> list[str]:
        """What is wrong with options of the right types, found without opening a file."""
        problem = share_problem(options["splits"]) if options.get("splits") is not None else None
        found = option_problems(options, [*FIELDS.values()], [*GAINS])
        return [*found, f"splits: {problem}"] if problem else found


def _label(path: Path, line: int, record: Record) -> Record:
    require(path, line, record, ("query_id", "product_id", "label"))
    one_of(path, line, record, "label", {name: name for name in GAINS})
    return record
