"""TREC Product Search as its owners have it: what is read, what is counted, and what is refused."""

from __future__ import annotations

import gzip

import pytest

from recr1.errors import DataError, UserError
from recr1.tasks.published.trec_products import TrecProductsTask
from tests.recr1.tasks.published.trec_data import ASKED, CORPUS, DEV, QUERIES, TEST, TRAIN, tables, write


def opened(folder, rows, **options):
    return TrecProductsTask(path=str(write(folder, rows)), **options)


def ids(task, split):
    return {need.id for need in task.needs(split)}


def test_products_without_html_are_the_catalog(tmp_path):
    catalog = opened(tmp_path, tables()).catalog
    assert catalog.ids[1] == "50011" and list(catalog.fields) == ["title", "description"]
    assert catalog.texts[1] == "desk número 1 A desk for 5 < 6 guests"


def test_the_splits_are_those_of_the_files(tmp_path):
    rows = tables()
    task = opened(tmp_path, rows)
    assert ids(task, "validation") == {row["qid"] for row in rows[DEV]}
    assert ids(task, "test") == {row["qid"] for row in rows[ASKED]}
    assert ids(task, "train") == {row["qid"] for row in rows[TRAIN]} - {rows[QUERIES][59]["qid"]}
    first = rows[TEST][0]
    assert task.qrels[first["qid"]][task.catalog.row(str(first["docid"]))] == 3
    assert task.counts == {
        "descriptions with HTML removed": 23,
        "items without 'description'": 1,
        "items without 'title'": 1,
        "items without a word in their text": 1,
        "judgements with a grade below 1, counted as 0": 1,
        "needs in two splits, kept in the later one": 1,
        "needs left out, not judged": 4,
        "queries left out, in an earlier file too": 1,
    }


def test_other_years_are_other_files(tmp_path):
    rows = {"2024.tsv": tables()[ASKED], "2024-qrels.txt": tables()[TEST], CORPUS: tables()[CORPUS]}
    task = opened(tmp_path, rows, queries=["2024.tsv"], qrels={"test": "2024-qrels.txt"})
    assert ids(task, "test") == {row["qid"] for row in rows["2024.tsv"]}
    with pytest.raises(UserError, match=r"no split 'train' in this data.*it has: test"):
        task.needs("train")


def test_packed_or_not_and_the_simple_corpus_are_the_same(tmp_path):
    sound = opened(tmp_path / "a", tables())
    folder = write(tmp_path / "b", tables())
    (folder / CORPUS.removesuffix(".gz")).write_bytes(gzip.decompress((folder / CORPUS).read_bytes()))
    (folder / CORPUS).unlink()
    (folder / f"{TEST}.gz").write_bytes(gzip.compress((folder / TEST).read_bytes()))
    (folder / TEST).unlink()
    assert TrecProductsTask(path=str(folder)).qrels == sound.qrels
    names = {"doc_id": "docid", "description": "text"}
    simple = [{names.get(name, name): value for name, value in row.items()} for row in tables()[CORPUS]]
    task = opened(tmp_path / "c", {**tables(), "corpus-simple.jsonl": simple}, corpus="corpus-simple.jsonl")
    assert task.catalog.fingerprint == sound.catalog.fingerprint


@pytest.mark.parametrize(
    ("name", "column", "value", "message"),
    [
        (TRAIN, "docid", "77", r":1: unknown item '77': add .* unknown_items: exclude"),
        (TRAIN, "docid", "050011", r":1: unknown item '050011', but there is '50011'"),
        (TRAIN, "qid", "77", r":1: unknown need '77'"),
        (TRAIN, "grade", "0.5", r":1: grade '0.5' is not an integer"),
        (TRAIN, "grade", "3\t4", r":1: 5 columns, not 4 \(qid, iteration, docid, grade\): correct this line"),
        (ASKED, "qid", "70000", r":1: query 70000 is 'a lamp that lasts 0' here and .* before: an id names one query"),
        (QUERIES, "query", "", r":1: field 'query' is empty"),
        (QUERIES, "query", "a\tb", r":1: 3 columns, not 2 \(qid, query\)"),
        (QUERIES, "qid", "", r":1: field 'qid' is empty"),
        (CORPUS, "docid", "9", r":1: 'doc_id' and 'docid' could both be the item_id"),
        (CORPUS, "title", {"en": "a"}, r":1: field 'title' is \{'en': 'a'\}, and an item's text is made of it"),
    ],
)
def test_a_wrong_value_is_refused_with_its_line(tmp_path, name, column, value, message):
    rows = tables()
    rows[name][0][column] = value
    with pytest.raises(DataError, match=name + message):
        opened(tmp_path, rows)


@pytest.mark.parametrize("column", ["doc_id", "title", "description"])
def test_a_missing_column_is_refused(tmp_path, column):
    rows = tables()
    del rows[CORPUS][0][column]
    with pytest.raises(DataError, match=rf"{CORPUS}:1: no field '{column}'; the fields are: .*as it is published"):
        opened(tmp_path, rows)


def test_files_that_are_missing_or_empty_are_refused(tmp_path):
    write(tmp_path, tables())
    (tmp_path / TEST).write_bytes(b"")
    with pytest.raises(DataError, match=f"{TEST}: no judgements: the file has no rows"):
        TrecProductsTask(path=str(tmp_path))
    (tmp_path / TEST).unlink()
    message = (
        rf"no {TEST} \(2.1 MB\). The set is published at https://huggingface.co/trec-product-search .* get it with"
    )
    with pytest.raises(DataError, match=message):
        TrecProductsTask(path=str(tmp_path))
