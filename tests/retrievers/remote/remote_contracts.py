"""What the contract tests of remote engines need: each builds its retriever against a server on loopback."""

from __future__ import annotations

from retrievers.remote.http import HTTP
from retrievers.remote.opensearch import Elasticsearch, OpenSearch
from retrievers.remote.postgres import Postgres
from retrievers.testing import RetrieverContract
from tests.retrievers.remote.loopback import scores, shared_engine
from tests.retrievers.remote.postgres_server import shared_server


class HTTPContract(RetrieverContract):
    """The engine scores exactly, in a process of its own; `http` must neither lose nor reorder what it finds."""

    def build(self, catalog):
        return HTTP(catalog, url=shared_engine().hold(catalog), body={"q": "{query}", "size": "{k}"})

    def brute_force(self, catalog, query):
        return scores(catalog.texts, query)


class ElasticContract(RetrieverContract):
    """The protocol is played, and so are the scores; the adapters must neither lose nor reorder what is found."""

    def url(self):
        return shared_engine("tests.retrievers.remote.elastic_loopback").url

    def brute_force(self, catalog, query):
        found = {}
        for field, weight in (("title", 2.5), ("body", 1)):
            for row, score in scores(catalog.column(field), query).items():
                found[row] = found.get(row, 0) + score * weight
        return found


class OpenSearchContract(ElasticContract):
    def build(self, catalog):
        return OpenSearch(catalog, url=self.url(), fields={"title": 2.5, "body": 1})


class ElasticsearchContract(ElasticContract):
    def build(self, catalog):
        return Elasticsearch(catalog, url=self.url(), fields={"title": 2.5, "body": 1})


class PostgresContract(RetrieverContract):
    """A real server."""

    def build(self, catalog):
        return Postgres(catalog, dsn=shared_server().dsn, fields={"title": 2, "body": 0.5})

    def brute_force(self, catalog, query):
        asked, found = set(query.lower().split()), {}
        for field, weight in (("title", 1.0), ("body", 0.25)):
            for row, text in enumerate(catalog.column(field)):
                places = sum(word in asked for word in text.lower().split())
                if places:
                    found[row] = found.get(row, 0) + weight * places
        return found
