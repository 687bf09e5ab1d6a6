"""A search engine in a process of its own, on loopback, that misbehaves when told to.

Run as a module it is the engine; `Engine` starts one and talks to it. What it does next is told by POST /faults with a
list of faults, one for each search to come:

    {"status": 503, "headers": {...}, "body": "..."}     that answer
    {"truncate": 20}                                     so many bytes of the answer, then the connection closes
    {"sleep": 1.5}                                       the answer, late
    {"trickle": 0.1}                                     the answer, a byte at a time with pauses
    {"json": {...}}                                      another answer
    {"close": true}                                      no answer at all
"""

from __future__ import annotations

import atexit
import json
import subprocess
import sys
import threading
import time
import urllib.request
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar
from urllib.parse import parse_qs, urlsplit

from tests.processes import ROOT


def scores(texts, query):
    """The engine's formula: 1.5 for each different word of the query that an item holds."""
    words = set(query.lower().split())
    shared = [1.5 * len(words & set(text.lower().split())) for text in texts]
    return {row: score for row, score in enumerate(shared) if score > 0}


def ranked(catalog, query, size):
    found = scores(catalog["texts"], query)
    best = sorted(found, key=lambda row: (-found[row], row))[:size]
    return [{"id": catalog["ids"][row], "score": found[row]} for row in best]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    lock = threading.Lock()
    catalogs: ClassVar[dict[str, dict]] = {}
    faults: ClassVar[list[dict]] = []
    log: ClassVar[list[dict]] = []

    def do_GET(self):
        address = urlsplit(self.path)
        if address.path == "/log":
            self.answer(self.log)
        else:
            asked = {name: values[0] for name, values in parse_qs(address.query).items()}
            self.search(address.path, asked)

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])) or "null")
        if self.path.startswith("/catalogs/"):
            self.catalogs[self.path.removeprefix("/catalogs/")] = body
            self.answer({})
        elif self.path == "/faults":
            with self.lock:
                self.faults[:], self.log[:] = body, []
            self.answer({})
        else:
            self.search(self.path, body)

    def search(self, path, asked):
        with self.lock:
            self.log.append({"path": self.path, "headers": dict(self.headers), "asked": asked})
            fault = self.faults.pop(0) if self.faults else {}
        catalog = self.catalogs[path.removeprefix("/search/")]
        found = {"hits": ranked(catalog, asked["q"], int(asked["size"])), "took": 1}
        self.answer(found, fault)

    def answer(self, found, fault=None):
        fault = fault or {}
        raw = fault["body"].encode() if "body" in fault else json.dumps(fault.get("json", found)).encode()
        time.sleep(fault.get("sleep", 0))
        self.close_connection = "close" in fault or "truncate" in fault
        if "close" in fault:
            return
        self.send_response(fault.get("status", 200))
        headers = {"content-type": "application/json", "content-length": len(raw), **fault.get("headers", {})}
        for name, value in headers.items():
            self.send_header(name, str(value))
        self.end_headers()
        pieces = [raw[at : at + 1] for at in range(len(raw))] if "trickle" in fault else [raw[: fault.get("truncate")]]
        for piece in pieces:
            self.wfile.write(piece)
            self.wfile.flush()
            time.sleep(fault.get("trickle", 0))

    def log_message(self, *args):
        pass


class Engine:
    """The process; `url` is where it listens, and stays so when it is killed and started again."""

    def __init__(self, module="tests.retrievers.remote.loopback"):
        self.module, self.port = module, 0
        self.start()

    def start(self):
        command = [sys.executable, "-m", self.module, str(self.port)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        self.port = int(self.process.stdout.readline())
        self.url = f"http://127.0.0.1:{self.port}"

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def post(self, path, value):
        request = urllib.request.Request(
            self.url + path, json.dumps(value).encode(), {"content-type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=10) as response:
            return json.load(response)

    def hold(self, catalog, ids=None):
        """Takes a catalog in, under other ids if these are given; the address to search it at."""
        name = catalog.fingerprint
        self.post(f"/catalogs/{name}", {"ids": ids or catalog.ids, "texts": catalog.texts})
        return f"{self.url}/search/{name}"

    def misbehave(self, *faults):
        """One fault for each search to come; the log begins anew."""
        self.post("/faults", faults)

    def log(self):
        with urllib.request.urlopen(self.url + "/log", timeout=10) as response:
            return json.load(response)


@cache
def shared_engine(module="tests.retrievers.remote.loopback"):
    """One engine for tests that have no fixtures."""
    engine = Engine(module)
    atexit.register(engine.kill)
    return engine


def serve(handler):
    ThreadingHTTPServer.request_queue_size = 64
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), handler)
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    serve(Handler)
