"""The service and its client over loopback: a real process that is full, wrong, killed, restarted and stopped."""

from __future__ import annotations

import io
import json
import multiprocessing
import pickle
import re
import signal
import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from recr1.cli.main import run
from recr1.tasks.toy import ToyTask
from retrievers import Catalog
from retrievers.base import Hits
from retrievers.bm25.bm25 import BM25
from retrievers.combine.cached import Cached
from retrievers.errors import EngineError, MissingAnswers
from retrievers.service.client import Service
from tests.processes import begin
from tests.retrievers.service.service_contracts import needs_service

httpx = pytest.importorskip("httpx", reason="pip install 'recr1[service]'")
pytestmark = needs_service

CATALOG = ToyTask().catalog
QUERIES = ["reading lamp", "red mug", "zzqqy", "", "tent for two \ud800", "lamp " * 500, *CATALOG.texts]
MOODY = "retriever={type: 'tests.retrievers.remote.moody:Moody', seconds: 0.3}"


class Process:
    """`recr1 serve-retriever toy/echo` as a user starts it; waits until the index is there, or until it has ended."""

    def __init__(self, *arguments: str, port: int = 0, wait: bool = True, **env: str) -> None:
        command = [sys.executable, "-m", "recr1", "serve-retriever", "toy/echo", "--port", str(port), *arguments]
        self.process = begin(command, **env)
        self.url = ""
        lines = 2 if wait else 1
        for line in [self.process.stdout.readline() for _ in range(lines)]:
            self.url = "".join(re.findall(r"http://127\.0\.0\.1:\d+", line)) or self.url

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def end(self, number: int) -> tuple[int, str]:
        """Sends a signal; the status that the process ends with, and what it wrote to standard error."""
        self.process.send_signal(number)
        _, errors = self.process.communicate(timeout=30)
        return self.process.returncode, errors

    def get(self, path: str, **headers: str):
        return httpx.get(self.url + path, headers=headers, trust_env=False)

    def post(self, body, **headers: str):
        content = body if isinstance(body, bytes) or hasattr(body, "__next__") else json.dumps(body).encode()
        return httpx.post(self.url + "/search", content=content, headers=headers, trust_env=False, timeout=20)

    def metric(self, name: str) -> float:
        return float(re.search(rf"^{re.escape(name)} (\S+)$", self.get("/metrics").text, re.MULTILINE)[1])


@pytest.fixture
def start():
    """Starts services that end with the test."""
    started = []

    def one(*arguments, **options):
        started.append(Process(*arguments, **options))
        return started[-1]

    yield one
    for service in started:
        service.process.kill()
        service.process.communicate()


@pytest.fixture(scope="module")
def moody():
    """One service for the tests that leave it as it was."""
    service = Process(MOODY, "--window", "100", "--queue", "2", "--max-mb", "1")
    yield service
    service.process.kill()
    service.process.communicate()


def client(service, **options):
    return Service(CATALOG, url=service.url, **options)


def assert_same(hits, expected):
    assert hits.rows_QK.tobytes() == expected.rows_QK.tobytes()
    assert hits.scores_QK.tobytes() == expected.scores_QK.tobytes()


@pytest.mark.parametrize("k", [1, 7, 50])
def test_hits_are_those_of_the_retriever_to_the_last_bit(moody, k):
    assert_same(client(moody).search(QUERIES, k), BM25(CATALOG).search(QUERIES, k))


@pytest.mark.slow
def test_clients_in_threads_and_spawned_processes_find_the_same_at_once(start):
    service, expected = start(), BM25(CATALOG).search(QUERIES, 5)
    asks = client(service)
    with ThreadPoolExecutor(8) as threads, multiprocessing.get_context("spawn").Pool(2) as processes:
        elsewhere = processes.starmap_async(asks.search, [(QUERIES, 5)] * 4)
        for hits in [*threads.map(lambda _: asks.search(QUERIES, 5), range(24)), *elsewhere.get(60)]:
            assert_same(hits, expected)


def test_searches_that_come_together_are_one_search_of_the_retriever(start):
    service = start("--window", "300")
    asks, begin = client(service), threading.Barrier(6)

    def search(number):
        begin.wait()
        return asks.search([f"lamp {number}"], 3)

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(search, range(6)))
    assert service.metric("recr1_batch_queries_sum") == 6
    assert service.metric("recr1_batch_queries_count") <= 3


