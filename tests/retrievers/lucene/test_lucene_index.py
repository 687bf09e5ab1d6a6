from __future__ import annotations

import logging
import pickle
import shutil

import numpy as np
import pytest

from retrievers import Catalog
from retrievers.lucene.jvm import java
from retrievers.lucene.lucene import Lucene
from tests.retrievers.lucene.lucene_contracts import STORE, ask, needs_java

pytestmark = needs_java

TEXTS = ["red shoe red", "blue shoe", "green hat with a wide brim", "green sock", "red sock"]
SHOP = Catalog([f"item {row}" for row in range(5)], TEXTS, {"title": ["Red Runner", "Blue", "Sun", "Grass", "Fire"]})


def lucene(catalog=SHOP, **options):
    return Lucene(catalog, store=STORE.name, **options)


@pytest.fixture
def warnings(caplog):
    caplog.set_level(logging.WARNING, logger="retrievers.store")
    return caplog


def entry(folder):
    (found,) = folder.glob("lucene-*/")
    return found


def test_an_index_is_kept_and_opened_again(tmp_path):
    first = Lucene(SHOP, store=str(tmp_path))
    files = {path.name: path.stat().st_mtime_ns for path in entry(tmp_path).iterdir()}
    again = Lucene(SHOP, store=str(tmp_path), k1=0.5, threads=1)
    assert {path.name: path.stat().st_mtime_ns for path in entry(tmp_path).iterdir()} == files
    assert ask(again, "green") == ask(first, "green") == [[3, 2]]


@pytest.mark.parametrize(
    "other",
    [{"stemmer": "english"}, {"stopwords": ["a"]}, {"fields": {"title": 1}}, {"syntax": "lucene"}, {"rm3_items": 3}],
)
def test_what_changes_an_index_makes_another_one(tmp_path, other):
    Lucene(SHOP, store=str(tmp_path))
    Lucene(SHOP, store=str(tmp_path), **other)
    Lucene(Catalog(SHOP.ids, [*TEXTS[:4], "red socks"], SHOP.fields), store=str(tmp_path))
    assert len(list(tmp_path.glob("lucene-*/"))) == 3


def test_a_truncated_index_is_built_again_with_a_message(tmp_path, warnings):
    Lucene(SHOP, store=str(tmp_path))
    largest = max(entry(tmp_path).glob("_*.*"), key=lambda path: path.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:-7])
    assert ask(Lucene(SHOP, store=str(tmp_path)), "green") == [[3, 2]]
    assert f"is not used and built again: {largest.name} has" in warnings.text


def test_the_index_of_another_catalog_is_not_used(tmp_path, warnings):
    Lucene(SHOP, store=str(tmp_path / "here"))
    Lucene(Catalog(["x"], ["green green"]), store=str(tmp_path / "there"))
    shutil.rmtree(entry(tmp_path / "here"))
    shutil.copytree(entry(tmp_path / "there"), tmp_path / "there" / "copy")
    (tmp_path / "there" / "copy").rename(place := tmp_path / "here" / entry_name(tmp_path))
    assert ask(Lucene(SHOP, store=str(tmp_path / "here")), "green") == [[3, 2]]
    assert f"{place} is not used and built again: it was made from something else (catalog)" in warnings.text


def entry_name(folder):
    Lucene(SHOP, store=str(folder / "name"))
    return entry(folder / "name").name


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({}, "DOCS_AND_FREQS"),
        ({"rm3_items": 3}, "DOCS_AND_FREQS"),
        ({"syntax": "lucene"}, "DOCS_AND_FREQS_AND_POSITIONS"),
    ],
)
def test_places_of_words_are_kept_where_phrases_can_be_asked_for(tmp_path, options, kept):
    Lucene(SHOP, store=str(tmp_path), **options)
    directory = java("org.apache.lucene.store.FSDirectory").open(java("java.nio.file.Paths").get(str(entry(tmp_path))))
    reader = java("org.apache.lucene.index.DirectoryReader").open(directory)
    field = java("org.apache.lucene.index.FieldInfos").getMergedFieldInfos(reader).fieldInfo("contents")
    assert field.getIndexOptions().toString() == kept
    reader.close()


