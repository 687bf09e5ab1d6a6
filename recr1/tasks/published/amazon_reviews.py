"""The task of Amazon Reviews 2023: what a user bought before is the need, and the next purchase answers it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

from recr1.errors import DataError, shown
from recr1.tasks.base import SPLITS
from recr1.tasks.cells import id_of
from recr1.tasks.published.source import PublishedTask, Source, require, roles
from recr1.tasks.readers import Record, records
from recr1.tasks.tables import Reading, count_texts
from retrievers.options import PositiveInt, checked
from rewards.base import Need

CATALOG = "raw/meta_categories/meta_{category}.jsonl"
FILES = {
    "timestamp_w_his": [
        f"benchmark/{{core}}/timestamp_w_his/{{category}}.{part}.csv" for part in ("train", "valid", "test")
    ],
    "rating_only": ["benchmark/{core}/rating_only/{category}.csv"],
    "reviews": ["raw/review_categories/{category}.jsonl"],
}
"""The files of purchases, by the option that chooses them."""
_COLUMNS = ("user_id", "parent_asin", "timestamp")


class _Purchase(NamedTuple):
    path: Path
    line: int
    user: str
    item: str
    time: int
    before: tuple[str, ...]
    """What the user bought before, oldest first."""


@checked
@dataclass(kw_only=True, eq=False)
class AmazonReviewsTask(PublishedTask):
    """The next purchase in Amazon Reviews 2023: a need lists what a user bought, and the next item is relevant.

    `path` holds the files of one category as the set's owners have them, packed with gzip or not: products in
    `raw/meta_categories`, and purchases in `benchmark/0core/timestamp_w_his`, with the items before each, or in
    `benchmark/0core/rating_only` or `raw/review_categories`. From the last two, histories are built as the owners build
    them: by user and time, an item that was bought again only once. Splits are by time: validation begins at
    `valid_from` and the test at `test_from`; a published row outside of the time of its split is refused.

    A need's text is the titles of the last items, oldest first, one on each line; its history has their rows. Its id is
    the user and how many items were before. Items without a product in the catalog are left out of histories; purchases
    without a history that has a title, or of an item that is in it or has no product, are no needs. All are counted.

    An item's fields are title, main_category, store, features, categories and description (without HTML), and its text
    is title, features, categories and description.
    """

    columns: ClassVar = {
        name: (name,) for name in ("title", "main_category", "store", "features", "categories", "description")
    }
    text: ClassVar = ("title", "features", "categories", "description")

    category: str = "All_Beauty"
    """The name of the category in the files' names."""
    purchases: Literal["timestamp_w_his", "rating_only", "reviews"] = "timestamp_w_his"
    """Which files have the purchases."""
    core: Literal["0core", "5core"] = "0core"
    """All users and items, or those with five purchases or more."""
    setting: Literal["all", "inductive", "transductive"] = "all"
    """Which needs of validation and test: inductive, those of whose items, next one included, none is in training;
    transductive, those of whose items each is; or all."""
    last: PositiveInt = 10
    """How many of the last items a need shows."""
    valid_from: PositiveInt = 1628643414042
    """The millisecond with which validation begins."""
    test_from: PositiveInt = 1658002729837
    """The millisecond with which the test begins."""
    splits: ClassVar[None] = None  # type: ignore[misc]
    """Not an option: the splits are by time."""
    unknown_items: ClassVar[None] = None  # type: ignore[misc,assignment]
    """Not an option: items without a product are left out, as in the benchmarks of the set."""

    def read(self, counts: Counter[str]) -> None:
        """Read the products and the purchases."""
        catalog, *names = [
            name.format(core=self.core, category=self.category) for name in (CATALOG, *FILES[self.purchases])
        ]
        source = Source(
            {
                catalog: "All_Beauty has 112,590 products",
                **dict.fromkeys(names, "a part of All_Beauty's 701,500 reviews"),
            },
            "https://amazon-reviews-2023.github.io",
            f"hf download McAuley-Lab/Amazon-Reviews-2023 --repo-type dataset --include {catalog} "
            f"'{names[0].replace('.train.', '.*.')}' --local-dir amazon_reviews",
        )
        products, *files = source.find(self.path, counts)
        self.catalog = self.items(products, Reading(roles("parent_asin", "", ""), None, (), counts))
        needs: dict[str, Need] = {}
        judged: dict[str, dict[str, dict[int, int]]] = {split: {} for split in SPLITS}
        named = self.catalog.fields.get("title", [None] * len(self.catalog))
        titles = [" ".join(str(title or "").split()) for title in named]
        for one in self._published(files) if len(files) > 1 else self._built(files[0], counts):
            rows = [self.catalog.row(item) for item in one.before if item in self.catalog]
            counts["items left out of histories, no product"] += len(one.before) - len(rows)
            lines = [titles[row] for row in rows[-self.last :] if titles[row]]
            why = "its item has no product" if one.item not in self.catalog else "" if lines else "no item before it"
            if why or one.item in one.before:
                counts[f"purchases left out, {why or 'its item was bought before'}"] += 1
                continue
            need = Need(f"{one.user}/{len(one.before)}", "\n".join(lines), tuple(rows))
            if need.id in needs:
                what = f"user {shown(one.user)} has two purchases with {len(one.before)} items before"
                raise DataError(one.path, one.line, f"{what}: remove one, or get the file again")
            needs[need.id] = need
            judged[self._split(one.time)][need.id] = {self.catalog.row(one.item): 1}
        if self.setting != "all":
            self._keep_setting(needs, judged, counts)
        count_texts(needs, counts)
        paths = dict(zip(SPLITS, files * len(SPLITS), strict=False))
        self.settle(judged, needs, paths, counts, seed=self.split_seed, max_needs=self.max_needs)

    @classmethod
    def check_options(cls, options: Mapping[str, Any]) -> list[str]:
        """What is wrong with options of the right types, found without opening a file."""
        problems = super().check_options(options)
        if "core" in options and options.get("purchases") == "reviews":
            problems.append("core: reviews are those of all users and items; leave it out, or take rating_only")
        times = [options.get(name, getattr(cls, name)) for name in ("valid_from", "test_from")]
        return problems if times[0] < times[1] else [*problems, f"test_from: must be after valid_from, got {times[1]}"]

    def _published(self, files: Sequence[Path]) -> Iterator[_Purchase]:
        """The purchases of the three files, each of which is in the time of its split."""
        for split, path in zip(SPLITS, files, strict=True):
            for line, record in records(path, "purchases", wanted=(*_COLUMNS, "history")):
                one = _purchase(path, line, require(path, line, record, (*_COLUMNS, "history")))
                if self._split(one.time) != split:
                    what = f"timestamp {one.time} is in the time of {self._split(one.time)}, not of {split}"
                    raise DataError(path, line, f"{what}: get the file again, or set valid_from and test_from")
                yield one._replace(before=tuple(str(record["history"] or "").split()))

    def _built(self, path: Path, counts: Counter[str]) -> Iterator[_Purchase]:
        """The purchases of each user by time, an item once; equal times are in the order of the file."""
        bought: dict[str, list[_Purchase]] = {}
        for line, record in records(path, "purchases", wanted=_COLUMNS):
            one = _purchase(path, line, require(path, line, record, _COLUMNS))
            bought.setdefault(one.user, []).append(one)
        for purchases in bought.values():
            first: dict[str, _Purchase] = {}
            for one in sorted(purchases, key=lambda one: one.time):
                first.setdefault(one.item, one._replace(before=tuple(first)))
            counts["purchases left out, their item was bought before"] += len(purchases) - len(first)
            yield from first.values()

    def _split(self, time: int) -> str:
        return SPLITS[(time >= self.valid_from) + (time >= self.test_from)]

    def _keep_setting(self, needs: dict[str, Need], judged: dict[str, dict[str, Any]], counts: Counter[str]) -> None:
        """Leave the needs of validation and test out that are not of the setting."""
        trained = {row for name, key in judged["train"].items() for row in (*needs[name].history, *key)}
        for split in SPLITS[1:]:
            for name, key in [*judged[split].items()]:
                items = {*needs[name].history, *key}
                if items & trained if self.setting == "inductive" else items - trained:
                    counts[f"needs left out, not {self.setting}"] += 1
                    del judged[split][name], needs[name]


def _purchase(path: Path, line: int, record: Record) -> _Purchase:
    """A row without what was bought before it."""
    user, item = (id_of(path, line, record, column, ()) for column in _COLUMNS[:2])
    time = str(record["timestamp"]).strip().removesuffix(".0")
    if not (time.isascii() and time.isdecimal() and len(time) < 16):
        what = f"timestamp {shown(record['timestamp'])} is not a number of milliseconds"
        raise DataError(path, line, f"{what}: correct this row, or get the file again")
    return _Purchase(path, line, user, item, int(time), ())
