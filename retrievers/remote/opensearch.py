"""OpenSearch and Elasticsearch, each through its official client."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

from retrievers.errors import TransientError, told
from retrievers.remote.address import fault_of_connection
from retrievers.remote.client import fault_of_status
from retrievers.remote.elastic import ElasticRetriever
from retrievers.secrets import resolved


class OpenSearch(ElasticRetriever):
    """An index on OpenSearch: one that is made and filled from the catalog, or an existing one.

    A search is one request per query, several at a time. Every shard must answer: a partial answer is an error, tried
    again and then raised. So is an answer with ids that the catalog does not have. A blank query finds nothing and
    is not sent. Searching is safe from several threads. The client does not return Retry-After; a transient error is
    tried again with growing pauses.

    Args:
        catalog: What is searched.
        url: The address of a node or a load balancer; without a port it is 443 for https, and else 9200. `${NAME}` in
            it, and in headers and query, is read from the environment.
        index: An existing index, which is only read; null makes one of the catalog, named after its content and these
            options, or finds it. Ranks that start together fill it once.
        fields: Fields of the index to search, with their weights; for an index made here fields of the catalog, null
            for its `texts`.
        id_field: The field of an existing index that holds the catalog's id; null: its `_id`.
        query: The query to send instead, with `{query}` in its texts; null adds the weighted scores of the fields.
        tiebreak: A field of an existing index that orders items with equal scores; an index made here has the catalog's
            order.
        k1: BM25's parameter, of an index made here; an existing one has its own, as for the next two.
        b: The other one.
        analyzer: How the engine splits text into words.
        headers: Sent with each request.
        timeout: Seconds that the engine may be silent before and within an answer.
        attempts: How often one request is sent before its error is raised, with growing pauses.
        rate: Requests per second of each process; null for no limit.
        threads: Requests at the same time.
        cooldown: Seconds without requests after three requests in a row failed in every attempt.
        max_chars: A longer query is cut here; null: 1024, the words that an engine takes, over the number of fields.
        ca_file: The certificates to trust, in PEM form; null trusts the usual ones.

    Raises `EngineError` if the index cannot be made or found.
    """

    engine: ClassVar[str] = "opensearch"
    library: ClassVar[str] = "opensearchpy"

    def _connect(self) -> None:
        from opensearchpy import OpenSearch as Official

        logging.getLogger("opensearch").setLevel(logging.ERROR)  # it warns of each fault, which is raised too
        more: dict[str, Any] = {"timeout": self._timeout, "pool_maxsize": self._threads, "ca_certs": self._ca_file}
        self._session = Official([self._address()], headers=resolved(self._headers), max_retries=0, **more)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        from opensearchpy.exceptions import SerializationError, TransportError

        try:
            yield
        except SerializationError as error:
            raise TransientError(f"the answer is not JSON: {told(error, 300)}") from error
        except AttributeError as error:  # raised by the client for an error that is not a JSON object
            raise TransientError(f"its error cannot be read: {error}") from error
        except TransportError as error:  # with SSLError
            if not isinstance(error.status_code, int):
                raise fault_of_connection(f"{type(error).__name__}: {told(error.error)}") from error
            raise fault_of_status(error.status_code, told(error, 300), {}) from error


class Elasticsearch(ElasticRetriever):
    """An index on Elasticsearch: one that is made and filled from the catalog, or an existing one.

    Options and behaviour are those of `opensearch`. A Retry-After is waited for. The client's major version must not
    be above the server's: for a server of version 8, install `elasticsearch<9`.
    """

    engine: ClassVar[str] = "elasticsearch"
    library: ClassVar[str] = "elasticsearch"

    def _connect(self) -> None:
        from elasticsearch import Elasticsearch as Official

        logging.getLogger("elastic_transport").setLevel(logging.ERROR)
        more: dict[str, Any] = {"request_timeout": self._timeout, "connections_per_node": self._threads}
        more |= {"ca_certs": self._ca_file} if self._ca_file else {}
        self._session = Official([self._address()], headers=resolved(self._headers), max_retries=0, **more)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        from elastic_transport import SerializationError, TransportError
        from elasticsearch import ApiError

        try:
            yield
        except SerializationError as error:
            raise TransientError(f"the answer is not JSON: {told(error, 300)}") from error
        except TransportError as error:  # with TlsError
            # Its str() may be "TLS error" alone.
            raise fault_of_connection(f"{type(error).__name__}: {told(error.message)}") from error
        except ApiError as error:
            raise fault_of_status(error.meta.status, told(error, 300), error.meta.headers) from error
