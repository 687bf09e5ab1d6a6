"""Rows of published sets that lack a column or have a wrong value are refused, with file and line."""

from __future__ import annotations

import pytest

from recr1.errors import DataError
from recr1.tasks.published.amazon_c4 import AmazonC4Task
from recr1.tasks.published.amazon_reviews import AmazonReviewsTask
from recr1.tasks.published.esci import EsciTask
from recr1.tasks.published.hnm import HnmTask
from recr1.tasks.published.trec_products import TrecProductsTask
from recr1.tasks.published.wands import WandsTask
from tests.recr1.tasks.published import c4_data, esci_data, hnm_data, reviews_data, trec_data, wands_data

SETS = {
    "amazon_c4": (AmazonC4Task, c4_data),
    "amazon_reviews": (AmazonReviewsTask, reviews_data),
    "esci": (EsciTask, esci_data),
    "hnm": (HnmTask, hnm_data),
    "trec_products": (TrecProductsTask, trec_data),
    "wands": (WandsTask, wands_data),
}

WRONG = {
    "amazon_c4": [
        (c4_data.NEEDS, "qid", "1", r":5: need id '1' is on line 2 already"),
        (c4_data.NEEDS, "query", " ", r":2: field 'query' is empty"),
        (c4_data.NEEDS, "item_id", "", r":2: field 'item_id' is empty"),
        (c4_data.NEEDS, "item_id", "b001 ", r":2: unknown item 'b001 '"),
        (c4_data.ITEMS, "item_id", None, r":1: field 'item_id' is empty"),
        (c4_data.ITEMS, "metadata", {"a": 1}, r":1: field 'metadata' is \{'a': 1\}, and an item's text is made of it"),
    ],
    "amazon_reviews": [
        (
            reviews_data.TEST,
            "timestamp",
            1628643414041,
            r":2: timestamp 1628643414041 is in the time of train, not of test: get the",
        ),
        (reviews_data.TRAIN, "timestamp", "1.6e12", r":2: timestamp '1.6e12' is not a number of milliseconds"),
        (reviews_data.TRAIN, "timestamp", "", r":2: timestamp '' is not a number of milliseconds"),
        (reviews_data.TRAIN, "user_id", "", r":2: field 'user_id' is empty"),
        (reviews_data.TRAIN, "parent_asin", "B11 ", r":2: id 'B11 ' begins or ends with a blank"),
        (reviews_data.PRODUCTS, "parent_asin", None, r":1: field 'parent_asin' is empty"),
        (
            reviews_data.PRODUCTS,
            "title",
            {"en": "a"},
            r":1: field 'title' is \{'en': 'a'\}, and an item's text is made of it",
        ),
    ],
    "esci": [
        (
            esci_data.EXAMPLES,
            "esci_label",
            "X",
            r":1: esci_label 'X' is not one of E, S, C, I, Exact, .*: correct this row",
        ),
        (esci_data.EXAMPLES, "esci_label", None, r":1: esci_label None is not one of E, S"),
        (esci_data.EXAMPLES, "split", "dev", r":1: split 'dev' is not one of train, test"),
        (esci_data.EXAMPLES, "product_locale", "uk", r":1: product_locale 'uk' is not one of us, es, jp"),
        (esci_data.EXAMPLES, "small_version", 2, r":1: small_version 2 is not one of 0, 1"),
        (esci_data.EXAMPLES, "query", "", r":1: field 'query' is empty"),
        (esci_data.EXAMPLES, "query", "desk", r":2: query_id 0 is ' lamp for place 0' here and 'desk' before: an id"),
        (esci_data.EXAMPLES, "product_id", "Bxxxx", r":1: unknown item 'Bxxxx': add .* unknown_items: exclude"),
        (
            esci_data.EXAMPLES,
            "product_id",
            "Bes01",
            r":1: product 'Bes01' exists for the locale es, not for us: leave such",
        ),
        (esci_data.EXAMPLES, "product_id", "Bus01 ", r":1: id 'Bus01 ' begins or ends with a blank"),
        (esci_data.EXAMPLES, "query_id", None, r":1: field 'query_id' is empty"),
        (esci_data.PRODUCTS, "product_locale", None, r":1: product_locale None is not one of us, es, jp"),
    ],
    "hnm": [
        (hnm_data.QRELS, "positive_ids", "11", r":2: unknown item '11', but there is '00011': write it the same way"),
        (hnm_data.QRELS, "negative_ids", "00011 77", r":2: unknown item '77'"),
        (hnm_data.QRELS, "query_id", "77", r":2: unknown need '77'"),
        (hnm_data.QUERIES, "query_text", "", r":2: field 'query_text' is empty"),
        (hnm_data.QUERIES, "query_id", "80011", r":3: need id '80011' is on line 2 already"),
        (hnm_data.ARTICLES, "article_id", "", r":2: field 'article_id' is empty"),
    ],
    "trec_products": [
        (trec_data.TRAIN, "docid", "77", r":1: unknown item '77': add .* unknown_items: exclude"),
        (trec_data.TRAIN, "docid", "050011", r":1: unknown item '050011', but there is '50011'"),
        (trec_data.TRAIN, "qid", "77", r":1: unknown need '77'"),
        (trec_data.TRAIN, "grade", "0.5", r":1: grade '0.5' is not an integer"),
        (trec_data.TRAIN, "grade", "3\t4", r":1: 5 columns, not 4 \(qid, iteration, docid, grade\): correct this line"),
        (
            trec_data.ASKED,
            "qid",
            "70000",
            r":1: query 70000 is 'a lamp that lasts 0' here and .* before: an id names one query",
        ),
        (trec_data.QUERIES, "query", "", r":1: field 'query' is empty"),
        (trec_data.QUERIES, "query", "a\tb", r":1: 3 columns, not 2 \(qid, query\)"),
        (trec_data.QUERIES, "qid", "", r":1: field 'qid' is empty"),
        (trec_data.CORPUS, "docid", "9", r":1: 'doc_id' and 'docid' could both be the item_id"),
        (
            trec_data.CORPUS,
            "title",
            {"en": "a"},
            r":1: field 'title' is \{'en': 'a'\}, and an item's text is made of it",
        ),
    ],
    "wands": [
        (
            "label.csv",
            "label",
            "exact",
            r":2: label 'exact' is not one of Exact, Partial, Irrelevant: correct this row",
        ),
        ("label.csv", "label", "", r":2: label '' is not one of Exact"),
        ("label.csv", "product_id", "77", r":2: unknown item '77': add .* unknown_items: exclude"),
        ("label.csv", "product_id", "01", r":2: unknown item '01', but there is '1': write it the same way"),
        ("label.csv", "query_id", "77", r":2: unknown need '77'"),
        ("query.csv", "query", "", r":2: field 'query' is empty"),
        ("query.csv", "query_id", "1", r":3: need id '1' is on line 2 already"),
        ("product.csv", "product_id", "", r":2: field 'product_id' is empty"),
    ],
}
"""Set -> a file, a column, the value of its first row, and what the error says after the name of the file."""

