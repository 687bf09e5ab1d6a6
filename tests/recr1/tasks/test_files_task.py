from __future__ import annotations

import gzip
import os
import shutil
from pathlib import Path

import pytest

from recr1.errors import DataError, OptionError, UserError
from recr1.formats import Plain, Tag
from recr1.tasks import SPLITS
from recr1.tasks.files import FilesTask
from recr1.tasks.splits import group_key
from rewards.base import Need
from tests.processes import ROOT
from tests.recr1.tasks.folders import CORPUS, QRELS, QUERIES, jsonl, tsv, write_folder, write_split_folder


@pytest.fixture
def folder(tmp_path):
    return write_folder(tmp_path)


@pytest.fixture
def beir(tmp_path):
    return write_split_folder(tmp_path)


def ids(task, split):
    return [need.id for need in task.needs(split)]


def everything(task):
    return {split: ids(task, split) for split in task._needs}


def test_catalog_holds_texts_and_every_flat_field(folder):
    catalog = FilesTask(path=str(folder)).catalog
    assert catalog.ids == ("mug", "pan", "pot")
    assert catalog.texts == ("Red mug For tea.", "Iron pan", "Tea pot Blue.")
    assert dict(catalog.fields) == {
        "title": ("Red mug", "Iron pan", "Tea pot"),
        "text": ("For tea.", "", "Blue."),
        "price": (7, 30, None),
        "tags": ("red, clay", None, ""),
        "brand": (None, "Forge", None),
    }


def test_text_fields_choose_the_text_and_its_order(folder):
    catalog = FilesTask(path=str(folder), text_fields=["price", "title", "tags"]).catalog
    assert catalog.texts == ("7 Red mug red, clay", "30 Iron pan", "Tea pot")


def test_needs_and_qrels_meet_by_id(folder):
    task = FilesTask(path=str(folder), splits={"test": 1.0})
    assert task.needs("test")[4] == Need("q4", "need number 4")
    assert task.qrels["q4"] == {1: 2}
    assert set(task.qrels) == set(ids(task, "test"))


def test_a_hash_split_is_disjoint_and_whole(folder):
    splits = everything(FilesTask(path=str(folder)))
    assert list(splits) == list(SPLITS)
    assert sorted(need for needs in splits.values() for need in needs) == sorted(query["_id"] for query in QUERIES)


def test_split_files_are_the_splits_and_dev_is_validation(beir):
    splits = everything(FilesTask(path=str(beir)))
    assert splits == {
        "train": [f"q{n}" for n in range(40)],
        "validation": [f"q{n}" for n in range(40, 50)],
        "test": [f"q{n}" for n in range(50, 60)],
    }


def test_a_missing_validation_file_is_cut_from_train_by_hash(beir):
    (beir / "qrels/dev.tsv").unlink()
    task = FilesTask(path=str(beir), splits={"train": 0.7, "validation": 0.3})
    assert sorted(ids(task, "train") + ids(task, "validation")) == sorted(f"q{n}" for n in range(40))
    assert 4 <= len(ids(task, "validation")) <= 20
    assert ids(task, "test") == [f"q{n}" for n in range(50, 60)]
    assert task.counts == {
        "items without 'text'": 1,
        "needs left out, not judged": 10,
        "needs moved from train to validation": len(ids(task, "validation")),
    }


def test_a_folder_with_a_test_file_alone_has_only_that_split(beir):
    (beir / "qrels/dev.tsv").unlink()
    (beir / "qrels/train.tsv").unlink()
    task = FilesTask(path=str(beir))
    with pytest.raises(UserError, match="no split 'train' in this data; it has: test"):
        task.needs("train")


def test_other_files_beside_the_splits_are_counted_with_the_first(beir):
    for name in ("validaton.tsv", "train_full.csv", "README.md"):
        (beir / "qrels" / name).write_text("")
    assert FilesTask(path=str(beir)).counts["files in qrels/ that are not splits, the first 'train_full.csv'"] == 2


def test_qrels_can_name_a_file_for_each_split(beir):
    shutil.move(beir / "qrels/dev.tsv", beir / "clicks.tsv")
    task = FilesTask(path=str(beir), qrels={"validation": "clicks.tsv", "train": "qrels/train.tsv"})
    assert list(everything(task)) == ["train", "validation"]


def test_needs_with_a_text_of_a_later_split_are_left_out(beir):
    queries = [*QUERIES[:-1], {"_id": "q59", "text": "Need  number 0!"}]
    (beir / "queries.jsonl").write_text(jsonl(queries))
    task = FilesTask(path=str(beir))
    assert "q0" not in ids(task, "train")
    assert "q0" not in task.qrels
    assert "q59" in ids(task, "test")
    assert task.counts["needs left out, same text as a need of a later split"] == 1


