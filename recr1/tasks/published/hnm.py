"""The task of H&M's search data: queries made from purchases, and the articles of a fashion shop."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from recr1.tasks.cells import MISSING
from recr1.tasks.judged import ALL
from recr1.tasks.published.source import PublishedTask, Source, require, roles
from recr1.tasks.readers import Record, records
from recr1.tasks.tables import Reading, read_needs
from retrievers.options import checked

SOURCE = Source(
    {
        "data/raw/articles.csv": "105,542 articles",
        "data/search/queries.csv": "253,685 queries",
        "data/search/qrels.csv": "253,685 rows",
    },
    "https://huggingface.co/datasets/microsoft/hnm-search-data",
    "hf download microsoft/hnm-search-data --repo-type dataset --include 'data/search/*' data/raw/articles.csv "
    "--local-dir hnm",
)
_NAMES = roles("article_id", "query_id", "query_text")


@checked
@dataclass(kw_only=True, eq=False)
class HnmTask(PublishedTask):
    """Product search of H&M: 253,685 queries that a model wrote for purchases, and 105,542 articles.

    `path` holds `data/raw/articles.csv`, `data/search/queries.csv` and `data/search/qrels.csv`. A row of the last has
    the articles that meet a query (grade 1, mostly the one that was bought) and about nine that do not (grade 0). The
    set has no splits: needs are split by a hash of their text, as many purchases have the same query. Ids of articles
    are text: they begin with a 0.

    An item's fields are title, type, group, color, appearance, department, index, section, garment_group and
    description, and its text is all but group, department and index.
    """

    columns: ClassVar = {
        "title": ("prod_name",),
        "type": ("product_type_name",),
        "group": ("product_group_name",),
        "color": ("colour_group_name",),
        "appearance": ("graphical_appearance_name",),
        **{name: (f"{name}_name",) for name in ("department", "index", "section", "garment_group")},
        "description": ("detail_desc",),
    }
    text: ClassVar = ("title", "type", "color", "appearance", "section", "garment_group", "description")

    def read(self, counts: Counter[str]) -> None:
        """Read the three files."""
        articles, queries, qrels = SOURCE.find(self.path, counts)
        how = Reading(_NAMES, None, frozenset(MISSING), counts)
        self.catalog = self.items(articles, how)
        asked = replace(how, prepare=lambda file, line, row: require(file, line, row, ("query_id", "query_text")))

        def judgements(path: Path, *reading: Any) -> Iterator[tuple[int, Record]]:
            """The pairs of each row: its articles that meet the query, then those that do not."""
            for line, record in records(path, *reading):
                other = "negatives_ids" if "negatives_ids" in record else "negative_ids"  # the first on the set's page
                require(path, line, record, ("query_id", "positive_ids", other))
                for column, grade in (("positive_ids", 1), (other, 0)):
                    articles = str(record[column] or "").split()
                    counts[f"rows of judgements without {column}"] += not articles
                    for article in articles:
                        yield line, {"query_id": record["query_id"], "article_id": article, "grade": grade}

        self.judge({ALL: qrels}, read_needs(queries, asked), replace(how, read=judgements))
