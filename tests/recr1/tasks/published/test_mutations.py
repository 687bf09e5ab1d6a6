"""Files of published sets with one fault each, by a seeded generator: refused, reported, or read with the same meaning.

As for folders of one's own (tests/recr1/tasks/test_mutations.py), one text or one grade may become another, which no
reader can know. Ids have check digits here, so that a changed one never is another's.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from types import ModuleType

import pytest

from recr1.errors import UserError
from recr1.tasks.published.amazon_c4 import AmazonC4Task
from recr1.tasks.published.amazon_reviews import AmazonReviewsTask
from recr1.tasks.published.esci import EsciTask
from recr1.tasks.published.hnm import HnmTask
from recr1.tasks.published.ir import IrTask
from recr1.tasks.published.trec_products import TrecProductsTask
from recr1.tasks.published.wands import WandsTask
from tests.recr1.tasks.file_faults import FAULTS
from tests.recr1.tasks.generated import REFUSED, REPORTED, SAME, VALUE, Case, checked_id, written
from tests.recr1.tasks.published import c4_data, esci_data, hnm_data, ir_data, reviews_data, trec_data, wands_data
from tests.recr1.tasks.test_mutations import at_most, differences, meaning

pytest.importorskip("pyarrow", reason="pip install 'recr1[parquet]'")
pytest.importorskip("ir_datasets", reason="pip install 'recr1[ir]'")
CASES = 60
OF_FILES = set(
    "_flip _cut _drop _insert _blank _again header_lost header_twice header_alone line_cut_in_two lines_joined "
    "empty_lines other_line_ends mixed_line_ends quote_never_closed encoding_with_a_mark json_of_another_kind "
    "json_with_line_breaks file_that_is_no_data no_file_but_something_else link_to_the_file "
    "parquet_of_other_types".split()
)
"""The faults of lines, bytes and files that any file can have."""


class NotHere(Exception):
    """A fault that no file of this set can have."""


@dataclass
class Published:
    """A set: its task, what generates it, and the columns of each file that must be there."""

    task: type
    data: ModuleType
    columns: dict[str, tuple[str, ...]]
    ids: dict[str, str] = field(default_factory=dict)
    """Id columns that get check digits -> what they begin with."""
    headerless: bool = False


E, W, C, H, R = esci_data, wands_data, c4_data, hnm_data, reviews_data
_ROW = ("user_id", "parent_asin", "timestamp", "history")
SETS = {
    "esci": Published(
        EsciTask,
        esci_data,
        {
            E.EXAMPLES: ("query_id", "product_id", "query", "product_locale", "esci_label", "small_version", "split"),
            E.PRODUCTS: ("product_id", "product_locale", "product_title"),
        },
        {"query_id": "7", "product_id": "B"},
    ),
    "wands": Published(
        WandsTask,
        wands_data,
        {
            "label.csv": ("query_id", "product_id", "label"),
            "query.csv": ("query_id", "query"),
            "product.csv": ("product_id", "product_name"),
        },
        {"query_id": "7", "product_id": "8"},
    ),
    "amazon_c4": Published(
        AmazonC4Task,
        c4_data,
        {C.NEEDS: ("qid", "item_id", "query"), C.ITEMS: ("item_id", "category", "metadata")},
        {"qid": "7", "item_id": "B"},
    ),
    "hnm": Published(
        HnmTask,
        hnm_data,
        {
            H.QRELS: ("query_id", "positive_ids", "negative_ids"),
            H.QUERIES: ("query_id", "query_text"),
            H.ARTICLES: ("article_id", "prod_name"),
        },
    ),
    "amazon_reviews": Published(
        AmazonReviewsTask,
        reviews_data,
        {**dict.fromkeys((R.TRAIN, R.VALID, R.TEST), _ROW), R.PRODUCTS: ("parent_asin", "title", "features")},
    ),
    "trec_products": Published(
        TrecProductsTask, trec_data, {trec_data.CORPUS: ("doc_id", "title", "description")}, headerless=True
    ),
    "ir": Published(IrTask, ir_data, {}, {"doc_id": "d", "query_id": "q"}, headerless=True),
}


class PublishedCase(Case):
    """The sound files of a set; its tables are named without the endings of their files."""

    def __init__(self, one: Published, rng: random.Random) -> None:
        self.one, self.rng, self.encode, self.options, self.line = one, rng, {}, {}, None
        self.after = lambda folder: None
        tables = one.data.tables()
        for column, kind in one.ids.items():
            values = dict.fromkeys(row[column] for rows in tables.values() for row in rows if column in row)
            numbers = {value: checked_id(kind, place) for place, value in enumerate(values)}
            for row in (row for rows in tables.values() for row in rows if column in row):
                row[column] = numbers[row[column]]
        split = {name: name.removesuffix(".gz").rindex(".") for name in tables}
        self.tables = {name[:at]: tables[name] for name, at in split.items()}
        self.ending = {name[:at]: name[at:] for name, at in split.items()}

    def name(self, table):
        return table + self.ending[table]

    def pick(self, *formats, of=""):
        """A file of one of these formats. Files without a header are text; those who look for a header get none."""
        kinds = dict(self.ending)
        if self.one.headerless:
            packed = {name: ".tsv.gz" if ending.endswith(".gz") else ".tsv" for name, ending in kinds.items()}
            kinds |= {name: kind for name, kind in packed.items() if "corpus" not in name}
        fitting = [name for name, ending in kinds.items() if (not formats or ending in formats) and name.startswith(of)]
        if not fitting:
            raise NotHere
        return self.rng.choice(fitting)

    def write(self, folder):
        files = {self.name(table): rows for table, rows in self.tables.items()}
        self.one.data.write(folder, files)
        for name, rows in files.items():
            if name.endswith(".parquet"):
                (folder / name).write_bytes(written(rows, ".parquet"))
        for table, change in self.encode.items():
            path = folder / self.name(table)
            path.write_bytes(change(path.read_bytes()))
        self.after(folder)

    def required(self, ids=None):
        """A file and one of its required columns; only ids, or only others."""
        pairs = [(table, column) for table in self.tables for column in self.one.columns.get(self.name(table), ())]
        found = [(t, c) for t, c in pairs if ids is None or (c in IDS) == ids]
        if not found:
            raise NotHere
        return self.rng.choice(found)


IDS = {"query_id", "product_id", "qid", "item_id", "article_id", "user_id", "parent_asin", "doc_id"}


def odd_id(case):
    table, column = case.required(ids=True)
    row = case.rng.choice(case.tables[table])
    form = case.rng.choice(["{} ", " {}", "{}\u200b", "{}.0", "0{}", "{}\t", "{}\n", "\ufeffa{}"])
    row[column] = form.format(row[column])
    return {REFUSED, REPORTED, SAME}  # some rows are those of another locale, version, or without a history


def missing_value(case):
    table, column = case.required()
    case.rng.choice(case.tables[table])[column] = (
        None if case.ending[table] == ".parquet" else case.rng.choice(["", " "])
    )
    return {REFUSED, REPORTED, SAME}


def column_renamed(case):
    table, column = case.required()
    new = case.rng.choice([column.upper(), f"{column}_", "x"])
    case.tables[table] = [{new if k == column else k: v for k, v in row.items()} for row in case.tables[table]]
    return {REFUSED}


def columns_swapped(case):
    table, one = case.required(ids=True)
    others = [column for column in case.one.columns[case.name(table)] if column != one]
    other = case.rng.choice([column for column in others if column not in ("small_version", "timestamp")] or others)
    for row in case.tables[table]:
        row[one], row[other] = row[other], row[one]
        if case.ending[table] == ".parquet":
            row[one], row[other] = str(row[one]), str(row[other])
    return {REFUSED, REPORTED}


def row_lost(case):
    table, _ = case.required(ids=True)
    if {"esci_label", "label", "history", "positive_ids", "metadata", "features", "ori_review"} & set(
        case.tables[table][0]
    ):
        raise NotHere  # a judgement, or an item that nobody judged: no other file says that it was there
    rows = case.tables[table]
    del rows[case.rng.randrange(len(rows))]
    return {REFUSED, REPORTED, SAME}


def row_twice(case):
    table = case.pick()
    rows = case.tables[table]
    rows.insert(case.rng.randrange(len(rows) + 1), dict(case.rng.choice(rows)))
    return {REFUSED, REPORTED, SAME}


def files_swapped(case):
    one, other = case.rng.sample(sorted(case.tables), 2)

    def after(folder):
        paths = [folder / case.name(table) for table in (one, other)]
        contents = [path.read_bytes() for path in paths]
        paths[0].write_bytes(contents[1])
        paths[1].write_bytes(contents[0])

    case.after = after
    return {REFUSED}


ALL = [fault for fault in FAULTS if fault.__name__ in OF_FILES]
ALL += [odd_id, missing_value, column_renamed, columns_swapped, row_lost, row_twice, files_swapped] * 3


def opened(name, case, folder):
    folder.mkdir()
    case.write(folder)
    with at_most(seconds=20):
        if name == "ir":
            return IrTask(name=ir_data.registered(folder, "recr1-mutation"))
        return case.one.task(path=str(folder))


def essence(task):
    """What a task says that needs no id of a need: its items, and what each need has and wants."""
    ids = task.catalog.ids
    needs = [need for split in task._needs for need in task.needs(split)]
    keys = [tuple(ids[row] for row in need.history) or need.text for need in needs]
    wanted = [tuple(sorted(ids[row] for row in task.qrels[need.id])) for need in needs]
    return Counter([*zip(ids, task.catalog.texts, strict=True), *zip(keys, wanted, strict=True)])


def outcome(name, case, sound, folder):
    try:
        task = opened(name, case, folder)
    except UserError as error:
        return REFUSED, str(error)
    changed = 0 if meaning(task) == meaning(sound) else differences(meaning(sound), meaning(task))
    if name in ("amazon_reviews", "amazon_c4"):  # where no other file has the ids of needs
        before, after = essence(sound), essence(task)
        changed = (before - after).total() if before.total() == after.total() else None
    if changed == 0:
        return SAME, ""
    if Counter(task.counts) - Counter(sound.counts):
        return REPORTED, str(task.counts)
    return (VALUE if changed == 1 else "silent"), f"{changed} differences"


def mutated(name, seed, tmp_path):
    order = random.Random(seed).sample(ALL, len(ALL))
    for fault in order:
        case = PublishedCase(SETS[name], random.Random(seed))
        try:
            may = fault(case)
        except (NotHere, IndexError):
            continue
        if SETS[name].headerless and fault.__name__.startswith("header"):
            continue
        break
    if fault.__name__ in OF_FILES:
        may = {REFUSED, REPORTED, SAME, VALUE}  # rows have line breaks here, and some columns no meaning
    sound = opened(name, PublishedCase(SETS[name], random.Random(seed)), tmp_path / "sound")
    found, why = outcome(name, case, sound, tmp_path / "faulty")
    assert found in may, f"{fault.__name__}: {found} ({why}); expected {sorted(may)}"
    if found == REFUSED:
        assert why.startswith((str(tmp_path), "recr1-mutation")), why


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", SETS)
def test_a_fault_is_refused_or_reported_or_changes_no_meaning(name, seed, tmp_path):
    mutated(name, seed, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4, CASES))
@pytest.mark.parametrize("name", SETS)
def test_many_faults_are_refused_or_reported_or_change_no_meaning(name, seed, tmp_path):
    mutated(name, seed, tmp_path)