def test_gzip_csv_and_other_column_names(folder):
    (folder / "qrels.tsv").unlink()
    (folder / "corpus.jsonl").unlink()
    (folder / "products.csv").write_text('sku,name\n1,"Mug, red"\n2,Pan\n')
    (folder / "queries.jsonl").unlink()
    (folder / "queries.tsv.gz").write_bytes(gzip.compress(b"qid\task\n7\ta mug\n"))
    (folder / "qrels.csv").write_text("qid,sku,label\n7,1,2\n7,2,0\n")
    columns = {"item_id": "sku", "need_id": "qid", "need_text": "ask"}
    columns |= {"qrels_need": "qid", "qrels_item": "sku", "grade": "label"}
    task = FilesTask(
        path=str(folder), corpus="products.csv", columns=columns, text_fields=["name"], splits={"train": 1.0}
    )
    assert task.catalog.texts == ("Mug, red", "Pan")
    assert task.needs("train") == (Need("7", "a mug"),)
    assert task.qrels["7"] == {0: 2, 1: 0}


def test_parquet_folder_reads_like_jsonl(folder):
    pyarrow = pytest.importorskip("pyarrow", reason="the extra 'parquet' is not installed")
    parquet = pytest.importorskip("pyarrow.parquet")
    expected = FilesTask(path=str(folder))
    columns = ("query-id", "corpus-id", "score")
    rows = [dict(zip(columns, row, strict=True)) for row in QRELS]
    for name, table in {"corpus": CORPUS, "queries": QUERIES, "qrels": rows}.items():
        parquet.write_table(pyarrow.Table.from_pylist(table), folder / f"{name}.parquet")
    for name in ("corpus.jsonl", "queries.jsonl", "qrels.tsv"):
        (folder / name).unlink()
    task = FilesTask(path=str(folder))
    assert task.catalog.texts == expected.catalog.texts
    assert task.catalog.fields["price"] == expected.catalog.fields["price"]
    assert everything(task) == everything(expected)
    assert task.qrels == expected.qrels


def test_whole_numbers_may_be_ids(folder):
    (folder / "corpus.jsonl").write_text(jsonl([{"id": 5, "text": "mug"}]))
    (folder / "queries.jsonl").write_text(jsonl([{"id": 1, "text": 1984}]))
    (folder / "qrels.tsv").write_text("query_id\tdoc_id\tgrade\n1\t5\t1\n")
    task = FilesTask(path=str(folder), splits={"train": 1})
    assert task.needs("train") == (Need("1", "1984"),)


def test_repeated_judgements_are_merged_to_the_highest_grade_and_counted(folder):
    (folder / "qrels.tsv").write_text(tsv([*QRELS, ("q0", "mug", 1), ("q1", "pan", 0), ("q1", "pan", 3)]))
    task = FilesTask(path=str(folder), splits={"test": 1.0})
    assert (task.qrels["q0"], task.qrels["q1"]) == ({0: 1}, {1: 3})
    assert (task.counts["judgements merged, same grade"], task.counts["judgements merged, highest grade kept"]) == (
        1,
        2,
    )


def test_grades_below_min_grade_count_as_zero(folder):
    (folder / "qrels.tsv").write_text(tsv([("q0", "mug", 1), ("q0", "pan", 2), ("q0", "pot", -1)]))
    (folder / "queries.jsonl").write_text(jsonl(QUERIES[:1]))
    assert FilesTask(path=str(folder), splits={"test": 1.0}).qrels["q0"] == {0: 1, 1: 2, 2: 0}
    task = FilesTask(path=str(folder), splits={"test": 1.0}, min_grade=2)
    assert task.qrels["q0"] == {0: 0, 1: 2, 2: 0}
    assert task.counts["judgements with a grade below 2, counted as 0"] == 2


def test_max_needs_keeps_so_many_of_each_split(folder):
    whole, small = FilesTask(path=str(folder)), FilesTask(path=str(folder), max_needs=3)
    assert {split: len(needs) for split, needs in everything(small).items()} == dict.fromkeys(SPLITS, 3)
    assert all(set(ids(small, split)) <= set(ids(whole, split)) for split in SPLITS)
    assert small.counts["needs left out, beyond max_needs"] == 51
    assert len(small.qrels) == 9


def test_needs_without_a_positive_are_excluded_and_counted_on_request(folder):
    (folder / "qrels.tsv").write_text(tsv([("q0", "mug", 0), *QRELS[2:]]))
    task = FilesTask(path=str(folder), without_positive="exclude")
    assert task.counts["needs left out, no positive grade"] == task.counts["needs left out, not judged"] == 1
    assert not {"q0", "q1"} & set(task.qrels)


