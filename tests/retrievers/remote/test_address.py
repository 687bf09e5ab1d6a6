"""Addresses, proxies, certificates, redirects and odd answers: each is one line that says what to do."""

from __future__ import annotations

import json
import re
import shutil
import socket
import ssl
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from retrievers import PARTS, Catalog
from retrievers.errors import EngineError
from retrievers.remote.address import proxy_for
from tests.retrievers.remote.loopback import shared_engine

for library in ("httpx", "opensearchpy", "elasticsearch", "pymilvus", "psycopg"):
    pytest.importorskip(library, reason="needs the libraries of all remote engines")

CATALOG = Catalog(["lamp", "mug", "tent"], ["reading lamp", "red mug", "red tent for two"])
BODY = {"q": "{query}", "size": "{k}"}
ENGINES = {
    "http": {"body": BODY},
    "opensearch": {},
    "elasticsearch": {},
    "service": {},
    "milvus": {"encoder": {"type": "hashing", "dim": 8}, "store": None},
}
"""Those with the address of a host, and what else each needs."""
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def spec(engine, url, **options):
    return {"type": engine, "uri" if engine == "milvus" else "url": url, **ENGINES[engine], **options}


def problems(engine, url, **options):
    return [str(problem) for problem in PARTS.check("retriever", spec(engine, url, **options), "retriever")]


def refusal(engine, url, **options):
    """The error of a first search."""
    timeout = {"timeout": 5.0, "attempts": 3} | options
    with pytest.raises(EngineError) as raised:
        PARTS.build("retriever", spec(engine, url, **timeout), CATALOG).search(["red"], 2)
    return str(raised.value)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    "url",
    [
        "http://[::1",
        "http://host:99999",
        "http://host:0",
        "http://host:abc",
        "http://ho st",
        "http://host\t",
        " http://host",
        "http://ex..ample",
        f"http://{'a' * 64}.com",
        "http://host:9200:9200",
        "http://:9200",
        "http:/host",
        "http//host://",
        "://host",
        "ftp://host",
        "http://host#top",
        "http://me@host",
    ],
)
def test_an_address_that_cannot_be_is_refused_by_a_check(engine, url):
    option = "uri" if engine == "milvus" else "url"
    assert [problem.partition(": ")[0] for problem in problems(engine, url)] == [f"retriever.{option}"]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:9200",
        "http://my_host-1.shop.:80",
        "https://10.0.0.1",
        "http://[::1]:9200",
        "https://bücher.de/a",
    ],
)
def test_an_address_that_can_be_is_not_refused(engine, url):
    assert problems(engine, url) == []


@pytest.mark.parametrize("engine", ENGINES)
def test_an_address_of_the_environment_is_checked_and_not_shown(engine, monkeypatch):
    monkeypatch.setenv("SHOP", "http://canary host")
    (problem,) = problems(engine, "${SHOP}")
    assert "canary" not in problem
    assert "is not an address" in problem
    monkeypatch.setenv("SHOP", "http://host")
    assert problems(engine, "${SHOP}") == []
    monkeypatch.setenv("SHOP", "canary")
    (problem,) = problems(engine, "http://me:${SHOP}@host")
    assert "holds a user or password" in problem


@pytest.mark.parametrize("engine", ["opensearch", "elasticsearch", "service"])
def test_a_query_in_an_address_is_refused_where_none_is_sent(engine, monkeypatch):
    monkeypatch.setenv("SHOP", "http://host/?a=b")
    for url in ("http://host/?a=b", "${SHOP}"):
        assert [problem.partition(": ")[0] for problem in problems(engine, url)] == ["retriever.url"]


def test_a_header_that_cannot_be_sent_is_refused_by_a_check():
    found = problems("http", "http://h", headers={"a b": "x", "c": "é", "d": "x\ny", "e": "fine"})
    assert [problem.partition(": ")[0].removeprefix("retriever.headers.") for problem in found] == ["a b", "c", "d"]


@pytest.mark.parametrize(
    ("variable", "value", "what"),
    [
        ("ALL_PROXY", "socks5://127.0.0.1:1", r"the SOCKS proxy of ALL_PROXY needs: pip install 'httpx\[socks\]'"),
        (
            "HTTP_PROXY",
            "bad proxy",
            "the proxy of HTTP_PROXY is not an http, https or socks5 address: correct HTTP_PROXY, or",
        ),
        ("http_proxy", "gopher://p", "the proxy of HTTP_PROXY is not an http"),
        ("all_proxy", "http://me:canary@p:99999", "the proxy of ALL_PROXY is not an http"),
    ],
)
def test_a_proxy_that_cannot_be_used_is_named_unless_the_host_needs_none(monkeypatch, variable, value, what):
    monkeypatch.setenv(variable, value)
    monkeypatch.setattr("retrievers.remote.address.find_spec", lambda _: None)
    (problem,) = problems("http", "http://h.shop.com:9200/x")
    assert re.search(what, problem)
    assert "canary" not in problem
    monkeypatch.setenv("NO_PROXY", "localhost,.shop.com")
    assert problems("http", "http://h.shop.com:9200/x") == []


def test_a_token_that_cannot_be_sent_is_refused_by_a_check(monkeypatch):
    monkeypatch.setenv("SHOP_TOKEN", "canary-é")
    assert problems("service", "http://h", token="${SHOP_TOKEN}") == [
        "retriever.token: a header may hold printable ASCII only"
    ]


