"""`http` against a server process on loopback that misbehaves as real ones do."""

from __future__ import annotations

import pickle
import re
import socket

import pytest

from retrievers import Catalog
from retrievers.remote import client as line_module
from tests.retrievers.remote.loopback import Engine

pytest.importorskip("httpx", reason="remote engines need: pip install 'recr1[remote]'")

from retrievers.errors import EngineError
from retrievers.remote.http import HTTP

CATALOG = Catalog(["lamp", "mug", "tent"], ["reading lamp", "red mug", "red tent for two"])


@pytest.fixture(scope="module")
def running():
    engine = Engine()
    yield engine
    engine.kill()


@pytest.fixture
def engine(running):
    running.misbehave()
    return running


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr(line_module, "FIRST_WAIT", 0.01)


def retriever(url, catalog=CATALOG, **options):
    usual = {"body": {"q": "{query}", "size": "{k}"}, "timeout": 30.0, "attempts": 3}
    return HTTP(catalog, **usual | {"url": url} | options)


def rows(hits):
    return hits.rows_QK.tolist()


def test_it_finds_what_the_engine_finds(engine):
    hits = retriever(engine.hold(CATALOG)).search(["red tent", "sofa", "lamp"], 2)
    assert rows(hits) == [[2, 1], [-1, -1], [0, -1]]
    assert hits.scores_QK[0].tolist() == [3.0, 1.5]


def test_the_request_is_the_template_with_query_and_k_filled_in(engine):
    body = {"q": "{query}", "size": "{k}", "deep": [{"text": "about {query}, {k} of them", "n": 7, "no": None}]}
    retriever(engine.hold(CATALOG), body=body, headers={"X-Shop": "two"}).search(['a "quoted" {k} \\'], 5)
    (request,) = engine.log()
    assert request["asked"] == {
        "q": 'a "quoted" {k} \\',
        "size": 5,
        "deep": [{"text": 'about a "quoted" {k} \\, 5 of them', "n": 7, "no": None}],
    }
    assert {name.lower(): value for name, value in request["headers"].items()}["x-shop"] == "two"


def test_a_get_request_carries_its_query_in_the_address(engine):
    found = retriever(engine.hold(CATALOG), method="GET", body=None, params={"q": "{query}", "size": "{k}"})
    assert rows(found.search(["lamp & red mug ?x&size=0"], 3)) == [[1, 0, 2]]
    assert engine.log()[0]["asked"] == {"q": "lamp & red mug ?x&size=0", "size": "3"}


def test_items_ids_and_scores_are_read_at_their_paths(engine):
    answer = {"data": [{"docs": [{"_id": "mug", "rank": {"bm25": 2}}, {"_id": "tent", "rank": {"bm25": 4.5}}]}]}
    engine.misbehave({"json": answer})
    found = retriever(engine.hold(CATALOG), items="data.0.docs", id="_id", score="rank.bm25").search(["q"], 3)
    assert rows(found) == [[2, 1, -1]]


def test_an_answer_that_is_a_list_of_ids_is_ranked_as_it_stands(engine):
    engine.misbehave({"json": ["mug", "lamp"]})
    found = retriever(engine.hold(CATALOG), items="", id="", score=None).search(["q"], 3)
    assert rows(found) == [[1, 0, -1]]
    assert found.scores_QK[0, :2].tolist() == [1.0, 0.5]


def test_ids_may_be_integers(engine):
    numbered = Catalog(["7", "8"], ["a", "b"])
    engine.misbehave({"json": {"hits": [{"id": 8, "score": 1}]}})
    assert rows(retriever(engine.hold(numbered), numbered).search(["q"], 1)) == [[1]]


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 500, "body": "oops"},
        {"status": 503},
        {"status": 429, "headers": {"retry-after": "1"}},
        {"truncate": 20},
        {"body": '{"hits": [{"id": "mug", "sc'},
        {"body": "<html>busy</html>"},
        {"body": ""},
        {"close": True},
        {"sleep": 2.5},
    ],
    ids=["500", "503", "429", "cut off", "cut JSON", "HTML", "empty", "closed", "late"],
)
def test_a_fault_that_passes_costs_a_second_attempt_and_nothing_else(engine, fault):
    found = retriever(engine.hold(CATALOG), timeout=1.0 if "sleep" in fault else 30.0)
    engine.misbehave(fault)
    assert rows(found.search(["red tent"], 2)) == [[2, 1]]
    assert len(engine.log()) == 2


