"""`milvus` on the real embedded engine: what it finds, in collections that it makes and in those that are there."""

from __future__ import annotations

import os
import re
from itertools import product

import pytest

from retrievers import Catalog
from retrievers.dense.dense import Dense
from retrievers.errors import EngineError
from retrievers.remote import client as line_module
from retrievers.remote.milvus import Milvus
from tests.retrievers.remote.milvus_contracts import HASHING, catalog_of, needs_milvus, rows

pytestmark = needs_milvus

CATALOG = Catalog(
    ["lamp", "mug", "nothing", "tent", "cup"],
    ["reading lamp", "red mug", " \t", "red tent's pole\ud800", "red mug"],
    {"title": ["lamp", "mug", None, "tent", "cup"]},
)
ENCODERS = "tests.retrievers.remote.milvus_encoders"


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr(line_module, "FIRST_WAIT", 0.01)


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    """One embedded database for all tests; their collections differ in name."""
    from milvus_lite.server_manager import server_manager_instance

    path = str(tmp_path_factory.mktemp("milvus") / "shop.db")
    yield path
    server_manager_instance.release_server(path)


@pytest.fixture
def build(database, tmp_path):
    def build(catalog=CATALOG, **options):
        return Milvus(catalog, **{"encoder": HASHING, "uri": database, "store": str(tmp_path), "attempts": 2} | options)

    return build


@pytest.fixture
def client(database):
    from pymilvus import MilvusClient

    return MilvusClient(database)


def test_it_finds_what_dense_finds(build, tmp_path):
    catalog, queries = catalog_of("same"), ["same word7", "word299 word12", "unheard"]
    found = build(catalog).search(queries, 20)
    exact = Dense(catalog, encoder=HASHING, store=str(tmp_path), device="cpu").search(queries, 20)
    assert rows(found)[0][:5] == rows(exact)[0][:5]
    assert found.scores_QK == pytest.approx(exact.scores_QK, abs=1e-5)


def test_items_of_one_text_are_found_together_and_blank_ones_never(build):
    hits = build().search(["red mug", "reading", " \n", "!?"], 5)
    assert rows(hits)[0] == [1, 4, 3, 0, -1]
    assert rows(hits)[2:] == [[-1] * 5] * 2
    assert hits.scores_QK[0, :2] == pytest.approx([1, 1], abs=1e-6)
    assert rows(build().search(["red mug"], 1)) == [[1]]


def test_texts_with_one_vector_stand_in_the_order_of_rows_also_where_they_are_cut(build):
    texts = ["".join(letters) for letters in product("rR", "eE", "dD", "lL", "aA", "mM", "pP")]
    catalog = Catalog([str(row) for row in range(129)], ["another", *texts])
    found = build(catalog)
    for k in (1, 3, 60):
        assert rows(found.search(["redlamp"], k)) == [list(range(1, k + 1))]


def test_nothing_but_blank_items_finds_nothing(build):
    assert rows(build(Catalog(["a", "b"], ["", "?"])).search(["red"], 2)) == [[-1, -1]]


def test_a_field_is_searched_where_one_is_named(build):
    assert rows(build(field="title").search(["cup"], 1)) == [[4]]


@pytest.mark.parametrize(("metric", "scores"), [("COSINE", [1.0, 0.5]), ("L2", [0.0, -1.0])])
def test_every_metric_puts_the_nearest_first(build, metric, scores):
    catalog = Catalog(["far", "near"], ["b", "a a"])
    hits = build(catalog, metric_type=metric, encoder={"type": f"{ENCODERS}:Corner"}).search(["a"], 2)
    assert rows(hits) == [[1, 0]]
    assert hits.scores_QK[0] == pytest.approx(scores)


def test_an_index_is_built_and_searched_with_milvus_own_keys(build, client):
    graph = {"index_type": "HNSW", "index_params": {"M": 8, "efConstruction": 64}, "search_params": {"ef": 64}}
    found = build(catalog_of("graph"), **graph)
    assert rows(found.search(["graph word7"], 1)) == [[7]]
    described = client.describe_index(found._place.collection, "vector")
    assert (described["index_type"], described["metric_type"]) == ("HNSW", "IP")
    assert described["params"] == graph["index_params"]


def test_the_collection_is_made_once_and_found_again(build, client, tmp_path):
    log = {"type": f"{ENCODERS}:Heard", "log": str(tmp_path / "log")}
    first, again = (build(catalog_of("once"), encoder=log, store=None) for _ in range(2))
    assert first._place == again._place
    assert (tmp_path / "log").read_text() == "items: 300\n"
    assert client.query(first._place.collection, output_fields=["count(*)"])[0]["count(*)"] == 300


def test_each_option_that_changes_vectors_or_index_has_a_collection_of_its_own(build):
    others = [{}, {"field": "title"}, {"encoder": {"type": "hashing", "dim": 32}}, {"metric_type": "COSINE"}]
    others += [{"index_type": "HNSW"}, {"index_type": "HNSW", "index_params": {"M": 8}}, {"catalog": catalog_of("x")}]
    assert len({build(**options)._place.collection for options in others}) == len(others)


