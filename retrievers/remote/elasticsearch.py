"""Elasticsearch, through its official client."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

from retrievers.errors import PermanentError, TransientError
from retrievers.remote.client import fault_of_status
from retrievers.remote.elastic import ElasticRetriever


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

    def _open(self) -> Any:
        from elasticsearch import Elasticsearch as Official

        trust: dict[str, Any] = {"ca_certs": self._ca_certs} if self._ca_certs else {}
        return Official(
            [self._url],
            headers=self._headers.sent(),
            request_timeout=self._timeout,
            max_retries=0,
            connections_per_node=self._threads,
            **trust,
        )

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
