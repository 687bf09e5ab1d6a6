from __future__ import annotations

import pickle
import subprocess
import sys

import numpy as np
import pytest

from retrievers import BUILTIN, Catalog, Retriever
from retrievers.bm25.bm25 import BM25


def catalog(**changes):
    columns = {"ids": ["x", "y"], "texts": ["red shoe", "hat"], "fields": {"price": [3, None], "brand": ["a", "b"]}}
    return Catalog(**{**columns, **changes})


def test_rows_and_ids_name_the_same_items():
    assert [catalog().row(item) for item in ("x", "y")] == [0, 1]
    assert len(catalog()) == 2
    assert "x" in catalog()
    assert "z" not in catalog()


def test_an_id_that_is_not_there_is_a_key_error():
    with pytest.raises(KeyError, match="z"):
        catalog().row("z")


def test_a_column_is_text_and_missing_values_are_empty():
    assert catalog().column("price") == ("3", "")
    assert catalog(fields={"price": [float("nan"), 2.5]}).column("price") == ("", "2.5")
    assert catalog().column("texts") == ("red shoe", "hat")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ids": [], "texts": [], "fields": None}, "the catalog is empty: it needs at least one item"),
        ({"texts": ["red shoe"]}, "catalog column 'texts' has 1 values for 2 items"),
        ({"fields": {"brand": ["a", "b", "c"]}}, "catalog column 'brand' has 3 values for 2 items"),
        ({"ids": ["x", "x"]}, "item id 'x' appears in the catalog more than once"),
    ],
)
def test_a_catalog_that_makes_no_sense_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        catalog(**changes)


def test_a_column_that_is_not_there_is_refused_with_those_that_are():
    with pytest.raises(ValueError, match="the catalog has no field 'title'; it has: texts, brand, price"):
        catalog().column("title")


def test_fields_cannot_be_changed():
    with pytest.raises(TypeError):
        catalog().fields["brand"] = ("z", "z")


def test_a_pickled_catalog_is_the_same_catalog():
    copy = pickle.loads(pickle.dumps(catalog()))
    assert (copy.ids, copy.texts, dict(copy.fields)) == (catalog().ids, catalog().texts, dict(catalog().fields))
    assert copy.row("y") == 1
    assert copy.fingerprint == catalog().fingerprint


def test_the_fingerprint_is_sixteen_hex_digits_of_the_content():
    assert len(catalog().fingerprint) == 16
    assert int(catalog().fingerprint, 16) >= 0
    assert catalog().fingerprint == catalog().fingerprint


@pytest.mark.parametrize(
    "changes",
    [
        {"ids": ["x", "z"]},
        {"ids": ["y", "x"]},
        {"texts": ["red shoes", "hat"]},
        {"fields": None},
        {"fields": {"price": [3, None], "brand": ["a", "c"]}},
        {"fields": {"price": ["3", None], "brand": ["a", "b"]}},
        {"fields": {"price": [3, None], "maker": ["a", "b"]}},
        {"interactions": [(0, 1)]},
    ],
)
def test_the_fingerprint_changes_with_any_change(changes):
    assert catalog(**changes).fingerprint != catalog().fingerprint


def test_the_fingerprint_does_not_depend_on_the_order_of_fields():
    fields = {"brand": ["a", "b"], "price": [3, None]}
    assert catalog(fields=fields).fingerprint == catalog().fingerprint


def test_a_fingerprint_can_be_taken_of_any_text():
    assert catalog(texts=["\ud800\x00", "\x1e\x1f"], fields={"\ud800": ["", ""]}).fingerprint


def test_the_fingerprint_stays_the_same_from_version_to_version():
    """It names indexes and embeddings on disk, and runs are compared by it: a change belongs in the changelog."""
    assert catalog().fingerprint == "8077a24b8c2c16d0"
    many = [str(row) for row in range(10_000)]
    even = {"even": [row % 2 == 0 for row in range(10_000)]}
    assert catalog(ids=many, texts=many[::-1], fields=even).fingerprint == "4a4504d1554cbc11"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"texts": ["a\0b", "c"]}, {"texts": ["a", "b\0c"]}),
        ({"texts": ["a\0", "c"]}, {"texts": ["a", "\0c"]}),
        ({"texts": ["ab", "c"]}, {"texts": ["a", "bc"]}),
        ({"texts": ["\U00010000", ""]}, {"texts": ["\ud800\udc00", ""]}),
        ({"fields": {"a": [1, 23]}}, {"fields": {"a": [12, 3]}}),
        ({"fields": {"a": ["None", 1]}}, {"fields": {"a": [None, 1]}}),
        ({"fields": {"a": ["", "b"]}}, {"fields": {"a": [None, "b"]}}),
        ({"fields": {"a": [1, 2]}}, {"fields": {"a": [1.0, 2]}}),
        ({"fields": {"a": ["", ""]}}, {"interactions": "a"}),
        ({"interactions": [1]}, {"interactions": "[1]"}),
    ],
)
def test_text_that_moves_from_one_value_to_the_next_changes_the_fingerprint(one, other):
    assert catalog(**{"fields": None, **one}).fingerprint != catalog(**{"fields": None, **other}).fingerprint


@pytest.mark.parametrize("row", [0, 1023, 1024, 5000, 9999])
@pytest.mark.parametrize("value", ["z", None, "z\0"])
def test_the_fingerprint_sees_every_value_of_a_long_column(row, value):
    ids = [str(item) for item in range(10_000)]
    changed = [value if item == row else "a" for item in range(10_000)]
    plain = Catalog(ids, ids, {"field": ["a"] * 10_000})
    assert Catalog(ids, ids, {"field": changed}).fingerprint != plain.fingerprint


def test_the_fingerprint_sees_every_number_of_an_array_of_interactions():
    events = np.zeros((5000, 2), np.int64)
    changed = events.copy()
    changed[2500, 1] = 1
    prints = {catalog(interactions=values).fingerprint for values in (events, changed, events.T, events.astype(float))}
    assert len(prints) == 4
    assert catalog(interactions=events.astype(">i8")).fingerprint == catalog(interactions=events).fingerprint


def test_another_process_gives_the_same_fingerprint():
    code = "from tests.retrievers.test_base import catalog; print(catalog().fingerprint)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == catalog().fingerprint


def test_an_item_without_a_title_is_called_by_its_text():
    fields = {"title": ["Red\n tent", None, ""]}
    catalog = Catalog("abc", ["x", "blue  mug", "y z"], fields)
    assert [catalog.title(row) for row in range(3)] == [
        "Red tent",
        "blue mug",
        "y z",
    ]
    assert Catalog("a", ["red tent"]).title(0) == "red tent"


def test_the_bm25_retriever_is_a_retriever():
    assert isinstance(BM25(catalog()), Retriever)
    assert set(BUILTIN) >= {"bm25", "rank_bm25"}
