"""The task of the TREC Product Search track: a million products, ESCI to train on, and queries judged by NIST."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar

from annotated_types import MinLen

from recr1.tasks.base import SPLITS
from recr1.tasks.published.source import PublishedTask, Source, headerless, roles
from recr1.tasks.tables import Reading
from retrievers.options import checked, did_you_mean

SIZES = {
    "data/jsonl/corpus.jsonl.gz": "1,118,658 products",
    "data/qid2query.tsv": "946 KB",
    "2023_test_queries.tsv.gz": "7 KB",
    "data/train/product-search-train.qrels.gz": "2.1 MB",
    "data/dev/product-search-dev.qrels.gz": "906 KB",
    "2023test.qrel": "2.1 MB",
}
"""The files as the command puts them into one folder."""
_CORPUS, *_QUERIES, _TRAIN, _DEV, _TEST = SIZES
_QRELS = {"train": _TRAIN, "validation": _DEV, "test": _TEST}
_REPOSITORIES = "product-search-corpus Product-Search-Qrels-v0.1 product-search-2023-queries product-search-2023-qrels"
COMMAND = (
    f"for name in {_REPOSITORIES}; do hf download trec-product-search/$name --repo-type dataset "
    "--exclude 'data/trec/*' 'data/pyserini*' --local-dir trec_products; done"
)
_NAMES = roles(("doc_id", "docid"), "qid", "query")


@checked
@dataclass(kw_only=True, eq=False)
class TrecProductsTask(PublishedTask):
    """TREC Product Search: a million products of Amazon, judged queries of ESCI, and 186 queries judged by NIST.

    `path` holds the files of several repositories, as one command puts them there. Queries and judgements have no
    header. Grades are 0 to 3, and a negative one counts as 0. A query in two files must have the same text in both;
    with judgements in two splits, it stays in the later one. Of products with the same id the first is kept.

    An item's fields are title and description (without HTML), and its text is both.
    """

    columns: ClassVar = {"title": ("title",), "description": ("description", "text")}
    text: ClassVar = ("title", "description")

    corpus: str = _CORPUS
    """The file of the products."""
    queries: Annotated[list[str], MinLen(1)] = field(default_factory=lambda: list(_QUERIES))
    """The files of the queries."""
    qrels: dict[str, str] = field(default_factory=lambda: dict(_QRELS))  # type: ignore[assignment]
    """Split -> file of judgements. Another year: `{test: 2024-qrels.txt}`, and its queries in `queries`."""

    def read(self, counts: Counter[str]) -> None:
        """Read the catalog, the queries and the judgements."""
        by_split = {split: self.qrels[split] for split in SPLITS if split in self.qrels}
        names = [self.corpus, *self.queries, *by_split.values()]
        source = Source(
            {name: SIZES.get(name, "another year's") for name in names},
            "https://huggingface.co/trec-product-search (2024 and later: https://trec.nist.gov/data/product)",
            COMMAND,
        )
        products, *found = source.find(self.path, counts)
        queries, qrels = found[: len(self.queries)], found[len(self.queries) :]
        how = Reading(_NAMES, None, (), counts)
        self.catalog = self.items(products, how)
        needs = self.asked(queries, replace(how, read=headerless("qid", "query", separator="\t")))
        judgements = replace(how, read=headerless("qid", "iteration", "docid", "grade"))
        self.judge(dict(zip(by_split, qrels, strict=True)), needs, judgements)

    @classmethod
    def check_options(cls, options: Mapping[str, Any]) -> list[str]:
        """What is wrong with options of the right types, found without opening a file."""
        given = options.get("qrels", _QRELS)
        unknown = [f"qrels: no split {split!r}{did_you_mean(split, SPLITS)}" for split in given if split not in SPLITS]
        return super().check_options(options) + (unknown if given else ["qrels: must have a file for a split, got {}"])
