"""No value of `${NAME}` is written or printed: a canary in every option that takes one, with engines that repeat it."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from subprocess import PIPE, Popen
from urllib.parse import unquote_plus

import pytest

from recr1.tasks.toy import ToyTask
from retrievers import BUILTIN, PARTS

for library in ("httpx", "opensearchpy", "elasticsearch", "pymilvus", "psycopg", "tensorboard", "wandb"):
    pytest.importorskip(library, reason="needs the libraries of all remote engines and loggers")
pytestmark = pytest.mark.slow

CANARY = "c4n4ry"
VALUE = f'{CANARY}-"q&é<>'
"""Signs that JSON, HTML, addresses and Python write in other ways."""
PLAIN = f"{CANARY}-plain'&<>\"\\t"
"""The same for headers, which hold ASCII only."""
IDS = list(ToyTask().catalog.ids)
OPTIONS = {
    "http": {
        "url": "http://127.0.0.1:{port}/search?key=${VALUE}",
        "headers": {"Authorization": "Bearer ${PLAIN}", "X-Two": "${PLAIN}"},
        "params": {"token": "${VALUE}"},
        "body": {"q": "{query}", "k": "{k}", "deep": [{"api_key": "${VALUE}"}]},
    },
    "opensearch": {
        "url": "http://127.0.0.1:{port}/${WORD}",
        "index": "shop",
        "headers": {"Authorization": "ApiKey ${PLAIN}"},
        "query": {"multi_match": {"query": "{query}", "fields": ["title"], "secret": "${VALUE}"}},
    },
    "postgres": {"dsn": "host=127.0.0.1 port={port} dbname=${WORD} user=${WORD} password=${VALUE}"},
    "milvus": {
        "uri": "http://127.0.0.1:{port}/${WORD}",
        "token": "me:${VALUE}",
        "encoder": {"type": "hashing", "dim": 8},
        "timeout": 2,
    },
    "service": {"url": "http://127.0.0.1:{port}/${WORD}", "token": "${PLAIN}"},
}
OPTIONS["elasticsearch"] = OPTIONS["opensearch"]

ANSWERS = {
    "status": lambda told: (403, json.dumps({"error": {"type": "denied", "reason": told}, "status": 403})),
    "busy": lambda told: (503, told),
    "page": lambda told: (200, f"<html>{told}</html>"),
    "detail": lambda told: (401, json.dumps({"detail": told})),
    "shape": lambda told: (200, json.dumps({told: told, "took": 1})),
    "ids": lambda told: (200, json.dumps({"hits": {"hits": [{"_id": told, "_score": 1, "id": told, "score": told}]}})),
    "items": lambda told: (200, json.dumps({"hits": [{"id": told, "score": 1}]})),
    "scores": lambda told: (200, json.dumps({"hits": [{"id": "mug", "score": told}]})),
    "redirect": lambda told: (302, told),
}
"""How an engine repeats what it was told."""


class Echo(BaseHTTPRequestHandler):
    """Finds the first items of the toy shop; after `healthy` searches it repeats what it was told, as `answer` says."""

    protocol_version = "HTTP/1.1"
    answer, healthy = "status", 0

    def do_POST(self):
        raw = self.rfile.read(int(self.headers.get("content-length") or 0)).decode()
        told = " ".join([unquote_plus(self.path), self.path, raw, *self.headers.values()])
        cls = type(self)
        cls.healthy -= 1
        found = json.dumps({"hits": [{"id": item, "score": 9 - place} for place, item in enumerate(IDS[:5])]})
        status, text = (200, found) if cls.healthy >= 0 else ANSWERS[self.answer](told)
        self.send_response(status)
        self.send_header("content-length", str(len(text.encode())))
        self.send_header("content-type", "text/html" if text.startswith("<") else "application/json")
        self.send_header("X-Elastic-Product", "Elasticsearch")
        self.send_header("warning", f'299 engine "{PLAIN}"')
        self.send_header("location", f"http://127.0.0.1/{PLAIN}?token={PLAIN}")
        self.end_headers()
        self.wfile.write(text.encode())

    do_GET = do_PUT = do_HEAD = do_POST

    def log_message(self, *_):
        pass


@pytest.fixture
def engine():
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Own", (Echo,), {}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def placed(value, port):
    """Options with the port of the engine."""
    return json.loads(json.dumps(value).replace("{port}", str(port)))


def run(folder, *words, status, using=None):
    """What a command prints; its status is checked, and that neither that nor any file has the canary."""
    env = {**os.environ, "VALUE": VALUE, "PLAIN": PLAIN, "WORD": CANARY, "RECR1_CACHE": str(folder / "cache")}
    env |= {"PYTHONPATH": str(Path(__file__).parents[3]), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "recr1", *words]
    process = Popen(command, cwd=folder, env=env, stdout=PIPE, stderr=PIPE, text=True)
    said = "".join(using(process) if using else ())
    said += "".join(process.communicate(timeout=600))
    assert process.returncode == status, said
    assert CANARY not in said
    assert [str(file) for file in folder.rglob("*") if file.is_file() and CANARY.encode() in file.read_bytes()] == []
    assert [str(file) for file in folder.rglob(f"*{CANARY}*")] == []
    return said


def recipe(folder, name, port, **more):
    retriever = {"type": name, "attempts": 1, **placed(OPTIONS[name], port)}
    sections = {
        "task": {"type": "toy"},
        "retriever": retriever,
        "k": 5,
        "rewards": [{"type": "measure", "measure": "nDCG@5"}],
        "policy": {"type": "echo"},
        "evaluate": {"split": "test", "measures": ["nDCG@5"]},
        **more,
    }
    (folder / "recipe.yaml").write_text(json.dumps(sections))
    return "recipe.yaml"


def test_every_option_that_takes_a_variable_has_one():
    taken = {name: getattr(PARTS.find("retriever", name), "filled", ()) for name in BUILTIN}
    assert {name: set(filled) for name, filled in taken.items() if filled} == {
        name: {key for key, value in options.items() if "${" in json.dumps(value)} for name, options in OPTIONS.items()
    }


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("name", ["http", "elasticsearch", "opensearch"])
def test_an_engine_that_repeats_a_secret_in_a_search(name, answer, engine, tmp_path):
    engine.RequestHandlerClass.answer = answer
    said = run(tmp_path, "search", recipe(tmp_path, name, engine.server_port), "mug", status=2)
    assert f"{name} at http://127.0.0.1" in said


@pytest.mark.parametrize("name", OPTIONS)
def test_commands_with_an_engine_that_repeats_a_secret(name, engine, tmp_path):
    file = recipe(tmp_path, name, engine.server_port)
    assert "the recipe is fine" in run(tmp_path, "check", file, status=0)
    run(tmp_path, "--traceback", "search", file, "mug", status=1)
    run(tmp_path, "eval", file, status=2)
    run(tmp_path, "doctor", file, status=3)


def test_a_run_with_all_its_loggers_and_reports_until_the_engine_fails(engine, tmp_path):
    own, trl = engine.RequestHandlerClass, {"num_generations": 2, "per_device_train_batch_size": 4}
    file = recipe(
        tmp_path,
        "http",
        engine.server_port,
        policy={"type": "transformers", "model": "tiny-shopper", "max_new_tokens": 8},
        trainer={"type": "grpo", "steps": 3, "trl": trl},
        evaluate={"split": "validation", "measures": ["nDCG@5"], "every": 1},
        log=[{"type": "jsonl"}, {"type": "tensorboard"}, {"type": "wandb", "mode": "offline"}],
    )
    own.healthy = 10**6
    run(tmp_path, "train", file, "--out", "run", status=0)
    assert "${VALUE}" in (tmp_path / "run/recipe.yaml").read_text()
    run(tmp_path, "eval", "run", status=0)
    run(tmp_path, "doctor", file, status=3)  # it finds the same five items for every query
    run(tmp_path, "report", "run", "--out", "report.html", status=0)
    own.healthy = 20
    run(tmp_path, "train", file, "seed=1", "--out", "failed", status=2)
    facts = json.loads((tmp_path / "failed/run.json").read_text())
    assert "status 403" in facts["error"]
    assert "${VALUE}" in facts["error"]


def test_a_service_before_an_engine_that_repeats_a_secret(engine, tmp_path):
    def asked(process):
        yield process.stdout.readline()
        yield (line := process.stdout.readline())
        address = line.rpartition(" at ")[2].strip()
        body = b'{"queries": ["mug"], "k": 3}'
        yield urllib.request.urlopen(f"{address}/search", body, timeout=30).read().decode("latin-1")
        yield urllib.request.urlopen(f"{address}/metrics", timeout=30).read().decode()
        process.send_signal(signal.SIGTERM)

    file = recipe(tmp_path, "http", engine.server_port)
    assert "${VALUE}" in run(tmp_path, "serve-retriever", file, "--port", "0", status=0, using=asked)
