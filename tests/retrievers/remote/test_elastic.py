"""`opensearch` and `elasticsearch`: their exact requests, and what they make of answers and faults.

No such engine runs here: a process on loopback plays its protocol, see `elastic_loopback.py`.
"""

from __future__ import annotations

import pickle
import re

import pytest

from retrievers import Catalog
from retrievers.errors import EngineError
from retrievers.remote import client as line_module
from retrievers.remote import elastic
from retrievers.remote.opensearch import Elasticsearch, OpenSearch
from tests.retrievers.remote.loopback import Engine

pytest.importorskip("opensearchpy", reason="the retriever opensearch needs: pip install 'recr1[opensearch]'")
pytest.importorskip("elasticsearch", reason="the retriever elasticsearch needs: pip install 'recr1[elasticsearch]'")

CATALOG = Catalog(
    ["lamp", "mug", "tent"],
    ["reading lamp", "red mug", "red tent\ud800 for two"],
    {"title": ["lamp", "mug", "tent"], "colour": [None, "red", "red"]},
)
THEIRS = {
    "docs": {
        "d1": {"sku": "mug", "name": "red mug", "brand": "Larkspur", "rank": 2},
        "d2": {"sku": "tent", "name": "red tent", "brand": "Fjordal", "rank": 1},
    }
}


@pytest.fixture(scope="module")
def running():
    engine = Engine("tests.retrievers.remote.elastic_loopback")
    yield engine
    engine.kill()


@pytest.fixture
def engine(running):
    running.misbehave()
    running.post("/indexes/shop", THEIRS)
    return running


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr(line_module, "FIRST_WAIT", 0.01)


@pytest.fixture(params=[OpenSearch, Elasticsearch])
def build(request, engine):
    def built(catalog=CATALOG, **options):
        return request.param(catalog, **{"url": engine.url, "timeout": 30.0, "attempts": 3} | options)

    return built


def fresh(name):
    """A catalog that no test filled an index with."""
    return Catalog([f"{name}-{row}" for row in range(5)], [f"word{row} common" for row in range(5)])


def rows(hits):
    return hits.rows_QK.tolist()


def done(engine):
    return [request["do"] for request in engine.log()]


def test_an_index_is_made_filled_checked_and_marked(build, engine):
    catalog = fresh(build().engine)
    engine.misbehave()
    found = build(catalog, k1=0.9, b=0.4, analyzer="english")
    index = found._index
    create, bulk, refresh, count, mark = engine.log()
    assert re.fullmatch("recr1-[0-9a-f]{16}", index)
    assert create["do"] == f"PUT /{index}"
    text = {"type": "text", "analyzer": "english", "similarity": "recr1"}
    assert create["body"] == {
        "settings": {
            "index": {
                "number_of_shards": 1,
                "max_result_window": 10_000,
                "similarity": {"recr1": {"type": "BM25", "k1": 0.9, "b": 0.4}},
            }
        },
        "mappings": {"dynamic": False, "properties": {"recr1_row": {"type": "integer"}, "texts": text}},
    }
    assert bulk["do"].endswith(f" /{index}/_bulk")
    assert bulk["body"][:2] == [{"index": {"_id": "0"}}, {"recr1_row": 0, "texts": "word0 common"}]
    assert len(bulk["body"]) == 10
    assert [refresh["do"], count["do"].split()[1]] == [f"POST /{index}/_refresh", f"/{index}/_count"]
    assert (mark["do"], mark["body"]) == (f"PUT /{index}/_mapping", {"_meta": {"recr1": {"items": 5}}})
    assert rows(found.search(["word3"], 2)) == [[3, -1]]


def test_the_index_is_found_again_and_not_filled_twice(build, engine):
    build()
    engine.misbehave()
    again = build()
    assert done(engine) == [f"PUT /{again._index}", f"GET /{again._index}/_mapping"]


def test_other_options_or_items_have_another_index(build):
    names = [build()._index, build(k1=2.0)._index, build(fields={"title": 1})._index, build(fresh("other"))._index]
    assert len(set(names)) == 4


def test_a_search_asks_for_ids_in_the_order_of_scores_and_rows(build, engine):
    found = build(fields={"title": 2, "colour": 1.5})
    engine.misbehave()
    hits = found.search(["red tent"], 10)
    (request,) = engine.log()
    assert request["do"] == f"POST /{found._index}/_search?allow_partial_search_results=false"
    assert request["body"] == {
        "query": {
            "multi_match": {"query": "red tent", "fields": ["title^2", "colour^1.5"], "type": "most_fields"},
        },
        "size": 3,
        "_source": False,
        "track_total_hits": False,
        "sort": [{"_score": "desc"}, {"recr1_row": "asc"}],
        "track_scores": True,
    }
    assert rows(hits) == [[2, 1, *[-1] * 8]]
    assert hits.scores_QK[0, :2].tolist() == [5.25, 2.25]