def test_a_client_and_a_service_tell_what_the_retriever_declares(moody):
    asks = client(moody)
    assert (asks.capabilities, asks.syntax, asks.max_k) == (frozenset(), {}, None)
    assert not asks.matches_everything
    asks.search(["lamp"], 1)
    assert asks.stats["searches"] >= 1
    assert asks.fingerprint == moody.get("/info").json()["retriever"]


# --- what is refused


def test_another_catalog_is_refused_when_the_client_is_built_and_when_it_asks(moody):
    other = Catalog(["a"], ["lamp"])
    with pytest.raises(ValueError, match=rf"the catalog {CATALOG.fingerprint}, .* has {other.fingerprint}"):
        Service(other, url=moody.url)
    answer = moody.post({"queries": ["lamp"], "k": 1}, **{"x-recr1-catalog": other.fingerprint})
    assert answer.status_code == 409
    assert "this service holds the catalog" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{", "cannot be read"),
        (b"[" * 100_000, "cannot be read"),
        (b"\xff", "cannot be read"),
        ([], 'like {"queries"'),
        ({"queries": "lamp", "k": 1}, 'like {"queries"'),
        ({"queries": ["lamp"]}, "k must be an integer, got None"),
        ({"queries": ["lamp"], "k": True}, "k must be an integer, got True"),
        ({"queries": ["lamp"], "k": 0}, "0"),
        ({"queries": [None], "k": 1}, "a string or a list of numbers, got None"),
        ({"queries": [[1, 2]], "k": 1}, "searches text, not a tuple"),
    ],
)
def test_a_request_that_cannot_be_read_is_told_why(moody, body, message):
    answer = moody.post(body)
    assert answer.status_code == 400
    assert message in answer.json()["detail"]


def test_a_request_that_is_too_large_is_sent_away(moody):
    large = json.dumps({"queries": ["x" * 2**20], "k": 1}).encode()
    assert moody.post(large).status_code == 413
    assert moody.post(large[at : at + 9999] for at in range(0, len(large), 9999)).status_code == 413
    answer = moody.post({"queries": ["lamp"] * 100, "k": 2000})
    assert answer.status_code == 413
    assert answer.json()["detail"] == (
        "100 queries for k=2000 have an answer of more than 1 MiB, the limit of this service"
    )
    assert moody.post({"queries": ["lamp"], "k": 1}).status_code == 200


@pytest.mark.parametrize(("queries", "k"), [(["x" * 2**20], 1), (["lamp"] * 100, 2000)])
def test_a_client_does_not_send_what_is_too_large(moody, queries, k):
    with pytest.raises(ValueError, match=r"MiB large, and the service at .* takes 1 MiB: .* --max-mb"):
        client(moody).search(queries, k)


def test_a_refused_query_is_a_value_error_as_it_is_without_a_service(moody):
    with pytest.raises(ValueError, match="'refuse' is no query"):
        client(moody).search(["lamp", "refuse"], 1)


def test_a_query_that_is_neither_text_nor_numbers_is_refused(moody):
    for query in (None, frozenset(), (1, None, {2})):
        with pytest.raises(ValueError, match="a query to a service must be a string or a tuple of numbers"):
            client(moody).search([query], 1)


def test_a_failing_retriever_is_raised_at_once_and_tells_no_details(moody):
    with pytest.raises(EngineError, match=r"after 1 attempt: its retriever failed .*: Internal Server Error") as raised:
        client(moody).search(["fail"], 1)
    assert "secret" not in str(raised.value)
    assert client(moody).search(["lamp"], 1).rows_QK[0, 0] >= 0


def test_an_engine_behind_the_service_that_is_gone_is_asked_again_and_then_raised(moody):
    with pytest.raises(EngineError, match="after 2 attempts: status 502: the engine behind does not answer"):
        client(moody, attempts=2).search(["offline"], 1)


def test_what_an_engine_behind_the_service_does_not_answer_is_told_query_by_query(moody):
    with pytest.raises(MissingAnswers, match=r"a time-out .*1 of the search's 2 queries have no answer") as raised:
        client(moody).search(["lost lamp", "lamp"], 1)
    assert list(raised.value.faults) == [0] and raised.value.hits.rows_QK[0, 0] == -1
    assert_same(Hits(*(part[1:] for part in raised.value.hits)), client(moody).search(["lamp"], 1))


