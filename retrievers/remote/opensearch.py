"""OpenSearch and Elasticsearch, each through its official client."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

from retrievers.errors import PermanentError, TransientError
from retrievers.remote.client import fault_of_status
from retrievers.remote.elastic import ElasticRetriever


class OpenSearch(ElasticRetriever):
    """An index on OpenSearch: one that is made and filled from the catalog, or an existing one.

    A search is one request per query, several at a time. Every shard must answer: a partial answer is an error, tried
    again and then raised. So is an answer with ids that the catalog does not have. A blank query finds nothing and
    is not sent. Searching is safe from several threads. The client does not return Retry-After; a transient error is
    tried again with growing pauses.

    Args:
        catalog: What is searched.
        url: The address of a node or a load balancer.
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
        headers: Sent with each request. `${NAME}` in a value is read from the environment.
        ca_certs: A file with the certificates to trust; null trusts the usual ones.
        timeout: Seconds that the engine may be silent before and within an answer.
        attempts: How often one request is sent before its error is raised, with growing pauses.
        rate: Requests per second of each process; null for no limit.
        threads: Requests at the same time.
        cooldown: Seconds without requests after three requests in a row failed in every attempt.
        max_chars: A longer query is cut here; null: 1024, the words that an engine takes, over the number of fields.

    Raises `EngineError` if the index cannot be made or found.
    """

    engine: ClassVar[str] = "opensearch"
    library: ClassVar[str] = "opensearchpy"

    def _connect(self) -> None:
        from opensearchpy import OpenSearch as Official

        more: dict[str, Any] = {"timeout": self._timeout, "pool_maxsize": self._threads, "ca_certs": self._ca_certs}
        self._session = Official([self._url], headers=self._headers.sent(), max_retries=0, **more)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        from opensearchpy.exceptions import SerializationError, SSLError, TransportError

        try:
            yield
        except SSLError as error:
            raise PermanentError(f"{type(error).__name__}: {error}") from error
        except SerializationError as error:
            raise TransientError(f"the answer is not JSON: {str(error)[:300]}") from error
        except TransportError as error:
            if not isinstance(error.status_code, int):
                raise TransientError(f"{type(error).__name__}: {error.error}") from error
            what = f"status {error.status_code}: {self._headers.without_secrets(str(error))[:300]}"
            raise fault_of_status(error.status_code, what, None) from error


class Elasticsearch(ElasticRetriever):
    """An index on Elasticsearch: one that is made and filled from the catalog, or an existing one.

    Options and behaviour are those of `opensearch`. A Retry-After is waited for. The client's major version must not
    be above the server's: for a server of version 8, install `elasticsearch<9`.
    """

    engine: ClassVar[str] = "elasticsearch"
    library: ClassVar[str] = "elasticsearch"

    def _connect(self) -> None:
        from elasticsearch import Elasticsearch as Official

        more: dict[str, Any] = {"request_timeout": self._timeout, "connections_per_node": self._threads}
        more |= {"ca_certs": self._ca_certs} if self._ca_certs else {}
        self._session = Official([self._url], headers=self._headers.sent(), max_retries=0, **more)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        from elastic_transport import SerializationError, TlsError, TransportError
        from elasticsearch import ApiError

        try:
            yield
        except TlsError as error:
            raise PermanentError(f"{type(error).__name__}: {error}") from error
        except SerializationError as error:
            raise TransientError(f"the answer is not JSON: {str(error)[:300]}") from error
        except TransportError as error:
            raise TransientError(f"{type(error).__name__}: {error}") from error
        except ApiError as error:
            status = error.meta.status
            what = f"status {status}: {self._headers.without_secrets(str(error))[:300]}"
            raise fault_of_status(status, what, error.meta.headers.get("retry-after")) from error