@pytest.fixture
def theirs(client):
    """A collection with a text for a key, and two fields of vectors."""
    from pymilvus import DataType

    schema = client.create_schema(auto_id=False)
    schema.add_field("sku", DataType.VARCHAR, is_primary=True, max_length=20)
    schema.add_field("article", DataType.INT64)
    schema.add_field("small", DataType.FLOAT_VECTOR, dim=2)
    schema.add_field("large", DataType.FLOAT_VECTOR, dim=4)
    index = client.prepare_index_params("small", index_type="FLAT", metric_type="L2")
    client.drop_collection("Shop")
    client.create_collection("Shop", schema=schema, index_params=index)
    items = [("lamp", 10, [1.0, 0.0]), ("mug", 11, [0.5, 0.75**0.5]), ("sofa", 12, [-1.0, 0.0])]
    client.upsert("Shop", [{"sku": s, "article": a, "small": v, "large": [1.0] * 4} for s, a, v in items])
    return {"collection": "Shop", "encoder": {"type": f"{ENCODERS}:Corner"}, "vector_field": "small"}


def test_a_collection_that_exists_is_searched_by_its_own_fields_metric_and_index(build, theirs):
    hits = build(Catalog(["mug", "lamp", "sofa"], ["", "", ""]), **theirs).search(["a"], 2)
    assert rows(hits) == [[1, 0]]
    assert hits.scores_QK[0] == pytest.approx([0.0, -1.0])
    assert rows(build(Catalog(["12", "11", "10"], ["", "", ""]), **theirs, id_field="article").search(["a"], 2)) == [
        [2, 1]
    ]


def test_items_that_the_catalog_does_not_have_are_refused_with_their_number(build, theirs):
    with pytest.raises(EngineError, match="2 of the 3 ids in its answers are not in the catalog, 'lamp' for one"):
        build(Catalog(["mug"], ["mug"]), **theirs).search(["a"], 5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"vector_field": None}, "vector_field: name one of the fields of float vectors of 'Shop': small, large"),
        ({"vector_field": "sku"}, "vector_field: name one of the fields of float vectors of 'Shop': small, large"),
        (
            {"vector_field": "large", "encoder": {"type": f"{ENCODERS}:Corner"}},
            "encoder: its vectors have 2 dimensions",
        ),
        ({"id_field": "ean"}, "id_field: collection 'Shop' has no field 'ean', only sku, article, small, large"),
        (
            {"vector_field": "large", "encoder": {"type": f"{ENCODERS}:Square"}},
            "collection: 'Shop' has no index of the",
        ),
    ],
)
def test_a_collection_that_does_not_fit_is_told_before_it_is_searched(build, theirs, options, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        build(**theirs | options)


def test_a_collection_that_does_not_exist_is_refused_at_once(build):
    with pytest.raises(EngineError, match=r"after 1 attempt: code 100: .*nosuch"):
        build(collection="nosuch")


def test_no_more_is_asked_for_than_milvus_hands_out(build, theirs):
    few, many = (Catalog(ids, ids) for ids in (["lamp"], [str(row) for row in range(16_385)]))
    assert (build(few, **theirs).max_k, build(many, **theirs).max_k) == (None, 16_384)
    with pytest.raises(ValueError, match="k is 16385, and Milvus returns at most 16384 items"):
        build(many, **theirs).search(["a"], 16_385)


def test_a_collection_that_somebody_released_is_loaded_again(build, client):
    found = build(catalog_of("released"))
    client.release_collection(found._place.collection)
    assert rows(found.search(["released word3", "released word5"], 1)) == [[3], [5]]


def test_queries_are_embedded_together_and_equal_ones_once(build, tmp_path):
    log = tmp_path / "log"
    found = build(catalog_of("heard"), encoder={"type": f"{ENCODERS}:Heard", "log": str(log)})
    found.search(["red", " red ", "lamp", "", "red"], 2)
    assert log.read_text() == "items: 300\nqueries: red lamp\n"


def test_a_row_that_is_not_the_catalogs_is_refused(build, client):
    found = build(Catalog(["a", "b"], ["tampered", "with"]))
    client.upsert(found._place.collection, [{"row": 7, "vector": [1.0] * 64}])
    with pytest.raises(EngineError, match="holds the row 7, which the catalog does not"):
        found.search(["tampered"], 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"uri": "shop"}, "uri: must be an address, as http://host:19530, or a path that ends in .db, got 'shop'"),
        ({"uri": "ftp://host"}, "uri: must be a whole address"),
        ({"uri": "nosuch/shop.db"}, f"uri: there is no folder {os.getcwd()}/nosuch: make it first"),
        ({"uri": "http://me:pw@host"}, "uri: holds a password"),
        ({"token": "${NOT_SET}"}, "token: needs the environment variable NOT_SET"),
        ({"metric_type": "DOT"}, "metric_type: must be one of 'IP', 'COSINE', 'L2', got 'DOT'"),
        ({"id_field": "sku"}, "id_field: is for an existing collection"),
        ({"vector_field": "v"}, "vector_field: is for an existing collection"),
        ({"field": "brand"}, "the catalog has no field 'brand'"),
        ({"encoder": {"type": "nosuch"}}, "encoder.type: no 'nosuch' here"),
        ({"timeout": -1}, "timeout: must be a number > 0"),
        ({"threads": 0}, "threads: must be an integer >= 1"),
    ],
)
def test_wrong_options_are_named_before_an_engine_is_asked(options, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        Milvus(CATALOG, **{"encoder": HASHING} | options)