def test_a_full_queue_sends_away_with_a_time_to_come_again_and_clients_do(moody):
    def post(_):
        return moody.post({"queries": ["sleep"], "k": 1})

    with ThreadPoolExecutor(12) as threads:
        answers = list(threads.map(post, range(12)))
    assert {answer.status_code for answer in answers} == {200, 503}
    full = next(answer for answer in answers if answer.status_code == 503)
    assert (full.headers["retry-after"], full.json()["detail"]) == ("1", "too many searches wait")
    with ThreadPoolExecutor(4) as threads:
        asks = client(moody)
        for hits in threads.map(lambda _: asks.search(["lamp", "sleep"], 3), range(4)):
            assert_same(hits, BM25(CATALOG).search(["lamp", "sleep"], 3))


def test_who_shows_no_token_or_another_gets_nothing(start, monkeypatch):
    service = start("--token-env", "SECRET", SECRET="right")
    for path, expected in {"/healthz": 200, "/readyz": 200, "/info": 401, "/metrics": 401}.items():
        assert service.get(path).status_code == expected
    assert service.post({"queries": ["lamp"], "k": 1}).status_code == 401
    assert service.post({"queries": ["lamp"], "k": 1}, authorization="Bearer right").status_code == 200
    for token in ("wrong", "righ", "right2"):
        monkeypatch.setenv("MINE", token)
        with pytest.raises(EngineError, match=r"after 1 attempt: it does not accept this token \(option token"):
            client(service, token="${MINE}")
    with pytest.raises(EngineError, match=r"it needs a token \(option token"):
        client(service)
    monkeypatch.setenv("MINE", "right")
    asks = client(service, token="${MINE}")
    assert b"right" not in pickle.dumps(asks)
    assert asks.search(["lamp"], 1).rows_QK[0, 0] >= 0


def test_a_variable_without_a_token_is_named(monkeypatch):
    monkeypatch.delenv("MINE", raising=False)
    with pytest.raises(ValueError, match="token: needs the environment variable MINE"):
        Service(CATALOG, url="http://127.0.0.1:1", token="${MINE}")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"url": "127.0.0.1:8080"}, "url: must be a whole address, as http"),
        ({"url": "http://"}, "url: must be a whole"),
        ({"url": "http://h/?a=b"}, "url: must be like"),
        ({"url": "http://me:secret@h"}, "url: holds a password"),
        ({"timeout": 0}, "timeout: must be a number > 0"),
        ({"attempts": 0}, "attempts: must be an integer >= 1"),
    ],
)
def test_options_that_cannot_be_used_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Service(CATALOG, **{"url": "http://127.0.0.1:1", **options})


# --- a service that goes away


def test_nobody_there_is_an_error_and_no_empty_ranking():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(EngineError, match=rf"^service at http://127\.0\.0\.1:{port}, after 2 attempts: ConnectError"):
        Service(CATALOG, url=f"http://127.0.0.1:{port}", attempts=2)


def test_a_service_that_is_killed_and_started_again_is_waited_for(start):
    first, expected = start(), BM25(CATALOG).search(QUERIES, 3)
    asks = client(first)
    assert_same(asks.search(QUERIES, 3), expected)
    first.end(signal.SIGKILL)
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(asks.search, QUERIES, 3)
        start(port=first.port)
        assert_same(waiting.result(30), expected)


def test_a_service_that_stays_away_is_raised(start):
    service = start()
    asks = client(service, attempts=2)
    service.end(signal.SIGKILL)
    with pytest.raises(EngineError, match="after 2 attempts"):
        asks.search(QUERIES, 3)


@pytest.mark.slow
def test_a_service_that_comes_back_with_another_retriever_is_refused(start):
    first = start()
    asks = client(first)
    copy = pickle.loads(pickle.dumps(asks))
    first.end(signal.SIGTERM)
    start("retriever.k1=3", port=first.port)
    for one in (asks, copy):
        with pytest.raises(EngineError, match=rf"its retriever was {asks.fingerprint} and is \w+: one run, one"):
            one.search(QUERIES, 3)


