"""A policy behind a server: what is sent, what is read, and that a fault is raised and never a completion."""

from __future__ import annotations

import math

import pytest

from recr1.config.build import check_part
from recr1.errors import UserError
from recr1.policies.base import Spent
from recr1.policies.openai import OpenAI
from retrievers.errors import EngineError
from tests.retrievers.remote.loopback import shared_engine

CHATS = [
    [{"role": "system", "content": "Write."}, {"role": "user", "content": "red tent"}],
    [{"role": "user", "content": "a"}],
]
MODULE = "tests.recr1.policies.chat_server"


@pytest.fixture
def server():
    engine = shared_engine(MODULE)
    engine.misbehave()
    return engine


def policy(server, **options):
    return OpenAI(url=f"{server.url}/v1", model="m", **options)


def test_a_greedy_completion_is_asked_for_with_the_chat_as_it_is(server):
    assert policy(server, max_new_tokens=7).generate(CHATS[:1], 0) == [["tent red"]]
    [asked] = server.log()
    assert asked["path"] == "/v1/chat/completions"
    assert asked["asked"] == {"model": "m", "messages": CHATS[0], "max_tokens": 7, "temperature": 0}
    assert "authorization" not in {name.lower() for name in asked["headers"]}


def test_samples_have_a_temperature_and_seeds_of_their_own(server):
    writer = policy(server, temperature=0.5, seed=4, concurrency=1)
    assert writer.generate(CHATS, 2) == [["tent red", "red tent"], ["a", "a"]]
    assert writer.generate(CHATS[:1], 1) == [["tent red"]]
    asked = [line["asked"] for line in server.log()]
    assert [(one["temperature"], one["seed"]) for one in asked] == [(0.5, seed) for seed in (4, 5, 6, 7, 8)]


def test_tokens_are_those_that_the_server_counts(server):
    writer = policy(server)
    writer.generate(CHATS, 3)
    assert writer.spent == Spent(read=4, written=9)


def test_a_likelihood_is_the_mean_of_the_logprobs(server):
    assert policy(server).greedy(CHATS) == [("tent red", -3.5), ("a", -1.0)]
    assert all(line["asked"]["logprobs"] is True for line in server.log())


def test_a_server_without_logprobs_gives_texts_and_no_likelihood(server):
    mute = OpenAI(url=f"{server.url}/v1", model="mute")
    assert mute.generate(CHATS, 0) == [["tent red"], ["a"]]
    assert [likely.text for likely in mute.greedy(CHATS)] == ["tent red", "a"]
    assert all(math.isnan(likely.likelihood) for likely in mute.greedy(CHATS))


def test_the_key_is_sent_and_never_shown(server, monkeypatch):
    monkeypatch.setenv("CHAT_KEY", "k3y-of-the-server")
    server.misbehave({"status": 401, "body": "wrong key k3y-of-the-server"})
    with pytest.raises(EngineError) as refused:
        policy(server, api_key="${CHAT_KEY}").generate(CHATS[:1], 0)
    assert server.log()[0]["headers"]["authorization"] == "Bearer k3y-of-the-server"
    assert "k3y" not in str(refused.value)
    assert "status 401: 'wrong key ${CHAT_KEY}'" in str(refused.value)


def test_a_key_that_is_written_out_is_refused():
    spec = {"type": "openai", "url": "http://host/v1", "model": "m", "api_key": "a1b2c3d4e5f6a7b8c9d0"}
    [problem] = check_part("policy", spec, "policy")
    assert problem.path == "policy.api_key"
    assert "looks like a secret" in problem.what


def test_a_fault_that_passes_is_asked_again(server):
    server.misbehave({"status": 503}, {"close": True})
    assert policy(server, attempts=3).generate(CHATS[:1], 0) == [["tent red"]]
    assert len(server.log()) == 3


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        ({"status": 500, "body": "out of memory"}, "after 2 attempts: status 500: 'out of memory'"),
        ({"status": 400, "body": "context too long"}, "after 1 attempt: status 400: 'context too long'"),
        ({"status": 404, "body": "no model m"}, "after 1 attempt: status 404: 'no model m'"),
        ({"sleep": 1.0}, "after 2 attempts: no answer within 0.4 s"),
        (
            {"json": {"choices": []}},
            r"after 1 attempt: its answer has not the form of /v1/chat/completions \(IndexError",
        ),
        ({"json": {"hits": 3}}, "its answer has not the form"),
        ({"json": {"choices": [{"message": {"content": 7}}]}}, r"its answer has not the form .*\(TypeError: content"),
        ({"body": "<html>login</html>"}, "the answer is not JSON, but a web page: is the address right"),
        ({"truncate": 20}, "after 2 attempts: RemoteProtocolError"),
    ],
)
def test_a_fault_that_stays_is_raised_and_is_no_completion(server, fault, why):
    server.misbehave(fault, fault)
    with pytest.raises(EngineError, match=f"openai at {server.url}/v1, .*{why}" if why[0] == "i" else why):
        policy(server, attempts=2, timeout=0.4).generate(CHATS[:1], 0)


def test_a_completion_without_text_is_an_empty_one(server):
    server.misbehave({"json": {"choices": [{"message": {"content": None}}]}})
    writer = policy(server)
    assert writer.generate(CHATS[:1], 0) == [[""]]
    assert writer.spent == Spent()


def test_a_server_that_is_down_is_left_alone_for_a_while(server):
    writer = OpenAI(url="http://127.0.0.1:9/v1", model="m", attempts=1, concurrency=1)
    for _ in range(3):
        with pytest.raises(EngineError, match="Connection refused"):
            writer.generate(CHATS, 0)
    with pytest.raises(EngineError, match="not asked: the circuit breaker is open for 30 s after 3 failures in a row"):
        writer.generate(CHATS, 0)


def test_an_address_without_a_scheme_is_refused():
    with pytest.raises(UserError, match="url: must be a whole address"):
        OpenAI(url="localhost:8000/v1", model="m")
