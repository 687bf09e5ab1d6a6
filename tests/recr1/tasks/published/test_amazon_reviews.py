"""Amazon Reviews 2023 as its owners have it: what is read, what is counted, and what is refused."""

from __future__ import annotations

import gzip

import pytest

from recr1.cli.main import run
from recr1.errors import DataError, UserError
from recr1.tasks.published.amazon_reviews import AmazonReviewsTask
from recr1.tasks.splits import find_overlaps
from tests.recr1.tasks.published.reviews_data import (
    PRODUCTS,
    RATINGS,
    TEST,
    TRAIN,
    VALID,
    tables,
    tables_of,
    write,
)

SPLITS = {"train": TRAIN, "validation": VALID, "test": TEST}


def opened(folder, rows, **options):
    return AmazonReviewsTask(path=str(write(folder, rows)), **options)


def expected(rows, split, titles):
    """Need id -> its text and its next item, computed here from the rows of a split's file."""
    found = {}
    for row in rows[SPLITS[split]]:
        known = [item for item in row["history"].split() if item in titles]
        lines = [" ".join(titles[item].split()) for item in known[-10:] if titles[item]]
        if lines and row["parent_asin"] in titles:
            found[f"{row['user_id']}/{len(row['history'].split())}"] = ("\n".join(lines), row["parent_asin"], known)
    return found


def found(task, split):
    ids = task.catalog.ids
    return {
        need.id: (need.text, *(ids[row] for row in task.qrels[need.id]), [ids[row] for row in need.history])
        for need in task.needs(split)
    }


def test_a_need_is_what_was_bought_before_and_the_next_item_answers_it(tmp_path):
    rows = tables()
    task = opened(tmp_path, rows)
    titles = {row["parent_asin"]: row["title"] for row in rows[PRODUCTS]}
    assert found(task, "test") == expected(rows, "test", titles)
    for split in ("train", "validation"):  # a need that says the same as one of a later split is left out, and counted
        every = expected(rows, split, titles)
        assert found(task, split).items() <= every.items() and len(task.needs(split)) > 5
    dropped = sum(len(expected(rows, split, titles)) - len(task.needs(split)) for split in SPLITS)
    assert task.counts["needs left out, same text as a need of a later split"] == dropped


def test_columns_become_fields_and_the_text(tmp_path):
    catalog = opened(tmp_path, tables()).catalog
    assert list(catalog.fields) == ["title", "main_category", "store", "features", "categories", "description"]
    assert catalog.texts[4] == "black Mirror  né 4 soft, a 5 inch handle A fine thing 5 < 6"
    assert len(catalog) == 97


def test_what_is_left_out_is_counted(tmp_path):
    rows = tables()
    counts = opened(tmp_path, rows).counts
    every = [row for split in SPLITS.values() for row in rows[split]]
    known = {row["parent_asin"] for row in rows[PRODUCTS]}
    assert counts["purchases left out, its item has no product"] == sum(
        row["parent_asin"] not in known for row in every
    )
    assert counts["items left out of histories, no product"] == sum(
        item not in known for row in every for item in row["history"].split()
    )
    assert counts["purchases left out, no item before it"] >= sum(not row["history"] for row in every) - 3
    assert counts["descriptions with HTML removed"] == 64 and counts["items without 'title'"] == 1


@pytest.mark.parametrize("purchases", ["rating_only", "reviews"])
def test_histories_are_built_as_the_owners_build_them(tmp_path, purchases):
    published = opened(tmp_path / "a", tables())
    built = opened(tmp_path / "b", tables_of(purchases), purchases=purchases)
    for split in SPLITS:
        assert found(built, split) == found(published, split)
    assert built.counts["purchases left out, their item was bought before"] == 12


def test_a_need_shows_the_last_items_and_its_history_has_all(tmp_path):
    whole, short = opened(tmp_path, tables()), AmazonReviewsTask(path=str(tmp_path), last=1)
    longest = max(whole.needs("test"), key=lambda need: len(need.history))
    [same] = [need for need in short.needs("test") if need.id == longest.id]
    assert longest.text.endswith(f"\n{same.text}") and "\n" not in same.text
    assert len(same.history) == len(longest.history) > 2