def test_without_a_store_the_index_goes_with_the_retriever(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    retriever = Lucene(SHOP, store=None)
    copy = pickle.loads(pickle.dumps(retriever))
    assert len(list(tmp_path.glob("recr1-lucene-*"))) == 2
    del retriever
    assert ask(copy, "green") == [[3, 2]]
    del copy
    assert not list(tmp_path.glob("recr1-lucene-*"))


def test_a_catalog_of_many_items_is_numbered_by_rows(monkeypatch):
    monkeypatch.setattr("retrievers.lucene.index.BUFFER_MB", 0.2)  # in several parts, which are merged
    catalog = Catalog([str(row) for row in range(5000)], [f"only{row} word" for row in range(5000)])
    retriever = Lucene(catalog, store=None)
    rows = retriever.search([f"only{row}" for row in range(0, 5000, 7)], 1).rows_QK[:, 0]
    assert np.array_equal(rows, np.arange(0, 5000, 7))
    assert np.array_equal(retriever.search(["word"], 5000).rows_QK[0], np.arange(5000))


# Options.


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k1": -1}, "k1: must be a number >= 0 .*, got -1"),
        ({"b": 1.5}, "b: must be a number between 0 and 1, got 1.5"),
        ({"mu": 0}, "mu: must be a number > 0 .*, got 0"),
        ({"mu": float("nan")}, "mu: must be a number > 0 .*, got nan"),
        ({"similarity": "tfidf"}, "similarity: must be one of 'bm25', 'query_likelihood', got 'tfidf'"),
        ({"syntax": "sql"}, "syntax: must be one of 'bag', 'lucene', got 'sql'"),
        ({"threads": 0}, "threads: must be an integer between 1 and 64, got 0"),
        ({"rm3_items": -1}, "rm3_items: must be an integer >= 0, got -1"),
        ({"rm3_items": 5, "rm3_terms": 0}, "rm3_terms: must be an integer >= 1, got 0"),
        ({"rm3_items": 5, "rm3_weight": 1.1}, "rm3_weight: must be a number between 0 and 1, got 1.1"),
        ({"rm3_items": 5, "fields": {"title": 1}}, "rm3_items: RM3 searches words of texts only"),
        ({"rm3_items": 5, "syntax": "lucene"}, "rm3_items: RM3 searches words of texts only"),
        ({"fields": {"brand": 1}}, "the catalog has no field 'brand'"),
        ({"fields": {"title": 0}}, "fields.title: must be a number > 0, got 0"),
        ({"stopwords": "klingon"}, "stopwords: must be a list or its name, got 'klingon'; there are:"),
        ({"stemmer": "klingon"}, "stemmer: must be a language, got 'klingon'; there are: arabic"),
    ],
)
def test_an_option_that_cannot_be_used_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        lucene(**options)


def test_weights_that_overflow_are_refused():
    with pytest.raises(ValueError, match="a score is not finite: lower the weights of option fields"):
        lucene(fields={"texts": 3e38}).search(["brim"], 3)


def test_a_field_with_lucenes_own_name_is_refused_beside_texts():
    catalog = Catalog(["1"], ["red"], {"contents": ["blue"]})
    with pytest.raises(ValueError, match="name of the field 'texts' is 'contents', and this catalog has both"):
        lucene(catalog, syntax="lucene")
    assert ask(lucene(catalog, fields={"contents": 1}), "blue", "red") == [[0], []]


def test_a_field_named_id_is_searched_like_any_other():
    catalog = Catalog(["x1"], ["red"], {"id": ["blue"]})
    assert ask(lucene(catalog, fields={"id": 1}), "blue", "x1") == [[0], []]
