"""The middleware and the proxy in front of a rewriter that answers, is late, answers nonsense, or is gone."""

from __future__ import annotations

import asyncio
import json
import runpy
import shutil
import socket
import subprocess
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest
import yaml

NEED = "warm coat & boots"
GOOD = json.dumps({"query": "parka 100% wool", "source": "model", "reason": "rewritten", "ms": 1.0})


@contextmanager
def rewriter(answer=GOOD, status=200, pause=0.0, trickle=0.0):
    """The address of one that answers after a pause, a byte at a time if it trickles."""

    class Answers(BaseHTTPRequestHandler):
        def do_POST(self):
            asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            time.sleep(pause)
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            for sign in answer:
                self.wfile.write(sign.encode())
                self.wfile.flush()
                time.sleep(trickle)

        def log_message(self, *_):
            pass

        def handle_error(self, *_):
            pass

    asked = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    server.handle_error = lambda *_: None  # the caller has gone
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def middleware(exported):
    return runpy.run_path(str(exported("proxy") / "middleware.py"))["Rewrite"]


def searched(middleware, url, path="/search", q=NEED):
    """What the application behind the middleware was asked for, its header, and after how many seconds."""
    seen = {}

    async def app(scope, receive, send):
        request = httpx.URL(f"http://shop/?{scope['query_string'].decode()}")
        seen.update(request.params, raw=dict(scope["headers"]).get(b"x-raw-query"))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"found"})

    async def ask():
        wrapped = middleware(app, url=f"{url}/rewrite", timeout=0.3)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(wrapped), base_url="http://shop") as client:
            begun = time.perf_counter()
            answer = await client.get(path, params={"q": q, "page": "2"})
            assert answer.text == "found"
            return time.perf_counter() - begun

    return seen, asyncio.run(ask())


def test_the_application_gets_the_rewrite_and_the_raw_words(middleware):
    with rewriter() as (url, asked):
        seen, _ = searched(middleware, url)
    assert seen == {"q": "parka 100% wool", "page": "2", "raw": b"warm%20coat%20%26%20boots"}
    assert asked == [{"need": NEED}]


@pytest.mark.parametrize(
    "how",
    [
        {"pause": 2.0},
        {"trickle": 0.05},
        {"status": 500},
        {"answer": "not JSON"},
        {"answer": "[]"},
        {"answer": "{}"},
        {"answer": '{"query": null}'},
        {"answer": '{"query": " "}'},
        {"answer": '{"query": 7}'},
    ],
    ids=str,
)
def test_late_and_broken_rewriters_leave_the_raw_words_in_time(middleware, how):
    with rewriter(**how) as (url, _):
        seen, seconds = searched(middleware, url)
    assert seen["q"] == NEED
    assert seconds < 1.5


def test_a_rewriter_that_is_gone_leaves_the_raw_words(middleware):
    with rewriter() as (url, _):
        pass
    seen, _ = searched(middleware, url)
    assert seen["q"] == NEED


def test_other_paths_and_blank_queries_are_handed_on(middleware):
    with rewriter() as (url, asked):
        assert searched(middleware, url, path="/basket")[0] == {"q": NEED, "page": "2", "raw": None}
        assert searched(middleware, url, q=" ")[0] == {"q": " ", "page": "2", "raw": None}
    assert asked == []


def test_the_documents_name_the_address_and_answer_with_the_raw_need(exported):
    folder = exported("proxy", "--url", "https://rewriter.shop:8443")
    envoy = yaml.safe_load((folder / "envoy.yaml").read_text())["static_resources"]
    [cluster] = envoy["clusters"]
    [endpoint] = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"]
    address = endpoint["endpoint"]["address"]["socket_address"]
    assert address == {"address": "rewriter.shop", "port_value": 8443}
    assert cluster["transport_socket"]["typed_config"]["sni"] == "rewriter.shop"
    manager = envoy["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    [mapper] = manager["local_reply_config"]["mappers"]
    text = mapper["body_format_override"]["text_format_source"]["inline_string"]
    assert json.loads(text)["query"] is None and json.loads(text)["source"] == "raw"
    nginx = (folder / "nginx.conf").read_text()
    assert "server rewriter.shop:8443" in nginx and "proxy_pass https://rewriter;" in nginx


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@contextmanager
def nginx(folder, port):
    """nginx with the exported file, on a port of its own."""
    text = (folder / "nginx.conf").read_text().replace("127.0.0.1:8081", f"127.0.0.1:{port}")
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    text = text.replace("http {", "http {\n" + "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in kinds))
    (folder / "here.conf").write_text(f"daemon off;\nerror_log stderr;\npid {folder}/nginx.pid;\n{text}")
    process = subprocess.Popen(
        [shutil.which("nginx"), "-p", folder, "-c", folder / "here.conf"], stderr=subprocess.PIPE
    )
    try:
        for _ in range(100):
            with socket.socket() as one:
                if one.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}/rewrite"
    finally:
        process.terminate()
        process.wait(timeout=10)


@pytest.mark.skipif(shutil.which("nginx") is None, reason="needs nginx")
def test_nginx_answers_in_time_whatever_the_rewriter_does(exported, tmp_path):
    def asked(how):
        with rewriter(**how) as (url, _):
            shutil.rmtree(tmp_path / "proxy", ignore_errors=True)
            with nginx(exported("proxy", "--url", url), free_port()) as address:
                begun = time.perf_counter()
                return httpx.post(address, json={"need": NEED}), time.perf_counter() - begun

    good, _ = asked({})
    assert good.json() == json.loads(GOOD)
    for how in ({"pause": 3.0}, {"status": 500}, {"status": 429}):
        raw, seconds = asked(how)
        assert (raw.status_code, raw.json()["query"], raw.json()["source"]) == (200, None, "raw")
        assert seconds < 1.5
