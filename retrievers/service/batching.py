"""What is behind the paths of the service: searches joined into batches, and metrics for Prometheus."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeAlias

import numpy as np
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from retrievers.base import Hits, Query
from retrievers.errors import EngineError, MissingAnswers

Search: TypeAlias = Callable[[list[Query], int], Hits]


class QueueFull(Exception):  # noqa: N818 - it says what is the matter
    """More searches wait than are let in."""


class Job(NamedTuple):
    """A search that waits, and where its hits are awaited."""

    queries: Sequence[Query]
    k: int
    hits: asyncio.Future[Hits]

    @property
    def places(self) -> int:
        """How many places its hits have."""
        return len(self.queries) * self.k


class Batcher:
    """Joins searches that come within a window, or while another runs, into one; lives in one event loop.

    Each search ends in its own hits or its own error: when a joined search fails, each of its
    searches is made again alone. Only one search runs at a time.

    Args:
        search: Searches; runs in a thread.
        window: Seconds to wait for more after the first search came; 0 joins only what came while another ran.
        waiting: How many searches may wait.
        places: How many places (queries times k) the hits of searches that are joined have at most.
    """

    def __init__(self, search: Search, *, window: float, waiting: int, places: int) -> None:
        self._search, self._window, self._most, self._places = search, window, waiting, places
        self._jobs: deque[Job] = deque()
        self._came = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="search")

    @property
    def waiting(self) -> int:
        """How many searches wait now."""
        return len(self._jobs)

    async def search(self, queries: Sequence[Query], k: int) -> Hits:
        """Hits of shape (len(queries), k). Raises `QueueFull`, and what the retriever raises."""
        if len(self._jobs) >= self._most:
            raise QueueFull
        job = Job(queries, k, asyncio.get_running_loop().create_future())
        self._jobs.append(job)
        self._came.set()
        return await job.hits

    async def run(self) -> None:
        """Searches until it is cancelled."""
        while True:
            await self._came.wait()
            await asyncio.sleep(self._window)
            jobs = self._next()
            for k in dict.fromkeys(job.k for job in jobs):
                await self._answer([job for job in jobs if job.k == k], k)

    def close(self) -> None:
        """Lets the thread go."""
        self._thread.shutdown(wait=False)

    def _next(self) -> list[Job]:
        """The jobs that are searched together: the first, and those after it that fit."""
        jobs = [self._jobs.popleft()]
        places = jobs[0].places
        while self._jobs and places + self._jobs[0].places <= self._places:
            places += self._jobs[0].places
            jobs.append(self._jobs.popleft())
        if not self._jobs:
            self._came.clear()
        return [job for job in jobs if not job.hits.done()]  # some may have been given up

    async def _answer(self, jobs: Sequence[Job], k: int) -> None:
        queries = list(dict.fromkeys(query for job in jobs for query in job.queries))
        found = asyncio.get_running_loop().run_in_executor(self._thread, self._search, queries, k)
        await asyncio.wait([found])
        error = found.exception()
        if isinstance(error, ValueError) and len(jobs) > 1:
            for job in jobs:
                await self._answer([job], k)
        elif isinstance(error, MissingAnswers):
            _spread(jobs, queries, error.hits, error.faults)
        elif error is not None:
            for job in jobs:
                _end(job, error)
        else:
            _spread(jobs, queries, found.result(), {})


def _spread(jobs: Sequence[Job], queries: Sequence[Query], hits: Hits, faults: Mapping[int, EngineError]) -> None:
    """Gives each job the hits of its queries, and the faults of those that have no answer."""
    place_of = {query: place for place, query in enumerate(queries)}
    for job in jobs:
        places = np.array([place_of[query] for query in job.queries], np.intp)
        own = hits.of(places)
        missing = {at: faults[place] for at, place in enumerate(places.tolist()) if place in faults}
        if missing:
            _end(job, MissingAnswers(own, missing))
        elif not job.hits.done():
            job.hits.set_result(own)


def _end(job: Job, error: BaseException) -> None:
    if not job.hits.done():
        job.hits.set_exception(error)


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
        """This many queries were answered."""
        self._queries.inc(count)

    def batch(self, size: int) -> None:
        """The retriever was asked for this many queries at once."""
        self._batches.observe(size)

    def text(self, stats: Mapping[str, float]) -> bytes:
        """All metrics, with the retriever's own as they are now."""
        for name, value in stats.items():
            self._stats.labels(name).set(value)
        return generate_latest(self._registry)
