"""Strangers without a token, slow clients and clients that leave: the service answers all others, and stays small."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import socket
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from recr1.tasks.toy import ToyTask
from retrievers.bm25.bm25 import BM25
from tests.retrievers.service.service_contracts import needs_service
from tests.retrievers.service.test_service import MOODY, Process

pytestmark = needs_service

CATALOG = ToyTask().catalog
HEAD = b"POST /search HTTP/1.1\r\nHost: x\r\n"
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: x\r\n"
LAST = b"Connection: close\r\n"


def search(queries, k, *headers):
    body = json.dumps({"queries": queries, "k": k}).encode()
    return HEAD + b"".join(headers) + b"Content-Length: %d\r\n\r\n" % len(body) + body


LARGE = search(["lamp"] * 1000, 4000)
"""Asks for 32 MB."""


@contextmanager
def served(monkeypatch, *, connections=512, **seconds):
    """The port of a service in this process, whose clients have few seconds."""
    from retrievers.service import app, paths
    from retrievers.service import connections as of_clients
    from retrievers.service.server import serving

    for what, value in seconds.items():
        monkeypatch.setitem(of_clients.SECONDS, what, value)
    service = app.SearchService(limits=paths.Limits(window=0, connections=connections))
    service.serve(app.Served(CATALOG, BM25(CATALOG, backend="numpy"), "bm25"))
    with serving(service, socket.create_server(("127.0.0.1", 0))) as running:
        yield int(running.address.rpartition(":")[2])


def connected(port, sent=b""):
    connection = socket.create_connection(("127.0.0.1", port), timeout=20)
    with suppress(ConnectionError):
        connection.sendall(sent)
    return connection


def answer(connection):
    """All that comes until the service closes the connection."""
    read = b""
    with suppress(ConnectionError), connection:
        while part := connection.recv(2**16):
            read += part
    return read


def test_who_keeps_the_service_waiting_is_left(monkeypatch):
    halves = [b"", HEAD[:20], HEAD + b"X: a", HEAD + b"Content-Length: 9\r\n\r\n{", HEALTH + b"\r\n" + HEAD, LARGE]
    with served(monkeypatch, head=0.3, body=0.3, answer=0.3) as port:
        waited_for = [connected(port, sent) for sent in halves]
        time.sleep(1)  # in which nobody takes the 32 MB
        answers = [answer(one) for one in waited_for]
    assert [read[:12] for read in answers] == [b"", b"", b"", b"", b"HTTP/1.1 200", b"HTTP/1.1 200"]
    assert len(answers[-1]) < 32_000_000


def test_an_idle_connection_is_kept_and_a_request_in_pieces_is_read(monkeypatch):
    with served(monkeypatch, head=1.0, body=1.0) as port:
        connection = connected(port, HEALTH + b"\r\n")
        assert connection.recv(9999).startswith(b"HTTP/1.1 200")
        time.sleep(1.2)
        asked = search(["x" * 100_000], 3, LAST)
        for start in range(0, len(asked), 9000):
            connection.sendall(asked[start : start + 9000])
        assert b"HTTP/1.1 200" in answer(connection)


def test_one_connection_too_many_closes_the_one_that_waits_longest(monkeypatch):
    with served(monkeypatch, connections=20) as port:
        first, *others = [connected(port, HEAD) for _ in range(60)]
        assert answer(connected(port, HEALTH + LAST + b"\r\n")).startswith(b"HTTP/1.1 200")
        assert answer(first) == b""
        others[-1].sendall(LAST + b"Content-Length: 2\r\n\r\n{}")
        assert answer(others[-1]).startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize("size", [20_000, 2_000_000])
@pytest.mark.parametrize("begin", [b"GET /", HEAD + b"X: "], ids=["path", "headers"])
def test_a_path_and_headers_without_end_are_refused(monkeypatch, begin, size):
    with served(monkeypatch) as port:
        refusal = answer(connected(port, begin + b"a" * size))
    assert b"at most 16384 bytes" in refusal or (size > 20_000 and not refusal)  # who still sends may not read it


@pytest.mark.parametrize(("size", "status"), [(16_000, b"200"), (16_400, b"400"), (30_000, b"400")])
@pytest.mark.parametrize("pieces", [1, 3])
def test_a_whole_head_is_measured_too(monkeypatch, size, status, pieces):
    head = HEALTH + LAST + b"X: " + b"a" * size + b"\r\n\r\n"
    with served(monkeypatch) as port:
        connection = connected(port)
        for place in range(pieces):
            connection.sendall(head[place * len(head) // pieces : (place + 1) * len(head) // pieces])
            time.sleep(0.05)
        assert answer(connection).startswith(b"HTTP/1.1 " + status)


def test_a_second_request_before_the_first_is_answered_is_not_read(monkeypatch):
    with served(monkeypatch) as port:
        read = answer(connected(port, LARGE + (HEALTH + b"\r\n") * 10_000))
    assert read.startswith(b"HTTP/1.1 200") and read.count(b"HTTP/1.1") <= 2


def test_a_wrong_value_is_not_repeated_whole(monkeypatch):
    wrong = "x" * 1_000_000
    with served(monkeypatch) as port:
        for asked in (
            search([None], wrong),
            search([{wrong: wrong}], 1),
            search([[wrong]], 1),
            search([1], -(10**4000)),
        ):
            refusal = answer(connected(port, asked.replace(b"\r\n", b"\r\n" + LAST, 1)))
            assert refusal.startswith(b"HTTP/1.1 400") and len(refusal) < 1000


def test_a_client_that_leaves_is_neither_a_failure_nor_a_traceback():
    service = Process(MOODY, "--window", "0")
    for sent in (LARGE[:200], search(["sleep"], 1), HEAD, HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nab"):
        connection = connected(service.port, sent)
        time.sleep(0.1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # leave at once
        connection.close()
    broken = connected(service.port, HEAD + b"Transfer-Encoding: chunked\r\n\r\nno number\r\n")
    assert answer(broken).startswith(b"HTTP/1.1 400")
    while "recr1_requests_total" not in (text := service.get("/metrics").text) or text.count("requests_total{") < 2:
        time.sleep(0.05)
    counted = dict(re.findall(r'recr1_requests_total\{status="(\d+)"\} (\S+)', text))
    assert counted == {"499": "3.0", "200": "1.0"}
    assert service.end(signal.SIGTERM) == (0, "")


def test_strangers_neither_silence_nor_fill_it():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (128, hard))  # the process inherits it
    try:
        service = Process(MOODY, "--token-env", "SECRET", SECRET="right")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    for _ in range(20):
        service.get("/healthz")
    before = resident(service)
    searching = connected(service.port, search(["sleep"], 1, LAST, b"Authorization: Bearer right\r\n"))
    half_open = [connected(service.port, HEAD + b"X: " + b"a" * 8000) for _ in range(min(1000, soft // 2))]
    assert service.get("/healthz").status_code == 200
    for _ in range(100):
        with connected(service.port, HEAD + (b"X: " + b"a" * 60_000 + b"\r\n") * 17) as stranger:
            stranger.settimeout(5)
    assert service.get("/healthz").status_code == 200
    assert half_open and resident(service) - before < 20 * 2**20
    assert answer(searching).startswith(b"HTTP/1.1 200")
    assert service.end(signal.SIGTERM) == (0, "")


def resident(service):
    """Bytes of memory."""
    return int(Path(f"/proc/{service.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