def test_an_index_that_exists_is_only_read_through_its_own_fields(build, engine):
    found = build(index="shop", fields={"name": 1, "brand": 3}, id_field="sku", tiebreak="rank")
    assert rows(found.search(["red", "larkspur", "lamp"], 2)) == [[1, 2], [1, -1], [-1, -1]]
    assert done(engine) == ["POST /shop/_search?allow_partial_search_results=false"] * 3
    assert engine.log()[0]["body"]["_source"] == ["sku"]
    assert engine.log()[0]["body"]["sort"] == [{"_score": "desc"}, {"rank": "asc"}]


def test_a_query_template_is_sent_as_it_stands(build, engine):
    template = {"multi_match": {"query": "{query}", "fields": ["name"], "operator": "and", "boost": 2}}
    found = build(index="shop", query=template, id_field="sku")
    assert sorted(rows(found.search(['red "x" {k}'], 2))[0]) == [1, 2]
    sent = template["multi_match"] | {"query": 'red "x" {k}'}
    assert engine.log()[0]["body"]["query"]["multi_match"] == sent


def test_a_document_that_the_catalog_does_not_have_is_an_error(build):
    with pytest.raises(EngineError, match=r"2 of the 2 ids in its answers are not in the catalog, 'd[12]' for one"):
        build(index="shop", fields={"name": 1}).search(["red"], 2)


HALF = {
    "total": 4,
    "successful": 2,
    "skipped": 0,
    "failed": 2,
    "failures": [{"shard": 1, "reason": {"type": "x"}}],
}


@pytest.mark.parametrize(
    ("fault", "cause"),
    [
        ({"json": {"timed_out": False, "_shards": HALF, "hits": {"hits": []}}}, r"not all shards answered \(2 of 4\)"),
        ({"json": {"timed_out": True, "_shards": {}, "hits": {"hits": []}}}, r"not all shards answered \(it ran out"),
        ({"status": 503, "json": {"error": {"type": "search_phase_execution_exception"}}}, "status 503: "),
        ({"status": 429, "body": ""}, "status 429: "),
        ({"body": '{"hits": {"hi'}, "the answer is not JSON"),
        ({"truncate": 25}, "ConnectionError: "),
        ({"close": True}, "ConnectionError: "),
        ({"sleep": 0.6}, "ConnectionTimeout: "),
    ],
    ids=["half the shards", "timed out", "503", "429", "cut JSON", "cut off", "closed", "late"],
)
def test_a_fault_that_may_pass_is_tried_again_and_then_raised(build, engine, fault, cause):
    build()  # makes the index, however long that takes
    found = build(timeout=0.4 if "sleep" in fault else 30.0, attempts=2)
    engine.misbehave(fault)
    assert rows(found.search(["lamp"], 1)) == [[0]]
    assert len(engine.log()) == 2
    engine.misbehave(fault, fault)
    with pytest.raises(EngineError, match=rf"^{found.engine} at {engine.url}, after 2 attempts: {cause}"):
        found.search(["lamp"], 1)


@pytest.mark.parametrize(
    ("fault", "cause"),
    [
        ({"status": 401, "json": {"error": {"type": "security_exception"}}}, "status 401: "),
        ({"status": 400, "json": {"error": {"type": "too_many_clauses"}, "status": 400}}, "status 400: "),
        ({"json": {"took": 1}}, r"the answer is not what such an engine returns \(KeyError: 'hits'\)"),
        (
            {"json": {"hits": {"hits": [{"_id": "0", "_score": None}]}}},
            r".* not what such an engine returns \(TypeError",
        ),
        (
            {"json": {"hits": {"hits": [{"_id": "77", "_score": 1}]}}},
            r".* not what such an engine returns \(IndexError",
        ),
        (
            {"json": {"hits": {"hits": [{"_id": "abc", "_score": 1}]}}},
            r".* not what such an engine returns \(ValueError",
        ),
    ],
)
def test_an_answer_of_another_kind_is_refused_at_once(build, engine, fault, cause):
    found = build()
    engine.misbehave(fault)
    with pytest.raises(EngineError, match=f"after 1 attempt: {cause}"):
        found.search(["lamp"], 1)


def test_items_that_were_not_written_are_written_again_or_named(build, engine):
    full = {"index": {"_id": "0", "status": 429, "error": {"type": "es_rejected_execution_exception"}}}
    wrong = {"index": {"_id": "0", "status": 400, "error": {"type": "mapper_parsing_exception"}}}
    fine = {"index": {"_id": "1", "status": 201}}
    busy = {"at": "_bulk", "json": {"errors": True, "items": [full, fine]}}
    engine.misbehave(busy)
    found = build(fresh(f"busy {build().engine}"))
    assert rows(found.search(["word2"], 1)) == [[2]]
    engine.misbehave({"at": "_bulk", "json": {"errors": True, "items": [wrong, fine]}})
    with pytest.raises(EngineError, match=r"after 1 attempt: 1 of 5 items were not written: .*mapper_parsing"):
        build(fresh(f"wrong {found.engine}"))