def test_a_proxy_is_used_and_named_where_it_fails(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as free:
        monkeypatch.setenv("HTTP_PROXY", f"127.0.0.1:{free.getsockname()[1]}")
    assert proxy_for("http://shop.invalid/x").variable == "HTTP_PROXY"
    assert proxy_for("https://shop.invalid/x") is None
    assert "(through the proxy of HTTP_PROXY)" in refusal("http", "http://shop.invalid/x", attempts=1)


def test_a_query_in_the_address_is_sent_with_the_parameters(monkeypatch):
    engine = shared_engine()
    monkeypatch.setenv("SHOP_KEY", "a&b=c")
    url = engine.hold(CATALOG) + "?size=2&filter=red+ones&filter=new&token=${SHOP_KEY}"
    engine.misbehave()
    found = PARTS.build("retriever", {"type": "http", "url": url, "method": "GET", "params": {"q": "{query}"}}, CATALOG)
    assert found.search(["red"], 2).rows_QK.tolist() == [[1, 2]]
    query = "size=2&filter=red+ones&filter=new&token=a%26b%3Dc&q=red"
    assert engine.log()[0]["path"].partition("?")[2] == query


def test_one_parameter_in_two_places_is_refused():
    found = problems("http", "http://h/x?size=2&q=1", params={"q": "{query}"}, body=None, method="GET")
    assert found == ["retriever.params.q: is in url too: write it in one place"]


@pytest.mark.parametrize(
    ("fault", "what"),
    [
        (
            {"status": 302, "headers": {"location": "https://login.shop.com/in?session=abc"}},
            r"after 1 attempt: status 302: a redirect to https://login.shop.com/in, not followed: set that address",
        ),
        ({"status": 308}, "after 1 attempt: status 308: a redirect to elsewhere, not followed"),
        (
            {"status": 503, "headers": {"retry-after": "3600"}},
            "after 1 attempt: it asks to wait 3600 s, and recr1 waits at most 60 s; status 503",
        ),
        ({"status": 429, "headers": {"retry-after": "9" * 400}}, "after 1 attempt: it asks to wait inf s"),
        ({"status": 204, "body": ""}, "after 2 attempts: the answer is not JSON"),
        (
            {"headers": {"content-type": "text/html"}, "body": "<!doctype html><title>Log in</title>"},
            "after 2 attempts: the answer is not JSON, but a web page: is the address right",
        ),
    ],
    ids=["redirect", "redirect without a place", "an hour", "an age", "204", "HTML"],
)
def test_an_odd_answer_is_said_in_one_line(fault, what):
    engine = shared_engine()
    url = engine.hold(CATALOG)
    engine.misbehave(fault, fault)
    said = refusal("http", url, attempts=2)
    assert what in said
    assert "\n" not in said
    assert "session=abc" not in said


@pytest.fixture(scope="module")
def tls(tmp_path_factory):
    """A server with a certificate that nobody trusts; its port, and the file of the certificate."""
    if not shutil.which("openssl"):
        pytest.skip("makes a certificate with openssl")
    folder = tmp_path_factory.mktemp("tls")
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    make = "openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    subprocess.run([*make.split(), "-keyout", key, "-out", certificate], check=True, capture_output=True)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Found)
    server.handle_error = lambda *_: None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port, str(certificate)
    server.shutdown()
    server.server_close()


class Found(BaseHTTPRequestHandler):
    """Finds a mug."""

    def do_POST(self):
        raw = json.dumps({"hits": [{"id": "mug", "score": 1}]}).encode()
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_):
        pass


@pytest.mark.parametrize("engine", ENGINES)
def test_a_certificate_that_is_not_trusted_is_said_at_once_with_the_option_that_helps(engine, tls):
    said = refusal(engine, f"https://localhost:{tls[0]}")
    assert "after 1 attempt: its certificate is not trusted: set ca_file to the certificate of its authority: " in said


@pytest.mark.parametrize("engine", ENGINES)
def test_a_plain_port_is_said_at_once(engine):
    port = shared_engine().port
    said = refusal(engine, f"https://127.0.0.1:{port}")
    assert (
        "after 1 attempt: it does not use TLS: use another port, or an address without TLS (http://, sslmode=disable): "
        in said
    )


def test_a_certificate_is_trusted_by_its_file(tls):
    port, certificate = tls
    found = PARTS.build("retriever", spec("http", f"https://localhost:{port}", ca_file=certificate), CATALOG)
    assert found.search(["red"], 1).rows_QK.tolist() == [[1]]
    said = refusal("http", f"https://127.0.0.1:{port}", ca_file=certificate)
    assert "its certificate is for another host than the address" in said


@pytest.mark.parametrize("engine", [*ENGINES, "postgres"])
def test_a_file_without_certificates_is_refused_by_a_check(engine, tmp_path):
    empty = tmp_path / "ca.pem"
    for what in ("No such file or directory", "it holds no certificate in PEM form"):
        options = {"type": "postgres"} if engine == "postgres" else spec(engine, "https://host")
        (problem,) = PARTS.check("retriever", options | {"ca_file": str(empty)}, "retriever")
        assert str(problem) == f"retriever.ca_file: {empty} cannot be used: {what}"
        empty.write_text("no certificate")


def test_the_old_names_of_options_say_the_new_ones():
    for engine, old, what in (
        ("opensearch", "ca_certs", "is now called ca_file"),
        ("service", "token_env", "is now called token, and written as ${NAME}"),
        ("milvus", "token_env", "is now called token, and written as ${NAME}"),
    ):
        assert problems(engine, "http://host", **{old: "x"}) == [f"retriever.{old}: {what}"]