def test_rows_of_unknown_items_are_left_out_and_counted_on_request(folder):
    (folder / "qrels.tsv").write_text(tsv([*QRELS, ("q0", "gone", 1)]))
    task = FilesTask(path=str(folder), unknown_items="exclude")
    assert task.counts["judgements left out, unknown item"] == 1


def test_of_a_repeated_item_the_first_row_is_kept_and_counted_on_request(folder):
    twice = [*CORPUS, CORPUS[0], {**CORPUS[1], "price": 31}, {**CORPUS[0], "_id": "mug-2"}]
    (folder / "corpus.jsonl").write_text(jsonl(twice))
    task = FilesTask(path=str(folder), repeated_items="first")
    assert (task.catalog.ids, task.catalog.fields["price"]) == (("mug", "pan", "pot", "mug-2"), (7, 30, None, 7))
    assert task.counts == {
        "items left out, id repeated with the same row": 1,
        "items left out, id repeated with another row": 1,
        "items with the text of an earlier item": 1,
        "items without 'text'": 1,
    }


def test_a_nested_or_missing_value_of_one_item_leaves_the_field_to_the_others(folder):
    rows = [*CORPUS, {"_id": "jug", "title": "Null", "text": "None", "price": float("nan"), "tags": [{"a": 1}]}]
    (folder / "corpus.jsonl").write_text(jsonl(rows))
    task = FilesTask(path=str(folder))
    assert task.catalog.fields["tags"] == ("red, clay", None, "", None)
    assert task.catalog.texts[-1] == "Null"
    assert task.counts == {
        "items without 'text'": 2,
        "values read as missing, the first 'None' of 'text' on line 4": 2,
        "nested values left out of 'tags', the first on line 4": 1,
    }
    assert FilesTask(path=str(folder), missing=[]).catalog.texts[-1] == "Null None"


def test_an_encoding_is_that_of_all_text_files(folder):
    (folder / "queries.jsonl").write_bytes(b'{"_id": "q0", "text": "caf\xe9"}\n')
    (folder / "corpus.jsonl").write_bytes(b'{"_id": "mug", "text": "th\xe9"}\n')
    (folder / "qrels.tsv").write_text(tsv(QRELS[:1]))
    task = FilesTask(path=str(folder), encoding="cp1252", splits={"test": 1.0})
    assert (task.catalog.texts, task.needs("test")) == (("th\u00e9",), (Need("q0", "caf\u00e9"),))


def test_grades_may_be_written_as_decimals_without_a_fraction(folder):
    (folder / "qrels.tsv").write_text(tsv([("q0", "mug", "3.0"), ("q0", "pan", "0.00")]))
    (folder / "queries.jsonl").write_text(jsonl(QUERIES[:1]))
    assert FilesTask(path=str(folder), splits={"test": 1.0}).qrels["q0"] == {0: 3, 1: 0}
    task = FilesTask(path=str(folder), splits={"test": 1.0}, gains={"3": 1.0, "0": 0})
    assert task.qrels["q0"] == {0: 3, 1: 0}


def test_format_is_built_from_its_part(folder):
    assert isinstance(FilesTask(path=str(folder)).format, Plain)
    assert isinstance(FilesTask(path=str(folder), format={"type": "tag"}).format, Tag)
    with pytest.raises(OptionError, match=r"format\.type: no 'tga' here; did you mean 'tag'"):
        FilesTask(path=str(folder), format={"type": "tga"})


# Real data, where it is at hand


def real(name):
    home = Path(os.environ.get("RECR1_DATA") or ROOT.parent / "shared" / "data")
    if not (home / name).is_dir():
        pytest.skip(f"no {name} in {home}: set RECR1_DATA to the folder that holds it")
    return str(home / name)


def test_chorus_has_needs_without_a_positive():
    path = real("chorus_icecat")
    with pytest.raises(DataError, match=r"19 of 135 needs have no positive grade \('q022', 'q041', 'q047', \.\.\.\)"):
        FilesTask(path=path)
    task = FilesTask(path=path, without_positive="exclude")
    assert task.counts["needs left out, no positive grade"] == 19
    assert sum(len(task.needs(split)) for split in SPLITS) == 116
    assert len(task.catalog) == 19406


def test_msrd_loads_whole_and_no_text_is_in_two_splits():
    path = real("msrd_movies")
    task = FilesTask(path=path)
    assert (len(task.catalog), sum(map(len, task.qrels.values()))) == (9750, 384381)
    texts = {split: {group_key(need.text) for need in task.needs(split)} for split in SPLITS}
    assert sum(len(task.needs(split)) for split in SPLITS) == 16279
    assert texts["train"].isdisjoint(texts["validation"] | texts["test"])
    assert texts["validation"].isdisjoint(texts["test"])
