"""What the contract tests of `cached` and `service` need: bm25 behind them, and a service that listens on loopback."""

from __future__ import annotations

import socket
import tempfile
from contextlib import ExitStack
from functools import cache
from importlib.util import find_spec

import pytest

from retrievers.abilities import retriever_fingerprint
from retrievers.bm25.bm25 import BM25
from retrievers.combine.cached import Cached
from retrievers.service.client import Service
from retrievers.testing import RetrieverContract
from tests.retrievers.bm25.formulas import lucene, words

LIBRARIES = ("fastapi", "uvicorn", "prometheus_client", "httpx", "tenacity", "pybreaker")
MISSING = [library for library in LIBRARIES if find_spec(library) is None]
needs_service = pytest.mark.skipif(bool(MISSING), reason=f"{MISSING} missing: pip install 'recr1[service]'")

SPEC = {"type": "bm25", "backend": "numpy"}
FOLDER = tempfile.TemporaryDirectory(prefix="recr1-test-cache-")


class BM25Contract(RetrieverContract):
    def brute_force(self, catalog, query):
        return lucene([words(text) for text in catalog.texts], words(query), k1=1.2, b=0.75)


class CachedContract(BM25Contract):
    """A memory so small that it forgets within a search."""

    def build(self, catalog):
        return Cached(catalog, retriever=SPEC, memory=13)


class CachedOnDiskContract(BM25Contract):
    """One folder for all catalogs and tests, so that most hits come from the file."""

    def build(self, catalog):
        return Cached(catalog, retriever=SPEC, memory=5, disk=FOLDER.name)


class ServiceContract(BM25Contract):
    """One service that listens on loopback, and is handed the catalog of each retriever in turn."""

    def build(self, catalog):
        return Service(catalog, url=hold(catalog))


class CachedServiceContract(BM25Contract):
    def build(self, catalog):
        return Cached(catalog, retriever={"type": "service", "url": hold(catalog)})


def hold(catalog):
    from retrievers.service.app import Served

    service, address = shared_service()
    service.serve(Served(catalog, BM25(catalog, backend="numpy"), retriever_fingerprint(SPEC, catalog)))
    return address


@cache
def shared_service():
    from retrievers.service.app import SearchService
    from retrievers.service.paths import Limits
    from retrievers.service.server import serving

    service = SearchService(limits=Limits(window=0))
    listener = socket.create_server(("127.0.0.1", 0))
    running = _open.enter_context(serving(service, listener))
    return service, running.address


_open = ExitStack()
