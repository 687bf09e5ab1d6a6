"""ESCI as its owners and the hub have it: what is read, what is counted, and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest

from recr1.cli.main import run
from recr1.errors import DataError, UserError
from recr1.tasks.published.esci import EsciTask
from recr1.tasks.published.source import without_html
from rewards.base import Need
from rewards.measures import parse_measure
from tests.recr1.tasks.published.esci_data import EXAMPLES, PRODUCTS, hub_tables, tables, write

pytest.importorskip("pyarrow", reason="pip install 'recr1[parquet]'")
SPLITS = ("train", "validation", "test")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write(tmp_path_factory.mktemp("data") / "esci", tables())


@pytest.fixture(scope="module")
def task(folder):
    return EsciTask(path=str(folder))


def ids(task, split):
    return [need.id for need in task.needs(split)]


def test_products_of_the_locale_are_the_catalog(task):
    catalog, rows = task.catalog, tables()[PRODUCTS]
    assert catalog.ids == tuple(row["product_id"] for row in rows if row["product_locale"] == "us")
    assert list(catalog.fields) == ["title", "description", "bullet_point", "brand", "color"]
    assert catalog.title(catalog.row("B0000")).endswith("número 0 us")  # not that of es, which has the same id


def test_html_is_removed_from_descriptions_and_a_brand_may_be_called_none(task):
    row = task.catalog.row("Bus01")
    assert task.catalog.fields["description"][row] == "A desk for you 5 < 6"
    assert {"None", None} <= set(task.catalog.fields["brand"])
    assert "values read as missing" not in str(task.counts)


def test_training_and_test_are_those_of_the_file_and_validation_is_from_training(task):
    small = range(100)
    assert ids(task, "test") == [str(n) for n in small if n % 3 == 2]
    train = {str(n) for n in small if n % 3 != 2}
    assert {*ids(task, "train")} | {*ids(task, "validation")} == train
    assert not {*ids(task, "train")} & {*ids(task, "validation")} and ids(task, "validation")
    assert task.needs("train")[0] == Need("0", " lamp for place 0")


def test_no_validation_without_a_share(folder):
    task = EsciTask(path=str(folder), validation=0)
    assert len(task.needs("train")) == 67
    with pytest.raises(UserError, match="no split 'validation'"):
        task.needs("validation")


def test_everything_left_out_is_counted(task):
    us = [row for row in tables()[EXAMPLES] if row["product_locale"] == "us" and row["small_version"]]
    assert task.counts["judgements left out, another locale or version"] == len(tables()[EXAMPLES]) - len(us)
    assert task.counts["descriptions with HTML removed"] == 10
    assert task.counts["judgements merged, highest grade kept"] == 1
    assert task.counts["judgements merged, same grade"] == 1
    assert task.counts["needs left out, no positive grade"] == 1
    assert task.counts["needs left out, same text as a need of a later split"] == 1
    assert task.counts["needs moved from train to validation"] == len(task.needs("validation"))


def test_a_query_in_both_splits_stays_in_test_and_is_counted(folder):
    task = EsciTask(path=str(folder), version="large")
    assert "202" in ids(task, "test") and "202" not in [*ids(task, "train"), *ids(task, "validation")]
    assert len(task.qrels["202"]) == 1  # the judgements of test alone
    assert task.counts["needs in both splits, kept in test alone"] == 1
    assert task.counts["judgements left out of train, query id also in test"] == 2


def test_another_locale(folder):
    task = EsciTask(path=str(folder), locale="es", validation=0)
    assert len(task.catalog) == 6 and len(task.needs("train")) == 5
    assert task.catalog.title(task.catalog.row("B0000")).endswith("número 0 es")


def test_a_locale_without_judgements_is_refused(folder):
    with pytest.raises(DataError, match=rf"{EXAMPLES}: no judgement of the locale jp is in the small version: choose"):
        EsciTask(path=str(folder), locale="jp")


def test_only_judged_products(tmp_path):
    rows = tables()
    lonely = {**rows[PRODUCTS][0], "product_id": "Bnever", "product_locale": "us"}
    write(tmp_path, {**rows, PRODUCTS: [*rows[PRODUCTS], lonely]})
    assert "Bnever" in EsciTask(path=str(tmp_path)).catalog
    assert "Bnever" not in EsciTask(path=str(tmp_path), products="judged").catalog


def test_text_fields_and_max_needs(folder):
    task = EsciTask(path=str(folder), text_fields=["color", "title"], max_needs=3)
    row = task.catalog.row("Bus01")
    color, title = (task.catalog.fields[name][row] for name in ("color", "title"))
    assert task.catalog.texts[row] == f"{color} {title}" and task.text_fields == ["color", "title"]
    assert [len(task.needs(split)) for split in SPLITS] == [3, 3, 3]


# The copy of the hub


def test_the_files_of_the_hub_say_the_same(task, tmp_path):
    hub = EsciTask(path=str(write(tmp_path / "data", hub_tables()).parent), products="judged")
    own = EsciTask(path=str(write(tmp_path / "own", tables())), products="judged")
    assert sorted(hub.catalog.ids) == sorted(own.catalog.ids)
    assert {split: sorted(ids(hub, split)) for split in SPLITS} == {split: sorted(ids(own, split)) for split in SPLITS}
    for need, key in own.qrels.items():
        named = {own.catalog.ids[row]: grade for row, grade in key.items()}
        assert {hub.catalog.ids[row]: grade for row, grade in hub.qrels[need].items()} == named
    assert hub.counts == own.counts


def test_a_product_with_two_texts_on_the_hub_is_counted(tmp_path):
    rows = hub_tables()
    rows["train-00001-of-00002-0a1b2c.parquet"][-1]["product_title"] = "x"
    task = EsciTask(path=str(write(tmp_path, rows)))
    assert task.counts["items left out, id repeated with another row"] == 1


def test_a_missing_file_of_the_hub_is_named(tmp_path):
    rows = hub_tables()
    del rows["train-00001-of-00002-0a1b2c.parquet"]
    with pytest.raises(DataError, match=r"no train-00001-of-00002-....parquet, one of 1 missing .*: hf download tasks"):
        EsciTask(path=str(write(tmp_path, rows)))


def test_a_file_of_the_hub_that_is_there_twice_or_beside_the_originals_is_refused(tmp_path):
    rows = hub_tables()
    twice = {"test-00000-of-00001-ffff.parquet": rows["test-00000-of-00001-0a1b2c.parquet"]}
    with pytest.raises(DataError, match=r"test-00000-of-00001-....parquet is there twice: remove one"):
        EsciTask(path=str(write(tmp_path / "twice", {**rows, **twice})))
    with pytest.raises(DataError, match=rf"{EXAMPLES} and test-00000-of-.* are two copies of the set: remove one"):
        EsciTask(path=str(write(tmp_path / "both", {**rows, **tables()})))


# Gains


def by_hand(gains_of_ranking, gains_of_key):
    def sums(gains):
        return sum(gain / math.log2(place + 2) for place, gain in enumerate(gains))

    return sums(gains_of_ranking) / sums(sorted(gains_of_key, reverse=True))


@pytest.mark.parametrize(
    ("gains", "worth"),
    [("paper", {"E": 1.0, "S": 0.1, "C": 0.01, "I": 0.0}), ("scorer", {"E": 1.0, "C": 0.1, "S": 0.01, "I": 0.0})],
)
def test_the_official_ndcg_in_both_orders_of_gains_equals_one_by_hand(tmp_path, gains, worth):
    rows = tables()
    us = [row["product_id"] for row in rows[PRODUCTS] if row["product_locale"] == "us"]
    first = rows[EXAMPLES][0]
    labels = dict(zip(us, "ISCECSIE", strict=False))  # 8 judged; the rest of the ranking is not judged
    of_one = {**first, "query_id": 900, "query": "one"}
    judged = [{**of_one, "product_id": item, "esci_label": label} for item, label in labels.items()]
    other = [row for row in rows[EXAMPLES] if row["split"] == "test"]
    write(tmp_path, {EXAMPLES: [*judged, *other], PRODUCTS: rows[PRODUCTS]})
    task = EsciTask(path=str(tmp_path), gains=gains, validation=0)
    ranking = [us[20], *us[:5], us[21], *us[5:8]]
    found = parse_measure("nDCG(gain=task)@10")(
        np.array([[task.catalog.row(item) for item in ranking]], np.int32), [task.qrels["900"]]
    )
    gained = [worth[labels[item]] if item in labels else 0.0 for item in ranking]
    expected = by_hand(gained, map(worth.get, labels.values()))
    assert expected == pytest.approx({"paper": 0.4420241, "scorer": 0.4405385}[gains], abs=1e-6)
    assert found[0] == pytest.approx(expected, abs=1e-6)


def test_gains_of_ones_own(folder):
    task = EsciTask(path=str(folder), gains={"E": 1, "S": 0, "C": 0, "I": 0})
    assert {grade for key in task.qrels.values() for grade in key.values()} == {0, 1}
    with pytest.raises(UserError, match="gains: must have exactly E, S, C, I, got E"):
        EsciTask(path="nowhere", gains={"E": 1})
    with pytest.raises(UserError, match="gains: all gains are 0"):
        EsciTask(path="nowhere", gains=dict.fromkeys("ESCI", 0))
    with pytest.raises(UserError, match=r"text_fields: no field 'titel' \(fields: title, description"):
        EsciTask(path="nowhere", text_fields=["titel"])


# What is wrong


def test_ids_that_are_no_text_are_refused(tmp_path):
    rows = tables()
    rows[PRODUCTS] = [{**row, "product_id": [row["product_id"]]} for row in rows[PRODUCTS]]
    with pytest.raises(DataError, match=rf"{PRODUCTS}:1: field 'product_id' is \['B.*'\]: it must be text"):
        EsciTask(path=str(write(tmp_path, rows)))


def test_of_a_product_twice_the_first_is_kept_and_counted(tmp_path):
    rows = tables()
    twice = next(row for row in rows[PRODUCTS] if row["product_locale"] == "us")
    rows[PRODUCTS] += [twice, {**twice, "product_title": "x"}]
    task = EsciTask(path=str(write(tmp_path, rows)))
    assert task.counts["items left out, id repeated with the same row"] == 1
    assert task.counts["items left out, id repeated with another row"] == 1
    assert "x" not in task.catalog.fields["title"]


def test_judgements_of_products_that_are_not_there_can_be_left_out_and_are_counted(tmp_path):
    rows = tables()
    rows[EXAMPLES][0]["product_id"], rows[EXAMPLES][1]["product_id"] = "Bes01", "Bxxxx"
    task = EsciTask(path=str(write(tmp_path, rows)), unknown_items="exclude")
    assert task.counts["judgements left out, unknown item"] == 2


@pytest.mark.parametrize("name", [EXAMPLES, PRODUCTS])
def test_a_file_that_is_cut_off_empty_or_another_is_refused(tmp_path, name):
    path = write(tmp_path, tables()) / name
    whole = path.read_bytes()
    for content, message in {
        whole[: len(whole) // 2]: r"cannot be read as Parquet: .*copy or download it again",
        whole[:-1]: r"cannot be read as Parquet",
        b"": r"the file has no rows",
        b"version https://git-lfs.github.com/spec/v1\n": r"a pointer of Git LFS .* git lfs pull",
        b"query,label\n": r"not a Parquet file, though its name ends in .parquet",
    }.items():
        path.write_bytes(content)
        with pytest.raises(DataError, match=f"{name}(:1)?: .*{message}"):
            EsciTask(path=str(tmp_path))


def test_missing_files_are_named_with_size_owner_and_command(tmp_path):
    write(tmp_path / "half", {EXAMPLES: tables()[EXAMPLES]})
    message = (
        rf"half: no {PRODUCTS} \(1.1 GB\). The set is published at https://github.com/amazon-science/esci-data; get it"
    )
    with pytest.raises(DataError, match=message + " with: git clone .* git -C esci-data lfs pull"):
        EsciTask(path=str(tmp_path / "half"))
    with pytest.raises(DataError, match=rf"no {EXAMPLES} \(51 MB\) and no {PRODUCTS} .*: there is no such folder"):
        EsciTask(path=str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match="a file, not a folder"):
        EsciTask(path=str(tmp_path / "half" / EXAMPLES))


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("size < 5 & more", "size < 5 & more"),
        ("a<br>b", "a b"),
        ("<ul class='x'><li>Tom &amp; Co</li></ul>", "Tom & Co"),
        ("<style>p {}</style>ok<!-- <b> -->", "ok"),
        ("caf&eacute; &#8212; 5&quot;", 'café — 5"'),
        ("two\n lines", "two\n lines"),
    ],
)
def test_html_becomes_text(text, plain):
    assert without_html(text) == plain


def test_check_shows_the_counts(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(["check", "toy/echo", f"task={{type: esci, path: {folder}}}", "--data"]) == 0
    said = capsys.readouterr().out
    assert "text        title + description + bullet_point + brand + color; the first item's:" in said
    assert "counted     judgements left out, another locale or version: " in said
