"""Sets of the library ir_datasets: what is read, what is counted, and what is refused; nothing is downloaded."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from recr1.errors import DataError, MissingLibrary, UserError
from recr1.tasks.published.ir import IrTask
from tests.recr1.tasks.published.ir_data import DOCS, QRELS, QUERIES, encoded, registered, tables, vaswani, write

pytest.importorskip("ir_datasets", reason="pip install 'recr1[ir]'")
SPLITS = ("train", "validation", "test")


def opened(folder, rows, parts=None, **options):
    name = registered(write(folder, rows), "recr1-shop", parts)
    return IrTask(**{"name": name, **options})


def test_documents_queries_and_judgements_are_read_and_split_by_hash(tmp_path):
    rows = tables()
    task = opened(tmp_path, rows)
    assert task.catalog.ids == tuple(row["doc_id"] for row in rows[DOCS])
    assert task.catalog.texts == tuple(row["text"] for row in rows[DOCS]) and list(task.catalog.fields) == ["text"]
    needs = {need.id: need.text for split in SPLITS for need in task.needs(split)}
    assert needs == {row["query_id"]: row["text"] for row in rows[QUERIES]} and task.counts == {}
    for row in rows[QRELS]:
        assert task.qrels[row["query_id"]][task.catalog.row(row["doc_id"])] == row["relevance"]


def test_a_set_a_split_is_used_as_it_is(tmp_path):
    rows = tables()
    halves = {"train": rows[QRELS][:90], "test": rows[QRELS][87:]}  # one query is in both
    write(tmp_path, rows)
    for part, qrels in halves.items():
        (tmp_path / f"{part}.trec").write_bytes(encoded(QRELS, qrels))
    sets = {part: f"recr1-shop/{part}" for part in halves}
    task = opened(tmp_path, rows, halves, name=sets)
    assert [need.id for need in task.needs("test")] == [f"q{n:02d}" for n in range(29, 60)]
    held = {need.id for split in ("train", "validation") for need in task.needs(split)}
    assert held == {f"q{n:02d}" for n in range(29)} and task.needs("validation")
    assert task.counts["needs in two splits, kept in the later one"] == 1
    assert task.counts["queries left out, in an earlier file too"] == 60
    write(tmp_path / "other", rows)
    registered(tmp_path / "other", "recr1-other")
    with pytest.raises(UserError, match="recr1-other and recr1-shop/train have not the same documents"):
        IrTask(name={"train": "recr1-shop/train", "test": "recr1-other"})


@pytest.mark.parametrize(
    ("name", "column", "value", "message"),
    [
        (QRELS, "doc_id", "d99", r":1: unknown item 'd99': add .* unknown_items: exclude"),
        (QRELS, "query_id", "q99", r":1: unknown need 'q99'"),
        (QRELS, "relevance", "x", r":1: ir_datasets cannot read the qrels: ValueError: .*remove the set's files"),
        (QUERIES, "text", "", r":1: field 'text' is empty"),
        (QUERIES, "query_id", "q01", r":2: need id 'q01' is on line 1 already"),
        (DOCS, "doc_id", "d01", r":2: item id 'd01' is on line 1 already"),
        (DOCS, "text", "a\tb", r":1: ir_datasets cannot read the docs: RuntimeError: expected 2 fields, got 3"),
    ],
)
def test_a_wrong_value_is_refused_with_its_row(tmp_path, name, column, value, message):
    rows = tables()
    rows[name][0][column] = value
    with pytest.raises(DataError, match=f"recr1-shop{message}"):
        opened(tmp_path, rows)


def test_names_that_do_not_exist_or_have_no_judgements_are_refused():
    with pytest.raises(UserError, match=r"ir_datasets \S+ has no set 'beir/scifacts'; did you mean 'beir/scifact'\?"):
        IrTask(name="beir/scifacts")
    with pytest.raises(UserError, match=r"beir/scifact has no qrels: take one of beir/scifact/test"):
        IrTask(name="beir/scifact")
    with pytest.raises(UserError, match="name: no split 'trian'; did you mean 'train'"):
        IrTask(name={"trian": "vaswani"})
    with pytest.raises(UserError, match="name: must have a set for a split"):
        IrTask(name={})


def test_without_the_library_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ir_datasets", None)
    with pytest.raises(MissingLibrary, match=r"task.name: vaswani needs the library 'ir_datasets'.*recr1\[ir\]"):
        IrTask(name="vaswani")


def check(home, name="vaswani"):
    """`recr1 check --data` in a process whose library has its files in this folder."""
    command = [sys.executable, "-m", "recr1", "check", "toy/echo", f"task={{type: ir, name: {name}}}", "--data"]
    environment = {**os.environ, "IR_DATASETS_HOME": str(home), "IR_DATASETS_TMP": str(home / "tmp")}
    return subprocess.run(command, check=False, capture_output=True, text=True, env=environment, timeout=120)


def test_a_set_of_the_library_is_read_from_its_folder_also_after_it_was_missed(tmp_path):
    assert check(tmp_path).returncode == 2
    vaswani(tmp_path)
    done = check(tmp_path)
    assert done.returncode == 0, done.stderr
    assert "items       11429\njudgements  2083 of 93 needs\n" in done.stdout


def test_a_set_with_other_counts_than_the_library_knows_is_refused(tmp_path):
    vaswani(tmp_path, docs=11000)
    done = check(tmp_path)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "vaswani: the set has 11,000 docs, and should have 11429: remove its files" in done.stderr


@pytest.mark.parametrize(("name", "url"), [("vaswani", "npl.tar.gz"), ("beir/scifact/test", "scifact.zip")])
def test_a_set_that_is_not_there_is_named_with_size_page_and_command_and_not_downloaded(tmp_path, name, url):
    done = check(tmp_path, name)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert f"recr1: error: {name}: the file http" in done.stderr and url in done.stderr
    said = (
        r" docs, \d+ queries, [\d,]+ qrels\)\. The set is described at https://ir-datasets.com/.*get it with: python -c"
    )
    assert re.search(said, done.stderr)
    assert sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) < 200
