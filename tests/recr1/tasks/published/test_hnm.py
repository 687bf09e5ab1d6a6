"""H&M's search data as its owners have it: what is read, what is counted, and what is refused."""

from __future__ import annotations

import pytest

from recr1.errors import DataError
from recr1.tasks.published.hnm import HnmTask
from tests.recr1.tasks.published.hnm_data import ARTICLES, QRELS, QUERIES, tables, write

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


@pytest.mark.parametrize(
    ("name", "column", "value", "message"),
    [
        (QRELS, "positive_ids", "11", r":2: unknown item '11', but there is '00011': write it the same way"),
        (QRELS, "negative_ids", "00011 77", r":2: unknown item '77'"),
        (QRELS, "query_id", "77", r":2: unknown need '77'"),
        (QUERIES, "query_text", "", r":2: field 'query_text' is empty"),
        (QUERIES, "query_id", "80011", r":3: need id '80011' is on line 2 already"),
        (ARTICLES, "article_id", "", r":2: field 'article_id' is empty"),
    ],
)
def test_a_wrong_value_is_refused_with_its_line(tmp_path, name, column, value, message):
    rows = tables()
    rows[name][0][column] = value
    with pytest.raises(DataError, match=name + message):
        opened(tmp_path, rows)


@pytest.mark.parametrize(
    ("name", "column"),
    [(QRELS, "positive_ids"), (QRELS, "negative_ids"), (QUERIES, "query_text"), (ARTICLES, "detail_desc")],
)
def test_a_missing_column_is_refused(tmp_path, name, column):
    rows = tables()
    rows[name] = [{key: value for key, value in row.items() if key != column} for row in rows[name]]
    with pytest.raises(DataError, match=rf"{name}:2: no field '{column}'; the fields are: .*as it is published"):
        opened(tmp_path, rows)


def test_missing_files_are_named_with_size_owner_and_command(tmp_path):
    (write(tmp_path, tables()) / ARTICLES).unlink()
    message = (
        rf"no {ARTICLES} \(105,542 articles\). The set is published at .*microsoft/hnm-search-data; get it with: hf"
    )
    with pytest.raises(DataError, match=message):
        HnmTask(path=str(tmp_path))