MISSING = {
    "amazon_c4": {c4_data.NEEDS: ("qid", "query", "item_id"), c4_data.ITEMS: ("metadata",)},
    "amazon_reviews": {
        reviews_data.TEST: ("history", "timestamp"),
        reviews_data.VALID: ("user_id",),
        reviews_data.PRODUCTS: ("features",),
    },
    "esci": {
        esci_data.EXAMPLES: (
            "query",
            "query_id",
            "product_id",
            "product_locale",
            "esci_label",
            "split",
            "small_version",
        ),
        esci_data.PRODUCTS: ("product_title", "product_color"),
    },
    "hnm": {
        hnm_data.QRELS: ("positive_ids", "negative_ids"),
        hnm_data.QUERIES: ("query_text",),
        hnm_data.ARTICLES: ("detail_desc",),
    },
    "trec_products": {trec_data.CORPUS: ("doc_id", "title", "description")},
    "wands": {
        "label.csv": ("label", "product_id"),
        "query.csv": ("query",),
        "product.csv": ("product_name", "category hierarchy"),
    },
}
"""Set -> file -> columns, each of which must be there."""


def refused(name, folder, rows, message):
    task, data = SETS[name]
    if name == "esci":
        pytest.importorskip("pyarrow", reason="pip install 'recr1[parquet]'")
    with pytest.raises(DataError, match=message):
        task(path=str(data.write(folder, rows)))


@pytest.mark.parametrize(
    ("name", "file", "column", "value", "message"), [(name, *case) for name, cases in WRONG.items() for case in cases]
)
def test_a_wrong_value_is_refused_with_its_line(tmp_path, name, file, column, value, message):
    rows = SETS[name][1].tables()
    rows[file][0][column] = value
    refused(name, tmp_path, rows, file + message)


@pytest.mark.parametrize(
    ("name", "file", "column"),
    [(name, file, column) for name, of in MISSING.items() for file, columns in of.items() for column in columns],
)
def test_a_missing_column_is_refused(tmp_path, name, file, column):
    rows = SETS[name][1].tables()
    rows[file] = [{key: value for key, value in row.items() if key != column} for row in rows[file]]
    refused(name, tmp_path, rows, rf"{file}:\d: no field '{column}'; the fields are: .*as it is published")
