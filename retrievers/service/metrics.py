"""What the service counts, as Prometheus reads it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SIZES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)


class Numbers:
    """The metrics of one service.

    - `recr1_search_seconds`: how long requests took, from their headers to the answer.
    - `recr1_requests_total`: searches by the status of their answer.
    - `recr1_queries_total`: queries that were answered.
    - `recr1_batch_queries`: different queries per search of the retriever.
    - `recr1_waiting`: searches that wait.
    - `recr1_retriever`: the retriever's own `stats` by name; of `cached`, `hit_rate_total` and others.

    Args:
        waiting: Tells how many searches wait.
    """

    media_type = CONTENT_TYPE_LATEST

    def __init__(self, waiting: Callable[[], int]) -> None:
        self._registry = CollectorRegistry()
        self._seconds = Histogram("recr1_search_seconds", "Seconds of a request", registry=self._registry)
        self._requests = Counter("recr1_requests", "Searches by status", ["status"], registry=self._registry)
        self._queries = Counter("recr1_queries", "Queries that were answered", registry=self._registry)
        self._batches = Histogram(
            "recr1_batch_queries",
            "Different queries per search of the retriever",
            registry=self._registry,
            buckets=SIZES,
        )
        Gauge("recr1_waiting", "Searches that wait", registry=self._registry).set_function(waiting)
        self._stats = Gauge("recr1_retriever", "What the retriever counts", ["name"], registry=self._registry)

    def answered(self, status: int, seconds: float) -> None:
        """A request got its answer."""
        self._requests.labels(str(status)).inc()
        self._seconds.observe(seconds)

    def queries(self, count: int) -> None:
        """So many queries were answered."""
        self._queries.inc(count)

    def batch(self, size: int) -> None:
        """The retriever was asked for so many queries at once."""
        self._batches.observe(size)

    def text(self, stats: Mapping[str, float]) -> bytes:
        """All metrics, with the retriever's own as they are now."""
        for name, value in stats.items():
            self._stats.labels(name).set(value)
        return generate_latest(self._registry)
