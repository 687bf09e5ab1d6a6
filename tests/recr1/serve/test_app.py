"""`recr1 serve`, never worse than off: a real process with a model that is killed, stopped, late or wrong."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from recr1.cli import main
from recr1.policies.openai import OpenAI
from recr1.recipe import load_recipe
from recr1.serve.bundle import Bundle
from recr1.serve.export import export
from recr1.serve.table import Entry, Table
from tests.processes import begin
from tests.retrievers.remote.loopback import Engine
from tests.retrievers.service.service_contracts import needs_service

httpx = pytest.importorskip("httpx", reason="pip install 'recr1[service]'")
pytestmark = needs_service

MOODY = "tests.recr1.serve.moody:Moody"
DEADLINE = 0.25
NEVER = 8.0
"""Seconds within which a model that hangs has not answered; benchmarks/serve.py measures how late answers are."""


class Client:
    """Asks a service, and measures how long it takes."""

    def __init__(self, service, address):
        self.service, self.address = service, address
        self.http = httpx.Client(base_url=address, trust_env=False, timeout=20)
        self.seconds = []

    def __call__(self, need):
        began = time.perf_counter()
        answer = self.post("/rewrite", {"need": need}).json()
        self.seconds.append(time.perf_counter() - began)
        return answer["query"], answer["source"], answer["reason"]

    def post(self, path, body, **headers):
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.http.post(path, content=content, headers=headers)

    @property
    def model(self):
        return self.http.get("/info").json()["model"]

    def signal(self, number):
        os.kill(self.model["process"], number)

    def counted(self, name):
        found = re.search(rf"^{re.escape(name)} (\S+)$", self.http.get("/metrics").text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    def wait(self, path="/readyz"):
        until(lambda: self.http.get(path).status_code == 200)


def until(done, seconds=60):
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.01)


@contextmanager
def served(bundle, *, ready=True, table=None, cache=None, token=None, load=None, **limits):
    from recr1.serve.app import RewriteService
    from recr1.serve.model import RewriteLimits
    from retrievers.service.server import serving

    limits = RewriteLimits(**{"deadline": DEADLINE, "window": 0, **limits})
    load = load or {"engine": MOODY}
    service = RewriteService(bundle, table=table, cache=cache, load=load, token=token, limits=limits)
    with socket.create_server(("127.0.0.1", 0)) as listener, serving(service, listener) as running:
        client = Client(service, running.address)
        if ready:
            client.wait()
        yield client


@pytest.fixture(scope="module")
def shared(bundle):
    """One service for the tests that leave it as it was."""
    table = Table(bundle.id, [Entry("red shoe", "scarlet sandal", True, {}), Entry("tent", "marquee", False, {})])
    with served(bundle, table=table) as client:
        yield client


def test_a_need_comes_from_the_model_once_then_from_the_cache(shared):
    assert shared("blue lamp") == ("blue lamp rewritten", "model", "rewritten")
    assert shared(" Blue  LAMP ") == ("blue lamp rewritten", "cache", "rewritten")


def test_the_table_comes_first_with_its_gate(shared):
    assert shared("Red shoe") == ("scarlet sandal", "table", "rewritten")
    assert shared("tent") == ("tent", "raw", "gate")


def test_several_needs_have_their_rewrites_in_order(shared):
    answer = shared.post("/rewrite", {"needs": ["red shoe", "", "mug", "mug"]}).json()["rewrites"]
    assert [(one["query"], one["source"]) for one in answer] == [
        ("scarlet sandal", "table"),
        ("", "raw"),
        ("mug rewritten", "model"),
        ("mug rewritten", "model"),
    ]
    assert {"query", "source", "reason", "ms"} == set(answer[0])
    assert shared.post("/rewrite", {"needs": []}).json() == {"rewrites": []}


def test_what_the_parser_refuses_is_raw(shared):
    assert shared("garbage here") == ("garbage here", "raw", "unreadable answer")
    assert shared("garbage here") == ("garbage here", "raw", "unreadable answer")


def test_what_a_library_prints_harms_nothing(shared):
    assert shared("print this") == ("print this rewritten", "model", "rewritten")


def test_a_model_that_fails_for_one_need_answers_the_others_of_its_batch(shared):
    answer = shared.post("/rewrite", {"needs": ["raise it", "a cup"]}).json()["rewrites"]
    assert [(one["source"], one["reason"]) for one in answer] == [("raw", "model failed"), ("model", "rewritten")]
    assert shared("raise it")[1:] == ("raw", "model failed")  # asked again: a failure is not kept


def test_needs_of_any_text_are_answered(shared):
    odd = ["\ud800", "\x00\x1b", "😀" * 100, "a\nb", "x" * 2001, '"}', "İ"]
    answer = shared.post("/rewrite", {"needs": odd}).json()["rewrites"]
    assert [one["query"] for one in answer if one["source"] == "raw"] == ["x" * 2001]
    assert answer[4]["reason"] == "too long"


def test_what_is_late_is_raw_in_time_and_kept_when_it_comes(shared):
    assert shared("sleep 0.8 a") == ("sleep 0.8 a", "raw", "deadline")
    until(lambda: shared("sleep 0.8 a") == ("sleep 0.8 a rewritten", "cache", "rewritten"))


def test_a_model_that_holds_the_interpreter_holds_up_no_answer(shared):
    assert shared("hold it") == ("hold it", "raw", "deadline")
    assert shared("red shoe") == ("scarlet sandal", "table", "rewritten")
    until(lambda: shared("hold it")[1] == "cache")


def test_needs_that_wait_are_rewritten_together(bundle):
    with served(bundle, window=0.05, deadline=5.0) as client, ThreadPoolExecutor(8) as threads:
        before = client.counted("recr1_batch_needs_count")
        list(threads.map(client, [f"lamp {number % 4}" for number in range(8)]))
        assert client.counted("recr1_batch_needs_sum") == 4  # each need once
        assert client.counted("recr1_batch_needs_count") - before <= 3


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
def test_a_model_that_is_killed_costs_rewrites_and_no_answer(bundle, number):
    with served(bundle) as client, ThreadPoolExecutor(2) as threads:
        assert client("a")[1] == "model"
        waiting = threads.submit(client, "sleep 9 b")
        until(lambda: client.counted("recr1_batch_needs_count") >= 1)
        client.signal(number)
        assert waiting.result() in [("sleep 9 b", "raw", "model failed"), ("sleep 9 b", "raw", "deadline")]
        assert client("a") == ("a rewritten", "cache", "rewritten")
        assert client("c") == ("c", "raw", "model not ready")
        assert client.http.get("/readyz").status_code == 200  # answers go on
        until(lambda: client("d")[1] != "raw")
        assert client.model["starts"] == 2
        assert client.counted('recr1_rewrites_total{reason="model not ready",source="raw"}') >= 1
        assert max(client.seconds) < NEVER


def test_a_model_that_ends_itself_is_started_again(bundle):
    with served(bundle) as client:
        assert client("exit now") == ("exit now", "raw", "model failed")
        until(lambda: client("e")[1] != "raw")


def test_a_model_that_cannot_be_loaded_again_costs_rewrites_and_no_answer(copied):
    with served(Bundle.open(copied)) as client:
        assert client("a")[1] == "model"
        (copied / "refuse").write_text("the weights are gone")
        assert client("exit now")[2] == "model failed"
        until(lambda: client.model["starts"] >= 3)
        assert (client("a")[1], client("b")[2]) == ("cache", "model not ready")
        assert client.service.model.refused is None
        (copied / "refuse").unlink()
        until(lambda: client("c")[1] != "raw")


def test_a_model_that_is_stopped_costs_rewrites_and_no_answer(bundle):
    with served(bundle) as client:
        client.signal(signal.SIGSTOP)
        assert client("a b") == ("a b", "raw", "deadline")
        assert client("c d") == ("c d", "raw", "deadline")
        client.signal(signal.SIGCONT)
        until(lambda: client("c d") == ("c d rewritten", "cache", "rewritten"))
        assert client.model["starts"] == 1
        assert max(client.seconds) < NEVER


def test_a_model_that_stays_stopped_is_killed_and_started_again(bundle):
    with served(bundle, patience=0.5) as client:
        stopped = client.model["process"]
        client.signal(signal.SIGSTOP)
        assert client("a b") == ("a b", "raw", "deadline")
        until(lambda: client("c d")[1] != "raw")
        assert client.model["process"] != stopped
        with pytest.raises(ProcessLookupError):
            os.kill(stopped, 0)


def test_a_full_queue_is_raw_at_once_and_room_is_made_of_late_needs(bundle):
    with served(bundle, waiting=3, batch=1, deadline=1.0) as client, ThreadPoolExecutor(4) as threads:
        waiting = [threads.submit(client, "sleep 4 a")]
        until(lambda: client.service.model._asked)
        waiting += [threads.submit(client, need) for need in "bcd"]
        until(lambda: client.counted("recr1_waiting") == 3)
        began = time.perf_counter()
        assert client("e") == ("e", "raw", "queue full")
        assert time.perf_counter() - began < 0.5
        assert [one.result()[1:] for one in waiting] == [("raw", "deadline")] * 4
        assert client("f")[2] == "deadline"  # it took the place of one that nobody waits for
        until(lambda: client("f")[1] == "cache")


def test_before_the_model_is_loaded_answers_are_raw(copied):
    (copied / "slow").write_text("1.5")
    with served(Bundle.open(copied), ready=False) as client:
        assert client("a cup") == ("a cup", "raw", "model not ready")
        refused = client.http.get("/readyz")
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert client.http.get("/healthz").json() == {"status": "alive"}
        client.wait()
        assert client("a cup")[1] == "model"


def test_what_the_model_wrote_is_answered_after_a_restart_before_it_is_loaded(bundle, copied, tmp_path):
    with served(bundle, cache=tmp_path / "cache.jsonl") as client:
        assert client("a cup")[1] == "model"
    (copied / "slow").write_text("1.5")
    with served(Bundle.open(copied), cache=tmp_path / "cache.jsonl", ready=False) as client:
        assert client("a  Cup") == ("a cup rewritten", "cache", "rewritten")


def test_what_is_running_is_answered_when_the_service_stops(bundle):
    with served(bundle, deadline=5.0) as client:
        waiting = threading.Thread(target=client, args=["sleep 1 a"])
        waiting.start()
        until(lambda: client.counted("recr1_batch_needs_count") or client.service.model._asked)
        process = client.model["process"]
    waiting.join(10)
    assert len(client.seconds) == 1
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


def test_a_token_is_asked_for(bundle):
    with served(bundle, token="t0ken") as client:
        assert client.post("/rewrite", {"need": "a"}).status_code == 401
        assert client.http.get("/info").status_code == 401
        refused = client.post("/v1/chat/completions", {"messages": []})
        assert refused.json()["error"]["message"] == "a token is needed"
        assert client.post("/rewrite", {"need": "a"}, authorization="Bearer t0ken").json()["source"] == "model"


@pytest.mark.parametrize(
    ("body", "status", "why"),
    [
        (b"{", 400, "the request cannot be read"),
        (b"[" * 9999, 400, "the request cannot be read"),
        ([1], 400, "the request must be a JSON object, got [1]"),
        ({}, 400, 'the body must be {"need": "red shoe"}'),
        ({"need": 3}, 400, "with texts, got {'need': 3}"),
        ({"needs": "red"}, 400, "with texts"),
        ({"need": "x" * 2**20}, 413, "the request is larger than 1 MiB, the limit of this service"),
    ],
)
def test_what_cannot_be_read_is_refused_with_a_reason(shared, body, status, why):
    answer = shared.post("/rewrite", body)
    assert answer.status_code == status
    assert why in answer.json()["detail"]


# As OpenAI's API


def chat(client, *messages, **more):
    return client.post("/v1/chat/completions", {"model": "m", "messages": list(messages), **more})


def user(content):
    return {"role": "user", "content": content}


def test_a_chat_is_answered_with_the_query_of_its_last_user_message(shared):
    answer = chat(shared, user("tent"), {"role": "assistant", "content": "no"}, user("red shoe")).json()
    assert answer["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "scarlet sandal"},
            "finish_reason": "stop",
            "logprobs": None,
        }
    ]
    assert (answer["object"], answer["model"]) == ("chat.completion", shared.service._bundle.id)
    assert (answer["recr1"]["source"], answer["recr1"]["reason"]) == ("table", "rewritten")
    parts = [{"type": "text", "text": "red"}, {"type": "image_url", "image_url": {}}, {"type": "text", "text": "shoe"}]
    assert chat(shared, user(parts)).json()["recr1"]["source"] == "table"


@pytest.mark.parametrize(
    ("messages", "more", "why"),
    [
        ([], {}, "messages must have a user message with a text, got []"),
        ([{"role": "system", "content": "x"}], {}, "messages must have a user message"),
        ([{"role": "user", "content": None}], {}, "messages must have a user message"),
        ([{"role": "user", "content": "a"}], {"stream": True}, "leave out stream and n"),
        ([{"role": "user", "content": "a"}], {"n": 2}, "leave out stream and n"),
    ],
)
def test_errors_have_the_form_of_that_api(shared, messages, more, why):
    answer = chat(shared, *messages, **more)
    assert answer.status_code == 400
    assert set(answer.json()) == {"error"}
    assert answer.json()["error"]["type"] == "invalid_request_error"
    assert why in answer.json()["error"]["message"]


def test_the_policy_openai_asks_it(shared):
    policy = OpenAI(url=f"{shared.address}/v1", model="m")
    assert policy.generate([[user("red shoe")], [user("cup")]], 0) == [["scarlet sandal"], ["cup rewritten"]]


def test_a_model_on_another_server_writes_until_it_is_down(bundle, capfd):
    server = Engine("tests.recr1.policies.chat_server")
    load = {"engine": "openai", "options": {"url": f"{server.url}/v1", "model": "m", "attempts": 1}}
    with served(bundle, load=load, deadline=5.0) as client:
        assert client("red tent") == ("tent red", "model", "rewritten")
        server.misbehave({"status": 500, "body": "out of memory"}, {"json": {"choices": []}})
        assert client("a b") == ("a b", "raw", "model failed")
        assert client("a b") == ("a b", "raw", "model failed")
        assert client("a b") == ("b a", "model", "rewritten")
        server.kill()
        assert [client(f"c {number}")[2] for number in range(6)] == ["model failed"] * 6
        assert client("Red  tent") == ("tent red", "cache", "rewritten")
    told = capfd.readouterr().err
    assert told.count("Connection refused") <= 2  # once, and once that it is not asked
    assert "status 500: 'out of memory'" in told


# The command


@pytest.fixture(scope="module")
def in_eight_bits(run, tmp_path_factory):
    recipe = load_recipe(run.path / "recipe.yaml")
    return export(run, recipe, tmp_path_factory.mktemp("bundles") / "int8", int8=True, may_lose=1.0)


def test_the_command_serves_a_bundle_and_ends_without_a_fault(in_eight_bits):
    bundle = in_eight_bits
    process = begin([sys.executable, "-m", "recr1", "serve", bundle.path, "--port", "0", "--deadline", "20000"])
    try:
        line = process.stdout.readline()
        client = Client(None, re.search(r"http://127\.0\.0\.1:\d+", line)[0])
        assert f"bundle {bundle.id}" in line
        assert client("red tent for two")[1:] == ("raw", "model not ready")
        client.wait()
        query, *how = client("red tent for two")
        assert how == ["model", "rewritten"]
        assert query != "red tent for two"
        worker = client.model["process"]
        assert "libctranslate2" in Path(f"/proc/{worker}/maps").read_text()
        assert "libtorch" not in Path(f"/proc/{worker}/maps").read_text()  # it would double the time to start
        process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=30)[1] == ""
        assert process.returncode == 0
        until(lambda: not os.path.exists(f"/proc/{worker}"))
    finally:
        process.kill()
        process.communicate()


def refused(capsys, *arguments):
    assert main.run(["serve", *map(str, arguments)]) == 2
    return " ".join(capsys.readouterr().err.split())


def test_what_the_user_can_correct_is_told_in_one_message(bundle, copied, tmp_path, capsys, monkeypatch):
    assert "is not a bundle: there is no such folder" in refused(capsys, tmp_path / "none", "--port", 0)
    (copied / "model" / "config.json").write_text("{}")
    assert "is damaged" in refused(capsys, copied, "--port", 0)
    table = tmp_path / "table.jsonl"
    table.write_text('{"query": "a", "rewrite": "b", "gate": null, "evidence": {}, "bundle": "other"}\n')
    assert "was written by the bundle other" in refused(capsys, bundle.path, "--port", 0, "--table", table)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert f"127.0.0.1:{port} cannot be served on" in refused(capsys, bundle.path, "--port", port)
    told = refused(capsys, bundle.path, "--host", "0.0.0.0", "--port", 0)
    assert "can be reached from other machines: name a token with --token-env NAME" in told
    assert "--engine openai: name the address" in refused(capsys, bundle.path, "--port", 0, "--engine", "openai")


def test_what_only_the_model_finds_wrong_ends_the_command_too(bundle, capsys):
    told = refused(capsys, bundle.path, "--port", 0, "--engine", "ctranslate2")
    assert "has no weights in 8 bits: export the run again with --int8" in told