def items_of(task, split):
    return {need.id: {*need.history, *task.qrels[need.id]} for need in task.needs(split)}


def test_a_setting_keeps_the_needs_whose_items_are_all_new_or_all_known(tmp_path):
    rows = tables()
    whole, titles = opened(tmp_path, rows), {row["parent_asin"]: row["title"] for row in rows[PRODUCTS]}
    trained = {item for _, target, known in expected(rows, "train", titles).values() for item in (target, *known)}
    trained = {whole.catalog.row(item) for item in trained}
    every = items_of(whole, "test")
    for setting, kept in (
        ("inductive", {need for need, items in every.items() if not items & trained}),
        ("transductive", {need for need, items in every.items() if items <= trained}),
    ):
        task = AmazonReviewsTask(path=str(tmp_path), setting=setting)
        assert set(items_of(task, "test")) == kept and 5 < len(kept) < len(every)
        left_out = task.counts[f"needs left out, not {setting}"]
        assert left_out >= len(every) - len(kept) and task.needs("validation")


def test_histories_that_grow_are_no_leak(tmp_path):
    assert not [leak for overlap in find_overlaps(opened(tmp_path, tables())) for leak in overlap.leaks()]


def test_the_doctor_takes_no_history_for_a_shifted_judgement(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(write(tmp_path, tables()))
    monkeypatch.setenv("RECR1_CACHE", str(tmp_path / "cache"))
    run(["doctor", "toy/echo", "task={type: amazon_reviews, path: ., setting: inductive}"])
    assert "ok       judgements" in capsys.readouterr().out


def test_packed_files_are_the_same(tmp_path):
    sound, folder = opened(tmp_path / "a", tables()), write(tmp_path / "b", tables())
    for name in (PRODUCTS, TRAIN):
        (folder / f"{name}.gz").write_bytes(gzip.compress((folder / name).read_bytes()))
        (folder / name).unlink()
    assert AmazonReviewsTask(path=str(folder)).qrels == sound.qrels


def test_a_purchase_twice_and_swapped_files_are_refused(tmp_path):
    rows = tables()
    row = next(row for row in rows[TEST] if row["history"] and not row["parent_asin"].endswith("4455"))
    with pytest.raises(DataError, match=rf"{TEST}:\d+: user 'U.*' has two purchases with \d items before: remove one"):
        opened(tmp_path, {**rows, TEST: [*rows[TEST], row]})
    with pytest.raises(DataError, match=rf"{TRAIN}:2: timestamp \d+ is in the time of test, not of train"):
        opened(tmp_path, {**rows, TRAIN: rows[TEST], TEST: rows[TRAIN]})


def test_missing_files_are_named_with_size_owner_and_command(tmp_path):
    (write(tmp_path, tables()) / VALID).unlink()
    message = (
        rf"no {VALID} \(a part of All_Beauty's 701,500 reviews\). The set is published at "
        r"https://amazon-reviews-2023.github.io; get it with: hf download McAuley-Lab/Amazon-Reviews-2023 .*"
        r"'benchmark/0core/timestamp_w_his/All_Beauty.\*.csv'"
    )
    with pytest.raises(DataError, match=message):
        AmazonReviewsTask(path=str(tmp_path))
    with pytest.raises(DataError, match=f"no {RATINGS} "):
        AmazonReviewsTask(path=str(tmp_path), purchases="rating_only")


def test_options_that_contradict_each_other_are_refused_before_a_file_is_opened():
    for options, message in (
        ({"test_from": 5}, "test_from: must be after valid_from, got 5"),
        ({"core": "5core", "purchases": "reviews"}, "core: reviews are those of all users and items; leave it out"),
    ):
        with pytest.raises(UserError, match=message):
            AmazonReviewsTask(path="nowhere", **options)
