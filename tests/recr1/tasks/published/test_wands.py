"""WANDS as its owners have it: what is read, what is counted, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from recr1.errors import DataError, UserError
from recr1.tasks.published.wands import WandsTask
from rewards.measures import parse_measure
from tests.recr1.tasks.published.wands_data import tables, write

PRODUCT, QUERY, LABEL = "product.csv", "query.csv", "label.csv"


def opened(folder, rows, **options):
    return WandsTask(path=str(write(folder, rows)), **options)


def test_columns_become_fields_and_the_text(tmp_path):
    task = opened(tmp_path, tables())
    fields = {name: column[1] for name, column in task.catalog.fields.items()}
    assert fields | {"rating_count": 0, "average_rating": 0, "review_count": 0} == {
        "title": 'desk "1" é',
        "class": "desk",
        "category_hierarchy": "Home / desk",
        "description": 'a desk 5" wide and tall',
        "features": "color : red|width:5|",
        "rating_count": 0,
        "average_rating": 0,
        "review_count": 0,
    }
    assert task.catalog.texts[1] == 'desk "1" é desk Home / desk a desk 5" wide and tall color : red|width:5|'
    assert task.catalog.ids[1] == "1" and len(task.catalog) == 24


def test_the_hierarchy_may_have_the_name_of_its_description(tmp_path):
    rows = tables()
    renamed = [{name.replace(" ", "_"): cell for name, cell in row.items()} for row in rows[PRODUCT]]
    assert opened(tmp_path, {**rows, PRODUCT: renamed}).catalog.fields["category_hierarchy"][1] == "Home / desk"


def test_needs_are_split_by_hash_and_everything_is_counted(tmp_path):
    task = opened(tmp_path, tables())
    needs = {split: [need.id for need in task.needs(split)] for split in ("train", "validation", "test")}
    assert sorted(int(need) for split in needs.values() for need in split) == list(
        range(59)
    )  # 59 has nothing but Irrelevant
    assert min(map(len, needs.values())) > 0
    assert task.counts == {
        "descriptions with HTML removed": 12,
        "items without 'class'": 1,
        "items without 'description'": 12,
        "judgements merged, same grade": 1,
        "judgements merged, highest grade kept": 1,
        "needs left out, no positive grade": 1,
    }


def test_gains(tmp_path):
    write(tmp_path, tables())
    for gains, value in ((None, 0.5), ({"Exact": 1.0, "Partial": 0.2, "Irrelevant": 0}, 0.2)):
        task = WandsTask(path=str(tmp_path), gains=gains)
        partial = next(row for row, grade in task.qrels["5"].items() if grade == 1)
        found = parse_measure("nDCG(gain=task)@1")(np.array([[partial]], np.int32), [task.qrels["5"]])
        assert found[0] == pytest.approx(value)


def test_options_are_checked_before_a_file_is_opened():
    for options, message in (
        ({"gains": {"Exact": 1.0}}, "gains: must have exactly Exact, Partial, Irrelevant, got Exact"),
        ({"text_fields": ["name"]}, r"text_fields: no field 'name' \(fields: title, class"),
        ({"splits": {"train": 0.5}}, "splits: the shares must sum to 1, got 0.5"),
    ):
        with pytest.raises(UserError, match=message):
            WandsTask(path="nowhere", **options)


@pytest.mark.parametrize("name", [PRODUCT, QUERY, LABEL])
def test_a_file_that_is_missing_empty_or_cut_off_is_refused(tmp_path, name):
    path = write(tmp_path, tables()) / name
    whole = path.read_text()
    path.write_text(whole.rpartition("\t")[0])
    with pytest.raises(DataError, match=rf"{name}:\d+: \d columns, but the header \(line 1\) has \d"):
        WandsTask(path=str(tmp_path))
    path.write_text("")
    with pytest.raises(DataError, match=f"{name}: no .*: the file has no rows"):
        WandsTask(path=str(tmp_path))
    path.unlink()
    with pytest.raises(
        DataError, match=rf"no {name} \([\d,]+ \w+\). The set is published at .*wayfair/WANDS; get it with"
    ):
        WandsTask(path=str(tmp_path))