@pytest.mark.parametrize(
    ("fault", "cause"),
    [
        ({"status": 500, "body": "oops"}, r"status 500: 'oops'"),
        ({"truncate": 20}, r"RemoteProtocolError: peer closed connection"),
        ({"body": '{"hits": ['}, r"the answer is not JSON \(.*\): '\{\"hits\": \['"),
        ({"body": "[" * 100_000}, r"the answer is not JSON \("),
        ({"close": True}, r"RemoteProtocolError: Server disconnected"),
        ({"sleep": 1.0}, r"no answer within 0\.3 s \(ReadTimeout\)"),
        ({"trickle": 0.05}, r"the answer was not complete after 0\.3 s"),
        ({"headers": {"content-encoding": "gzip"}}, r"DecodingError: "),
    ],
    ids=["500", "cut off", "cut JSON", "nested JSON", "closed", "late", "trickling", "no gzip"],
)
def test_a_fault_that_stays_is_raised_with_its_cause(engine, fault, cause):
    late = {"sleep", "trickle"} & fault.keys()
    found = retriever(engine.hold(CATALOG), timeout=0.3 if late else 30.0, attempts=2)
    engine.misbehave(fault, fault)
    with pytest.raises(EngineError, match=rf"^http at {engine.url}/search/\w+, after 2 attempts: {cause}"):
        found.search(["red tent"], 2)


@pytest.mark.parametrize(
    ("fault", "cause"),
    [
        ({"status": 401, "body": "who?"}, r"status 401: 'who\?'"),
        ({"status": 302, "headers": {"location": "/elsewhere"}}, r"status 302"),
        ({"json": {"error": "no index"}}, r"items: the answer has no 'hits': what should hold 'hits' has 'error'"),
        ({"json": [1]}, r"items: the answer has no 'hits': what should hold 'hits' is \[1\]"),
        ({"json": {"hits": {"a": 1}}}, r"items: expected a list at 'hits' in the answer, got \{\"a\": 1\}"),
        ({"json": {"hits": None}}, r"items: expected a list at 'hits' in the answer, got null"),
        ({"json": {"hits": [{"id": "mug"}]}}, r"score: the answer has no 'score': what should hold 'score' has 'id'"),
        ({"json": {"hits": [{"score": 1}]}}, r"id: the answer has no 'id'"),
        (
            {"json": {"hits": [{"id": None, "score": 1}]}},
            r"id: expected a text or an integer at 'id' of an item, got null",
        ),
        (
            {"json": {"hits": [{"id": "mug", "score": "9"}]}},
            r"score: expected a finite number at 'score' of item \"mug\", got \"9\"",
        ),
        (
            {"body": '{"hits": [{"id": "mug", "score": NaN}]}'},
            r"score: expected a finite number at 'score' of item \"mug\", got NaN",
        ),
        ({"json": {"hits": [{"id": "mug", "score": True}]}}, r"score: expected a finite number .*, got true"),
    ],
)
def test_an_answer_of_another_kind_is_refused_at_once(engine, fault, cause):
    found = retriever(engine.hold(CATALOG))
    engine.misbehave(fault)
    with pytest.raises(EngineError, match=f"after 1 attempt: {cause}"):
        found.search(["red tent"], 2)
    assert len(engine.log()) == 1


def test_unknown_ids_are_refused_with_their_number(engine):
    found = retriever(engine.hold(CATALOG, ids=["lamp", "cup", "shelter"]))
    with pytest.raises(EngineError, match=r"2 of the 3 ids in its answers are not in the catalog, '(cup|shelter)'"):
        found.search(["red", "lamp"], 5)


