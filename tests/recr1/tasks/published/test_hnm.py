"""H&M's search data as its owners have it: what is read, what is counted, and what is refused."""

from __future__ import annotations

import pytest

from recr1.errors import DataError
from recr1.tasks.published.hnm import HnmTask
from tests.recr1.tasks.published.hnm_data import ARTICLES, QRELS, tables, write

SPLITS = ("train", "validation", "test")


def opened(folder, rows, **options):
    return HnmTask(path=str(write(folder, rows)), **options)


def test_columns_become_fields_and_the_text(tmp_path):
    catalog = opened(tmp_path, tables()).catalog
    assert catalog.ids[:2] == ("00000", "00011") and len(catalog) == 24
    fields = "title type group color appearance department index section garment_group description"
    assert list(catalog.fields) == fields.split()
    text = 'Strap bra (1) Bra White {} Womens Everyday Basics Jersey Basic Bra, with "narrow" straps\nand 5 pockets.'
    assert catalog.texts[1] == text.format(catalog.fields["appearance"][1])


def test_bought_articles_are_relevant_and_the_others_judged_0(tmp_path):
    rows = tables()
    task = opened(tmp_path, rows)
    for row in rows[QRELS]:
        if row["positive_ids"]:
            key = {task.catalog.ids[item]: grade for item, grade in task.qrels[row["query_id"]].items()}
            assert key == {**dict.fromkeys(row["negative_ids"].split(), 0), row["positive_ids"]: 1}
    assert task.counts == {
        "items without 'description'": 1,
        "needs with the text of an earlier need": 30,
        "judgements merged, highest grade kept": 1,
        "rows of judgements without positive_ids": 1,
        "needs left out, no positive grade": 1,
    }


def test_equal_queries_are_in_one_split(tmp_path):
    task = opened(tmp_path, tables())
    split_of = {need.text: split for split in SPLITS for need in task.needs(split)}
    assert set(split_of.values()) == set(SPLITS)
    assert all(split_of[need.text] == split for split in SPLITS for need in task.needs(split))


def test_the_name_of_the_sets_page_for_its_column_is_read_too(tmp_path):
    rows = tables()
    rows[QRELS] = [{name.replace("negative_", "negatives_"): cell for name, cell in row.items()} for row in rows[QRELS]]
    assert opened(tmp_path / "b", rows).qrels == opened(tmp_path / "a", tables()).qrels


def test_missing_files_are_named_with_size_owner_and_command(tmp_path):
    (write(tmp_path, tables()) / ARTICLES).unlink()
    message = (
        rf"no {ARTICLES} \(105,542 articles\). The set is published at .*microsoft/hnm-search-data; get it with: hf"
    )
    with pytest.raises(DataError, match=message):
        HnmTask(path=str(tmp_path))
