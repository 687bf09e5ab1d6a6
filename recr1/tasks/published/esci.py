"""The task of the Shopping Queries data (ESCI): product search of Amazon with graded judgements."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from annotated_types import MinLen

from recr1.config.build import build
from recr1.errors import DataError, shown
from recr1.tasks.cells import id_of, text_of
from recr1.tasks.disk import kind_of
from recr1.tasks.grades import QrelsReader, grade_scale
from recr1.tasks.judged import JudgedTask
from recr1.tasks.kept import ReadData, kept
from recr1.tasks.published.source import Source, describe, one_of, option_problems, require
from recr1.tasks.readers import Record, records
from recr1.tasks.tables import Reading, count_texts, read_catalog
from retrievers.base import Catalog
from retrievers.options import NonNegativeFloat, PositiveInt, ShareBelowOne, checked
from retrievers.store import expanded
from rewards.base import Need

SOURCE = Source(
    {"shopping_queries_dataset_examples.parquet": "51 MB", "shopping_queries_dataset_products.parquet": "1.1 GB"},
    "https://github.com/amazon-science/esci-data",
    "git clone https://github.com/amazon-science/esci-data && git -C esci-data lfs pull; "
    "then set the task's path to esci-data/shopping_queries_dataset",
)
GAINS = {
    "paper": {"E": 1.0, "S": 0.1, "C": 0.01, "I": 0.0},
    "scorer": {"E": 1.0, "C": 0.1, "S": 0.01, "I": 0.0},
}
"""The gains of the paper (Reddy et al., arXiv:2206.06588), and those that the published command for trec_eval has."""

LABELS = {"E": "E", "S": "S", "C": "C", "I": "I", "Exact": "E", "Substitute": "S", "Complement": "C", "Irrelevant": "I"}
"""The labels as the files write them: letters in those of the owners, words in those of the hub."""

FIELDS = {f"product_{name}": name for name in ("title", "description", "bullet_point", "brand", "color")}
"""Column -> field of the catalog."""

_LOCALES = {name: name for name in ("us", "es", "jp")}
_JUDGED = ("query_id", "query", "product_id", "product_locale", "esci_label")
_PRODUCT = ("product_id", "product_locale", *FIELDS)
HUB = "hf download tasksource/esci --repo-type dataset --local-dir esci (2.5 GB)"
_SHARD = re.compile(r"(?:esci-)?(train|test)-(\d{5})-of-(\d{5})(?:-\w+)?\.parquet")


class _Judgement(NamedTuple):
    line: int
    need: str
    item: str
    label: str


@checked
class EsciTask(JudgedTask):
    """Product search of the Shopping Queries data (ESCI): shoppers' queries, products, and judgements E, S, C and I.

    `path` holds the two files of its owners, `shopping_queries_dataset_examples.parquet` and
    `shopping_queries_dataset_products.parquet`, or the `train-...` and `test-...` files of tasksource/esci on the hub,
    in which each row has its product. Products and judgements are joined by locale and id.

    Training and test are as the files say, and validation is a share of train by hash. A query id in both splits stays
    in test alone. Needs without an item of a gain above 0 are left out. Of products with the same id the first is kept.

    An item's fields are title, description (without HTML), bullet_point, brand and color.

    Args:
        path: the folder.
        locale: us, es or jp.
        version: small has the harder queries, for ranking; large has all.
        products: the catalog has all products of the locale, or only those that are judged in this version.
        gains: what a label is worth to nDCG(gain=task)@k: those of the paper (E 1, S 0.1, C 0.01, I 0), those of the
            published command for trec_eval, which swaps S and C (scorer), or your own by letter.
        text_fields: the fields that together are an item's text; by default all five.
        unknown_items: if a judged product is not in the locale, refuse the data, or exclude the judgement.
        validation: the share of the training needs that validation gets.
        split_seed: another seed gives another validation split.
        max_needs: keep at most this many needs of each split, chosen by hash; None for all.
        store: a folder that keeps what was read: files that do not change are read once, and all processes of a machine
            share it; "auto" is the folder of RECR1_CACHE, or ~/.cache/recr1. None reads the files each time.
        format: prompt and parser, `{type: plain}` by default.

    Raises:
        DataError: for a missing file, with how to get it, and for anything wrong in a file, with its row.
    """

    def __init__(
        self,
        *,
        path: str,
        locale: Literal["us", "es", "jp"] = "us",
        version: Literal["small", "large"] = "small",
        products: Literal["all", "judged"] = "all",
        gains: Literal["paper", "scorer"] | dict[str, NonNegativeFloat] = "paper",
        text_fields: Annotated[list[str], MinLen(1)] | None = None,
        unknown_items: Literal["refuse", "exclude"] = "refuse",
        validation: ShareBelowOne = 0.1,
        split_seed: int = 0,
        max_needs: PositiveInt | None = None,
        store: str | None = None,
        format: dict[str, Any] | None = None,
    ) -> None:
        self.format = build("format", format or {"type": "plain"}, path="task.format")
        self.text_fields = text_fields or list(FIELDS.values())
        shards = _shards(path)
        examples: Mapping[Path, str | None]
        if shards:
            examples, items = shards, [*shards]
        else:
            judged_path, *items = SOURCE.find(path, Counter())
            examples = {judged_path: None}

        grade_of, worth = grade_scale(GAINS[gains] if isinstance(gains, str) else gains)
        refuse = unknown_items == "refuse"

        def read() -> ReadData:
            counts = Counter[str]()
            rows = _Rows(locale, f"{version}_version", products == "judged", counts)
            for file, split in examples.items():
                rows.read_judgements(file, split)
            if not rows.needs:
                what = f"no judgement of the locale {locale} is in the {version} version"
                raise DataError(next(iter(examples)), None, f"{what}: choose another locale or version")
            rows.keep_splits_apart()
            count_texts(rows.needs, counts)
            how = Reading({"item_id": ("product_id",)}, None, (), counts, rows.product, _PRODUCT)
            catalog = read_catalog(items[0], how, self.text_fields, keep_first=True, more=items[1:])
            if shards:  # each judgement has its product
                counts.pop("items left out, id repeated with the same row", None)
            if refuse:
                rows.refuse_other_locales(catalog)
            reader = QrelsReader(catalog, rows.needs, how, 1, refuse, grade_of)
            answers = {split: rows.answers(split, reader) for split in sorted(rows.judged, reverse=True)}
            return ReadData(catalog, self.text_fields, rows.needs, answers, counts)

        options = [locale, version, products, gains, self.text_fields, unknown_items]
        data = kept(store, "esci", list({*examples, *items}), options, read)
        self.catalog = data.catalog
        paths = {split: next(file for file in examples if shards.get(file, split) == split) for split in data.answers}
        shares = {"train": 1 - validation, "validation": validation} if validation else {"train": 1.0}
        self.settle(
            data.answers,
            data.needs,
            paths,
            data.counts,
            worth=worth,
            shares=shares,
            seed=split_seed,
            max_needs=max_needs,
        )

    @staticmethod
    def check_options(options: Mapping[str, Any]) -> list[str]:
        """What is wrong with options of the right types, found without opening a file."""
        return option_problems(options, [*FIELDS.values()], "ESCI")


@dataclass
class _Rows:
    """Reads the rows of one locale and version, and says what they mean to the task."""

    locale: str
    flag: str
    """The column that says whether a judgement is in the version."""
    only_judged: bool
    counts: Counter[str]
    needs: dict[str, Need] = field(default_factory=dict)
    judged: dict[str, dict[Path, list[_Judgement]]] = field(default_factory=dict)
    """Split -> file -> its judgements."""
    items: set[str] = field(default_factory=set)
    """Ids of the judged products."""
    seen: set[str] = field(default_factory=set)
    """Ids of the products so far, each of which is counted once."""
    elsewhere: dict[str, str] = field(default_factory=dict)
    """Id of a judged product -> another locale that has it."""

    def read_judgements(self, path: Path, split: str | None) -> None:
        """The judgements of a file, which is one split or has a column that says which."""
        columns = (*_JUDGED, self.flag) if split else (*_JUDGED, self.flag, "split")
        for line, record in records(path, "judgements", wanted=columns):
            require(path, line, record, columns)
            locale = one_of(path, line, record, "product_locale", _LOCALES)
            chosen = one_of(path, line, record, self.flag, {"0": "", "1": "yes"})
            if locale != self.locale or not chosen:
                self.counts["judgements left out, another locale or version"] += 1
                continue
            part = split or one_of(path, line, record, "split", {"train": "train", "test": "test"})
            label = one_of(path, line, record, "esci_label", LABELS)
            need, item = (id_of(path, line, record, column, ()) for column in ("query_id", "product_id"))
            text = text_of(path, line, record, "query", ())
            known = self.needs.setdefault(need, Need(need, text))
            if known.text != text:
                what = f"query_id {need} is {shown(text)} here and {shown(known.text)} before"
                raise DataError(path, line, f"{what}: an id names one query; correct it, or get the file again")
            self.items.add(item)
            self.judged.setdefault(part, {}).setdefault(path, []).append(_Judgement(line, known.id, item, label))

    def keep_splits_apart(self) -> None:
        """Leaves a need that is in both splits in test alone; what is learned in training must not be tested."""
        tested = {one.need for rows in self.judged.get("test", {}).values() for one in rows}
        both = set[str]()
        for path, rows in self.judged.get("train", {}).items():
            kept = [one for one in rows if one.need not in tested]
            both.update(one.need for one in rows if one.need in tested)
            self.counts["judgements left out of train, query id also in test"] += len(rows) - len(kept)
            self.judged["train"][path] = kept
        self.counts["needs in both splits, kept in test alone"] = len(both)

    def product(self, path: Path, line: int, record: Record) -> Record | None:
        """A row of a product as an item with the names of its fields, None for one that is not in the catalog."""
        require(path, line, record, _PRODUCT)
        locale = one_of(path, line, record, "product_locale", _LOCALES)
        product = id_of(path, line, record, "product_id", ())
        judged = product in self.items
        if locale != self.locale or (self.only_judged and not judged):
            if judged:
                self.elsewhere[product] = locale
            return None
        counts = Counter[str]() if product in self.seen else self.counts
        self.seen.add(product)
        return {"product_id": product, **describe({name: record[column] for column, name in FIELDS.items()}, counts)}

    def refuse_other_locales(self, catalog: Catalog) -> None:
        """Raises `DataError` for a judged product that exists for another locale alone."""
        for path, rows in (files for split in self.judged.values() for files in split.items()):
            for line, _, item, _ in rows:
                if item in self.elsewhere and item not in catalog:
                    what = f"product {shown(item)} exists for the locale {self.elsewhere[item]}, not for {self.locale}"
                    raise DataError(path, line, f"{what}: leave such rows out with unknown_items: exclude")

    def answers(self, split: str, reader: QrelsReader) -> dict[str, dict[int, int]]:
        """Need id -> catalog row -> grade, of all files of a split."""
        answers: dict[str, dict[int, int]] = {}
        for path, rows in self.judged[split].items():
            reader.read(path, ((one.line, one._asdict(), ["need", "item", "label"]) for one in rows), answers)
        return answers


def _shards(path: str) -> dict[Path, str]:
    """The files of the hub in a folder or its `data` -> their split; none if there are none, `DataError` for some."""
    folder = expanded(path)
    inner = folder / "data" if kind_of(folder) == "folder" and kind_of(folder / "data") == "folder" else folder
    try:
        names = sorted(os.listdir(inner)) if kind_of(inner) == "folder" else []
    except OSError as error:
        raise DataError(inner, None, f"cannot be read: {error.strerror or error}") from error
    parts = {name: match for name in names if (match := _SHARD.fullmatch(name))}
    if not parts:
        return {}
    official = [name for name in SOURCE.files if kind_of(folder / name)]
    if official:
        raise DataError(path, None, f"{official[0]} and {next(iter(parts))} are two copies of the set: remove one")
    for split in ("train", "test"):
        of = {match[3] for match in parts.values() if match[1] == split} or {"00011" if split == "train" else "00004"}
        wanted = Counter(f"{split}-{number:05d}-of-{total}" for total in of for number in range(int(total)))
        found = Counter(f"{match[1]}-{match[2]}-of-{match[3]}" for match in parts.values() if match[1] == split)
        if lacking := list((wanted - found).elements()):
            what = f"no {lacking[0]}-....parquet, one of {len(lacking)} missing files of tasksource/esci"
            raise DataError(inner, None, f"{what}; get them with: {HUB}")
        if twice := list((found - wanted).elements()):
            raise DataError(inner, None, f"{twice[0]}-....parquet is there twice: remove one")
    return {inner / name: match[1] for name, match in parts.items()}
