"""What the contract tests of remote engines need: each builds its retriever against a server on loopback."""

from __future__ import annotations

from retrievers.http import HTTP
from retrievers.testing import RetrieverContract
from tests.retrievers.loopback import scores, shared_engine


class HTTPContract(RetrieverContract):
    """The engine scores exactly, in a process of its own; `http` must neither lose nor reorder what it finds."""

    def build(self, catalog):
        return HTTP(catalog, url=shared_engine().hold(catalog), body={"q": "{query}", "size": "{k}"})

    def brute_force(self, catalog, query):
        return scores(catalog.texts, query)
