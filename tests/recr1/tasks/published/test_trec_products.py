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