def test_nobody_at_the_address_is_an_error_that_names_it():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(EngineError, match=rf"http at http://127.0.0.1:{port}/s, after 2 attempts: ConnectError: "):
        retriever(f"http://127.0.0.1:{port}/s", attempts=2).search(["q"], 1)


def test_one_query_without_an_answer_leaves_none_of_the_search(engine):
    found = retriever(engine.hold(CATALOG), attempts=1, threads=2)
    engine.misbehave({}, {}, {}, {"status": 500})
    with pytest.raises(EngineError, match="status 500"):
        found.search(["red"] * 10, 2)


def test_a_server_that_was_killed_is_found_again_when_it_is_back():
    engine = Engine()
    try:
        found = retriever(engine.hold(CATALOG), attempts=2, cooldown=0.1)
        before = found.search(["red tent", "lamp"], 3)
        engine.kill()
        with pytest.raises(EngineError, match=r"ConnectError|ReadError|RemoteProtocolError"):
            found.search(["red tent", "lamp"], 3)
        engine.start()
        engine.hold(CATALOG)
        assert rows(found.search(["red tent", "lamp"], 3)) == rows(before)
    finally:
        engine.kill()


def test_a_token_comes_from_the_environment_and_stands_nowhere_else(engine, monkeypatch):
    monkeypatch.setenv("SHOP_TOKEN", "s3cret-t0ken")
    found = retriever(engine.hold(CATALOG), headers={"Authorization": "Bearer ${SHOP_TOKEN}"})
    found.search(["red"], 1)
    sent = {name.lower(): value for name, value in engine.log()[0]["headers"].items()}
    assert sent["authorization"] == "Bearer s3cret-t0ken"
    assert b"s3cret" not in pickle.dumps(found)
    engine.misbehave({"status": 403, "body": "the token s3cret-t0ken is expired"})
    with pytest.raises(EngineError, match=re.escape("the token ${SHOP_TOKEN} is expired")):
        found.search(["red"], 1)


def test_a_pickled_retriever_reads_the_token_again(engine, monkeypatch):
    monkeypatch.setenv("SHOP_TOKEN", "old")
    pickled = pickle.dumps(retriever(engine.hold(CATALOG), headers={"Authorization": "${SHOP_TOKEN}"}))
    monkeypatch.setenv("SHOP_TOKEN", "new")
    pickle.loads(pickled).search(["red"], 1)
    assert "new" in engine.log()[0]["headers"].values()
    monkeypatch.delenv("SHOP_TOKEN")
    with pytest.raises(ValueError, match="needs the environment variable SHOP_TOKEN, which is not set"):
        pickle.loads(pickled)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"url": "host:9200"}, "url: must be a whole address, as http://host:9200/search, got 'host:9200'"),
        ({"url": "ftp://host/x"}, "url: must be a whole address"),
        ({"url": "http://me:secret@host/x"}, "url: holds a password"),
        ({"url": "http://host/{query}"}, "url: {query} and {k} belong in params or body"),
        ({"body": {"q": "red"}}, "body: must contain {query} in one of its texts"),
        ({"body": {"{query}": 1}}, "body: must contain {query} in one of its texts"),
        ({"method": "GET"}, "body: a GET request has no body"),
        ({"headers": {"Authorization": "Bearer abc"}}, "headers.Authorization: looks like a secret"),
        ({"headers": {"X-Api-Key": "${NO_SUCH_KEY}"}}, "headers.X-Api-Key: needs the environment variable NO_SUCH_K"),
        ({"timeout": 0}, "timeout: must be a number > 0, got 0"),
        ({"max_chars": 0}, "max_chars: must be an integer >= 1, got 0"),
        ({"threads": 0}, "threads: must be an integer >= 1, got 0"),
    ],
)
def test_wrong_options_are_named_before_anything_is_asked(options, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        retriever(**{"url": "http://host/x"} | options)
