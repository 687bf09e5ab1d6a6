"""`recr1 playground` as a user starts it: a bundle or a run, until Ctrl-C, SIGTERM or a kill; and what is refused."""

from __future__ import annotations

import json
import re
import shutil
import signal
import socket
import sys

import httpx
import pytest

from recr1.cli.main import run as recr1
from recr1.serve.playground.marks import Marks
from recr1.serve.table import Entry
from tests.processes import begin
from tests.retrievers.remote.loopback import Engine

pytest.importorskip("fastapi", reason="pip install 'recr1[service]'")


@pytest.fixture
def start(tmp_path):
    """Starts playgrounds that end with the test: the process and its address."""
    started = []

    def start(folder, *arguments):
        marks = tmp_path / "marks.jsonl"
        command = [sys.executable, "-m", "recr1", "playground", folder, "--port", "0", "--marks", marks, *arguments]
        process = begin(command)
        started.append(process)
        lines = [process.stdout.readline() for _ in range(2)]
        assert lines[0].strip() == f"{folder}: opening the task, the retrievers and the policy"
        return process, re.search(r"http://127\.0\.0\.1:\d+", lines[1])[0]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def asked(address, path, **body):
    return httpx.post(address + path, json=body, trust_env=False, timeout=60).json()


def test_a_bundle_is_tried_and_the_tally_is_printed_at_the_end(bundle, start, tmp_path):
    process, address = start(bundle.path, "--retrievers", "rank_bm25,bm25(k1=0.9)", "retriever.b=0.3")
    info = httpx.get(address + "/info", trust_env=False).json()
    assert info["by"] == bundle.id and len(info["examples"]) == 60
    assert info["retrievers"] == ["bm25(b=0.3)", "rank_bm25", "bm25(k1=0.9)"]
    one = asked(address, "/try", need=info["examples"][0], retriever="bm25(b=0.3)")
    assert one["query"] != one["need"] and one["lists"]["raw"]
    asked(address, "/mark", trial=one["trial"], better="same", blind=True)
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=60)
    assert (process.returncode, said) == (0, f"{tmp_path / 'marks.jsonl'}: raw 0, rewritten 0, same 1\n")


def test_a_table_and_another_engine_are_tried_as_they_are_served(bundle, start, tmp_path):
    table = tmp_path / "table.jsonl"
    rows = [Entry("Warm coat", "winter parka", True, {}), Entry("a lamp", "kettle", False, {"gain": -0.1})]
    table.write_text("".join(json.dumps(row.to_dict(bundle.id)) + "\n" for row in rows))
    server = Engine("tests.recr1.policies.chat_server")
    _, address = start(
        *(bundle.path, "--table", table),
        *("--engine", "openai", "--url", f"{server.url}/v1", "--model", "m"),
    )
    one, held, other = (
        asked(address, "/try", need=need, retriever="bm25") for need in ("warm coat", "a lamp", "red tent")
    )
    assert (one["query"], one["source"]) == ("winter parka", "table")
    assert (held["query"], held["reason"], held["held_back"]) == ("a lamp", "gate", "kettle")
    assert (other["query"], other["source"]) == ("tent red", "model")


def test_a_run_writes_before_it_is_exported_and_a_kill_loses_no_mark(run, start, tmp_path):
    process, address = start(run.path)
    one = asked(address, "/try", need="a gift for my aunt", retriever="bm25")
    asked(address, "/mark", trial=one["trial"], better="raw", blind=False)
    process.kill()
    process.communicate()
    [line] = [json.loads(line) for line in (tmp_path / "marks.jsonl").read_text().splitlines()]
    assert (line["need"], line["better"], line["by"]) == ("a gift for my aunt", "raw", "run")
    assert Marks(tmp_path / "marks.jsonl").tally()["raw"] == 1


def test_what_cannot_be_used_is_refused_in_one_message(bundle, run, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NO_TOKEN", raising=False)
    (tmp_path / "notes.txt").write_text("my notes")
    damaged = shutil.copytree(bundle.path, tmp_path / "damaged")
    (damaged / "README.md").write_text("")
    taken = socket.create_server(("127.0.0.1", 0))
    candidates = "task={type: reranking, task: {type: toy}, candidates: judged}"
    for words, said in {
        ("none",): "'none' is not a bundle: there is no such folder",
        ("damaged",): "the bundle 'damaged' is damaged: README.md",
        (bundle.path, "--marks", "notes.txt"): "notes.txt:1: is not a mark",
        (bundle.path, "--marks", "none/marks.jsonl"): "--marks none/marks.jsonl: no file can be written there",
        (bundle.path, "--retrievers", "bm52"): "no 'bm52' here; did you mean 'bm25'?",
        (bundle.path, "--host", "0.0.0.0"): "--host 0.0.0.0 can be reached from other machines",
        (bundle.path, "--token-env", "NO_TOKEN"): "the environment variable NO_TOKEN is not set",
        (bundle.path, "--port", str(taken.getsockname()[1])): "cannot be served on: Address already in use",
        (run.path, "--table", "table.jsonl"): "--table: is for a bundle, and",
        (bundle.path, "--engine", "openai"): "--engine openai: name the address of the server with --url",
        (bundle.path, "policy.max_new_tokens=3"): "policy.max_new_tokens=3: a bundle writes as it was exported",
        (
            bundle.path,
            candidates,
        ): "recr1 playground searches the whole catalog, and this task puts candidates in order",
    }.items():
        assert (words, recr1(["playground", "--port", "0", *map(str, words)])) == (words, 2)
        assert said in capsys.readouterr().err
    taken.close()
    assert not (tmp_path / "marks.jsonl").exists() and (tmp_path / "notes.txt").read_text() == "my notes"
