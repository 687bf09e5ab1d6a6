"""A large catalog is packed while it is read, and says the same as one that is not."""

from __future__ import annotations

from collections import Counter

import pytest

from recr1.errors import DataError
from recr1.tasks import tables
from tests.recr1.tasks.folders import jsonl

ROWS = [
    {"_id": "a", "title": "red shoe", "text": "for rain"},
    {"_id": "b", "title": " ", "text": None, "price": 3},
    {"_id": "c", "title": "red shoe", "text": "for rain", "tags": ["x", "y"], "late": "first"},
    {"_id": "a", "title": "red shoe", "text": "for rain", "price": None},
    {"_id": "b", "title": "blue", "text": "hat"},
    {"_id": "d", "title": "nan", "text": "--", "price": 2.5, "late": "NaN "},
    {"_id": "d", "title": "nan", "text": "--", "price": 2.5, "late": "NaN "},
    {"_id": "e", "title": "\u00e9t\u00e9", "text": "", "deep": {"x": 1}},
]


def read(path, words=("nan", "NaN"), **options):
    counts = Counter()
    how = tables.Reading(tables.COLUMNS, None, frozenset(words), counts)
    return tables.read_catalog(path, how, None, **options), {name: count for name, count in counts.items() if count}


@pytest.mark.parametrize("packed", [1, 2, 3, 5])
@pytest.mark.parametrize("words", [(), ("nan", "NaN")])
def test_a_packed_catalog_and_its_counts_are_those_of_a_plain_one(tmp_path, monkeypatch, packed, words):
    (tmp_path / "corpus.jsonl").write_text(jsonl(ROWS))
    plain, counts = read(tmp_path / "corpus.jsonl", words, keep_first=True)
    monkeypatch.setattr(tables, "PACKED", packed)
    catalog, packed_counts = read(tmp_path / "corpus.jsonl", words, keep_first=True)
    assert packed_counts == counts
    assert counts["items left out, id repeated with the same row"] == 2
    assert counts["items left out, id repeated with another row"] == 1
    assert counts["items with the text of an earlier item"] == 1
    assert catalog.ids == plain.ids
    assert tuple(catalog.texts) == plain.texts
    assert [*catalog.fields] == [*plain.fields]
    assert {name: tuple(column) for name, column in catalog.fields.items()} == dict(plain.fields)
    assert catalog.fingerprint == plain.fingerprint


def test_an_item_that_is_packed_already_is_refused_with_its_line(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "PACKED", 2)
    (tmp_path / "corpus.jsonl").write_text(jsonl(ROWS))
    with pytest.raises(DataError, match=r":4: item id 'a' is on line 1 already"):
        read(tmp_path / "corpus.jsonl")
