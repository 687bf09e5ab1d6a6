"""OpenSearch, through its official client."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

from retrievers.errors import PermanentError, TransientError
from retrievers.remote.client import fault_of_status
from retrievers.remote.elastic import ElasticRetriever


class OpenSearch(ElasticRetriever):
    """An index on OpenSearch: one that is made and filled from the catalog, or one that is there.

    A search is one request per query, several at a time. Every shard must answer: a partial answer is an error, tried
    again and then raised. So is an answer with ids that the catalog does not have. A blank query finds nothing and
    is not sent. Searching is safe from several threads.

    The client does not return Retry-After; a transient error is tried again with growing pauses.

    Args:
        catalog: What is searched.
        url: The address of a node or a load balancer.
        index: An index that exists, which is only read; null makes one of the catalog, named after its content and
            these options, and finds it again the next time. Ranks that start together fill it once.
        fields: Fields to search, with their weights: of the catalog for an index made here (null: its `texts`), of the
            index otherwise.
        id_field: The field of an existing index that holds the catalog's id; null: its `_id`.
        query: The query to send instead, with `{query}` in its texts; null matches any word in any field and adds the
            weighted scores of the fields.
        tiebreak: A field of an existing index that orders items with equal scores, such as a number; null leaves it to
            the engine. An index made here has the catalog's order.
        k1: BM25's parameter, of an index made here; an existing one has its own, as for the next two.
        b: The other one.
        analyzer: How the engine cuts text into words.
        headers: Sent with each request. `${NAME}` in a value is read from the environment, so that no key is in
            a recipe, run folder or message.
        ca_certs: A file with the certificates to trust; null trusts the usual ones.
        timeout: Seconds that the engine may be silent before and within an answer.
        attempts: How often one request is sent before its error is raised, with growing pauses.
        rate: Requests per second of each process; null for no limit.
        threads: Requests at the same time.
        cooldown: Seconds without requests after three requests in a row failed in every attempt.
        max_chars: A longer query is cut here; null: 1024 divided by the number of fields, so that no query has more
            words than an engine takes.

    Raises:
        ValueError: For an option that cannot be used, with what can.
        EngineError: Where the index cannot be made or found.
    """

    engine: ClassVar[str] = "opensearch"
    library: ClassVar[str] = "opensearchpy"

    def _open(self) -> Any:
        from opensearchpy import OpenSearch as Official

        return Official(
            [self._url],
            headers=self._headers.sent(),
            timeout=self._timeout,
            max_retries=0,
            pool_maxsize=self._threads,
            ca_certs=self._ca_certs,
        )

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
