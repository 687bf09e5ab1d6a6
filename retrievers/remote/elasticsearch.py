"""Elasticsearch, through its official client."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

from retrievers.errors import PermanentError, TransientError
from retrievers.remote.client import fault_of_status
from retrievers.remote.elastic import Client, ElasticRetriever, Way


class Elasticsearch(ElasticRetriever):
    """An index on Elasticsearch: one that is made and filled from the catalog, or one that is there.

    Options and behaviour are those of `opensearch`. A Retry-After is waited for. The client's major version must not
    be above the server's: for a server of version 8, install `elasticsearch<9`.

    Raises:
        ValueError: For an option that cannot be used, with what can.
        EngineError: Where the index cannot be made or found.
    """

    engine: ClassVar[str] = "elasticsearch"
    library: ClassVar[str] = "elasticsearch"

    def _connect(self, way: Way) -> Client:
        return _Client(way)


class _Client:
    """The six calls on the client `elasticsearch`, whose own retries are off: `EngineClient` has them."""

    def __init__(self, way: Way) -> None:
        from elasticsearch import Elasticsearch as Official

        trust: dict[str, Any] = {"ca_certs": way.ca_certs} if way.ca_certs else {}
        self._way = way
        self._official = Official(
            [way.url],
            headers=way.headers.sent(),
            request_timeout=way.timeout,
            max_retries=0,
            connections_per_node=way.threads,
            **trust,
        )

    def create(self, index: str, body: dict[str, Any]) -> bool:
        from elasticsearch import BadRequestError

        with self._faults():
            try:
                self._official.indices.create(index=index, **body)
            except BadRequestError as error:
                if error.error == "resource_already_exists_exception":
                    return False
                raise
        return True

    def mapping(self, index: str) -> Mapping[str, Any]:
        with self._faults():
            found: Mapping[str, Any] = self._official.indices.get_mapping(index=index)[index]["mappings"]
        return found

    def remember(self, index: str, meta: dict[str, Any]) -> None:
        with self._faults():
            self._official.indices.put_mapping(index=index, meta=meta)

    def bulk(self, index: str, operations: list[dict[str, Any]]) -> Mapping[str, Any]:
        with self._faults():
            answer: Mapping[str, Any] = self._official.bulk(index=index, operations=operations).body
        return answer

    def count(self, index: str, *, refresh: bool) -> int:
        with self._faults():
            if refresh:
                self._official.indices.refresh(index=index)
            return int(self._official.count(index=index)["count"])

    def search(self, index: str, body: dict[str, Any]) -> Mapping[str, Any]:
        with self._faults():
            answer: Mapping[str, Any] = self._official.search(
                index=index, body=body, allow_partial_search_results=False
            ).body
        return answer

    @contextmanager
    def _faults(self) -> Iterator[None]:
        """The client's errors as ours."""
        from elastic_transport import SerializationError, TlsError, TransportError
        from elasticsearch import ApiError

        try:
            yield
        except TlsError as error:
            raise PermanentError(f"{type(error).__name__}: {error}") from error
        except SerializationError as error:
            raise TransientError(f"the answer is no JSON: {str(error)[:300]}") from error
        except TransportError as error:
            raise TransientError(f"{type(error).__name__}: {error}") from error
        except ApiError as error:
            status = error.meta.status
            what = f"status {status}: {self._way.headers.without_secrets(str(error))[:300]}"
            raise fault_of_status(status, what, error.meta.headers.get("retry-after")) from error