def test_an_index_that_lost_items_is_an_error(build, engine):
    lost = fresh(f"lost {build().engine}")
    engine.misbehave({"at": "_count", "json": {"count": 4}})
    with pytest.raises(EngineError, match=r"index 'recr1-\w+' shows 4 of the 5 items written to it"):
        build(lost)


def test_an_index_that_nobody_finishes_is_an_error_that_says_to_delete_it(build, engine, monkeypatch):
    monkeypatch.setattr(elastic, "STALLED", 0.05)
    monkeypatch.setattr(elastic, "POLL", 0.02)
    stalled = fresh("stalled")
    index = build(stalled)._index
    engine.misbehave()
    engine.post(f"/indexes/{index}", {"mappings": {}, "docs": {"0": {}}})
    with pytest.raises(EngineError, match=r"was started and never completed: it shows 1 of 5 items. Delete it"):
        build(stalled)
    engine.post(f"/indexes/{index}", {"mappings": {"_meta": {"recr1": {"items": 5}}}, "docs": {}})
    build(stalled)


def test_elasticsearch_waits_as_long_as_it_is_asked_to(engine):
    found = Elasticsearch(CATALOG, url=engine.url)
    engine.misbehave({"status": 429, "headers": {"retry-after": "3600"}, "json": {"error": "busy", "status": 429}})
    with pytest.raises(EngineError, match="it asks to wait 3600 s, and recr1 waits at most 60 s; status 429"):
        found.search(["lamp"], 1)


def test_a_key_comes_from_the_environment_and_stands_nowhere_else(build, engine, monkeypatch):
    monkeypatch.setenv("SHOP_KEY", "s3cret")
    found = build(headers={"Authorization": "ApiKey ${SHOP_KEY}"})
    engine.misbehave()
    pickled = pickle.dumps(found)
    assert b"s3cret" not in pickled
    assert rows(pickle.loads(pickled).search(["lamp"], 1)) == [[0]]
    assert {name.lower(): value for name, value in engine.log()[0]["headers"].items()}[
        "authorization"
    ] == "ApiKey s3cret"


def test_no_query_holds_more_words_than_an_engine_takes(build, engine):
    found = build(fields={"title": 1, "colour": 1})
    engine.misbehave()
    found.search(["a " * 3000], 1)
    assert len(engine.log()[0]["body"]["query"]["multi_match"]["query"]) <= 512


def test_a_search_deeper_than_an_existing_index_allows_is_refused(build):
    big = Catalog([str(row) for row in range(10_001)], ["x"] * 10_001)
    found = build(big, index="shop", fields={"name": 1})
    assert found.max_k == 10_000
    with pytest.raises(ValueError, match="k is 10001, and the index 'shop' returns at most 10000 items"):
        found.search(["x"], 10_001)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"index": "shop"}, "fields: name the fields of the index"),
        ({"query": {"match_all": {}}}, "query: must contain {query} in one of its texts"),
        ({"id_field": "sku"}, "id_field: is for an existing index; name that index with index"),
        ({"tiebreak": "rank"}, "tiebreak: is for an existing index"),
        ({"fields": {"no.dots": 1}}, "fields: 'no.dots' cannot be a field of an index made here"),
        ({"fields": {"brand": 1}}, "the catalog has no field 'brand'"),
        ({"fields": {"title": 0}}, "fields.title: must be a number > 0, got 0"),
        ({"k1": -1}, "k1: must be a number >= 0"),
        ({"url": "localhost"}, "url: must be a whole address"),
        ({"headers": {"Authorization": "Basic abc"}}, "headers.Authorization: looks like a secret"),
        ({"threads": 0}, "threads: must be an integer >= 1, got 0"),
        ({"max_chars": 0}, "max_chars: must be an integer >= 1, or null, got 0"),
    ],
)
def test_wrong_options_are_named(build, options, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        build(**options)


@pytest.mark.parametrize("at", ["create", "_bulk", "_count", "_search"])
@pytest.mark.parametrize("answer", [{"json": {}}, {"json": []}, {"status": 204, "body": ""}], ids=str)
def test_an_answer_of_another_server_is_an_error_of_the_engine(build, engine, at, answer):
    catalog = fresh(f"{at} {answer} {build().engine}")
    engine.misbehave(*[{"at": at, **answer}] * 3)
    said = r"answer is not a JSON object|not what such an engine returns|status 400|its error cannot"
    with pytest.raises(EngineError, match=said):
        build(catalog).search(["word1"], 1)