def test_a_service_that_is_told_to_stop_answers_what_it_has(start):
    service = start(MOODY)
    with ThreadPoolExecutor(1) as thread:
        asked = thread.submit(service.post, {"queries": ["sleep"], "k": 1})
        while service.metric("recr1_batch_queries_count") < 1:
            time.sleep(0.01)
        assert service.end(signal.SIGTERM) == (0, "")
        assert asked.result(1).status_code == 200
    with pytest.raises(httpx.ConnectError):
        service.get("/healthz")


def test_ctrl_c_stops_it_too(start):
    assert start().end(signal.SIGINT) == (130, "recr1: interrupted\n")


@pytest.mark.slow
def test_it_is_alive_before_it_is_ready(start):
    service = start("retriever={type: 'tests.retrievers.remote.moody:Moody', opening: 1}", wait=False)
    assert service.get("/healthz").json() == {"status": "alive"}
    for path in ("/readyz", "/info"):
        early = service.get(path)
        assert (early.status_code, early.headers["retry-after"]) == (503, "1")
    assert_same(client(service).search(QUERIES, 2), BM25(CATALOG).search(QUERIES, 2))  # the client waits
    assert service.get("/readyz").json() == {"status": "ready"}


# --- what it counts


def test_metrics_tell_latency_queue_queries_statuses_and_the_hit_rate(start):
    service = start("retriever={type: cached, retriever: {type: bm25}}")
    asks = client(service)
    for _ in range(2):
        asks.search(["reading lamp", "red mug"], 3)
    service.post(b"{")
    assert service.metric('recr1_requests_total{status="200"}') == 2
    assert service.metric('recr1_requests_total{status="400"}') == 1
    assert service.metric("recr1_queries_total") == 4
    assert service.metric("recr1_search_seconds_count") == 3
    assert service.metric("recr1_waiting") == 0
    assert service.metric('recr1_retriever{name="hit_rate_total"}') == 0.5
    assert asks.stats == {"hit_rate": 1.0, "hit_rate_total": 0.5, "cached": 2.0}


def test_a_cache_before_a_service_is_of_its_index(start, tmp_path):
    spec = {"type": "service", "url": start().url}
    retriever = Cached(CATALOG, retriever=spec, disk=str(tmp_path))
    retriever.search(QUERIES, 3)
    other = Cached(CATALOG, retriever={**spec, "url": start("retriever.k1=3").url}, disk=str(tmp_path))
    assert retriever.fingerprint != other.fingerprint
    assert_same(other.search(QUERIES, 3), BM25(CATALOG, k1=3.0).search(QUERIES, 3))


def test_the_answer_is_two_arrays_that_numpy_reads(moody):
    buffer = io.BytesIO(moody.post({"queries": ["reading lamp"], "k": 2}).content)
    rows, scores = np.load(buffer), np.load(buffer)
    assert (rows.dtype, scores.dtype, rows.shape) == (np.int32, np.float32, (1, 2))


# --- the command


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--host", "0.0.0.0"], "--host 0.0.0.0 can be reached from other machines: name a token with --token-env"),
        (["--token-env", "NO_SUCH"], "--token-env: the environment variable NO_SUCH is not set: put a token in it"),
        (["retriever={type: service, url: 'http://h'}"], "retriever.type: 'service' is the client of this command"),
        (["--port", "99999"], "--port 99999: ports end at 65535"),
        (["--host", "no.such.host.invalid", "--token-env", "PATH"], "no.such.host.invalid:0 cannot be served on"),
    ],
)
def test_what_a_user_can_put_right_is_said_in_one_message(arguments, message, capsys):
    assert run(["serve-retriever", "toy/echo", "--port", "0", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_what_is_wrong_with_an_option_of_the_retriever_ends_the_service_with_one_message(start):
    service = start("retriever.k1=-1", wait=False)
    _, errors = service.process.communicate(timeout=30)
    assert (service.process.returncode, "Traceback" in errors) == (2, False)
    assert "retriever.k1: must be a number >= 0" in errors


def test_a_port_that_is_taken_is_said_before_anything_is_opened(start):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        service = start(port=port, wait=False)
        _, errors = service.process.communicate(timeout=30)
    assert service.process.returncode == 2
    assert f"127.0.0.1:{port} cannot be served on: Address already in use (choose another --port)" in errors
