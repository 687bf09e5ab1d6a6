"""What a task read is kept in a store: the same task, until a file, an option or the code changes."""

from __future__ import annotations

import os

import pytest

from recr1.errors import DataError
from recr1.tasks import kept, tables
from recr1.tasks.published import esci
from recr1.tasks.published.esci import EsciTask
from retrievers.bm25.bm25 import BM25
from tests.recr1.tasks.published.esci_data import EXAMPLES, PRODUCTS, hub_tables, write
from tests.recr1.tasks.published.esci_data import tables as official_tables

pytest.importorskip("pyarrow", reason="pip install 'recr1[parquet]'")


@pytest.fixture(params=[2**14, 7], ids=["plain", "packed"])
def packed(request, monkeypatch):
    monkeypatch.setattr(tables, "PACKED", request.param)


@pytest.fixture(params=[official_tables, hub_tables])
def folder(request, tmp_path):
    return write(tmp_path / "esci", request.param())


@pytest.fixture
def reads(monkeypatch):
    """The files of judgements that were read."""
    files = []
    read = esci._Rows.read_judgements

    def counted(rows, path, split):
        files.append(path.name)
        read(rows, path, split)

    monkeypatch.setattr(esci._Rows, "read_judgements", counted)
    return files


def said(task):
    catalog = task.catalog
    return {
        "ids": catalog.ids,
        "texts": list(catalog.texts),
        "fields": {name: list(column) for name, column in catalog.fields.items()},
        "fingerprint": catalog.fingerprint,
        "counts": task.counts,
        "needs": {split: task.needs(split) for split in ("train", "validation", "test")},
        "qrels": {need: (dict(key.items()), key.ideal_J.tolist()) for need, key in task.qrels.items()},
    }


def test_a_task_from_the_store_is_the_task_that_was_read(packed, folder, tmp_path, reads):
    plain = EsciTask(path=str(folder))
    first = EsciTask(path=str(folder), store=str(tmp_path / "store"))
    seen = len(reads)
    again = EsciTask(path=str(folder), store=str(tmp_path / "store"), max_needs=None)
    assert len(reads) == seen
    assert said(first) == said(plain)
    assert said(again) == said(plain)
    del vars(again.catalog)["fingerprint"]  # computed from what was opened, it is the one that was kept
    assert again.catalog.fingerprint == plain.catalog.fingerprint
    queries = [need.text for need in plain.needs("train")]
    hits = [BM25(task.catalog).search(queries, 10) for task in (plain, again)]
    assert (hits[0].rows_QK == hits[1].rows_QK).all()
    assert (hits[0].scores_QK == hits[1].scores_QK).all()


def test_options_of_the_splits_need_no_second_reading(folder, tmp_path, reads):
    store = str(tmp_path / "store")
    EsciTask(path=str(folder), store=store)
    seen = len(reads)
    task = EsciTask(path=str(folder), store=store, validation=0.3, split_seed=1, max_needs=9)
    assert len(reads) == seen
    assert said(task) == said(EsciTask(path=str(folder), validation=0.3, split_seed=1, max_needs=9))


@pytest.mark.parametrize("options", [{"gains": "scorer"}, {"text_fields": ["title"]}, {"version": "large"}])
def test_an_option_that_changes_what_is_read_reads_again(folder, tmp_path, reads, options):
    store = str(tmp_path / "store")
    EsciTask(path=str(folder), store=store)
    seen = len(reads)
    task = EsciTask(path=str(folder), store=store, **options)
    assert len(reads) > seen
    assert said(task) == said(EsciTask(path=str(folder), **options))


def test_a_file_that_was_written_again_is_read_again(folder, tmp_path, reads):
    store = str(tmp_path / "store")
    EsciTask(path=str(folder), store=store)
    seen = len(reads)
    file = min(folder.rglob("*.parquet"))
    os.utime(file, ns=(1, file.stat().st_mtime_ns + 1))
    EsciTask(path=str(folder), store=store)
    assert len(reads) > seen


def test_other_code_reads_again(folder, tmp_path, reads, monkeypatch):
    store = str(tmp_path / "store")
    EsciTask(path=str(folder), store=store)
    seen = len(reads)
    monkeypatch.setattr(kept, "_code", lambda: "another")
    EsciTask(path=str(folder), store=store)
    assert len(reads) > seen


def test_data_that_is_refused_is_not_kept(tmp_path, reads):
    rows = official_tables()
    rows[EXAMPLES][0]["esci_label"] = "X"
    folder, store = write(tmp_path / "esci", rows), tmp_path / "store"
    for _ in range(2):
        with pytest.raises(DataError, match="esci_label 'X' is not one of"):
            EsciTask(path=str(folder), store=str(store))
    assert len(reads) == 2
    assert not [path for path in store.iterdir() if path.is_dir()]


def test_a_missing_file_is_an_error_with_a_full_store(tmp_path):
    folder, store = write(tmp_path / "esci", official_tables()), str(tmp_path / "store")
    EsciTask(path=str(folder), store=store)
    (folder / PRODUCTS).unlink()
    with pytest.raises(DataError, match="no shopping_queries_dataset_products"):
        EsciTask(path=str(folder), store=store)
