"""What is behind the paths of the service: searches joined into batches, and metrics for Prometheus."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeAlias

import numpy as np
from prometheus_client import Counter, Gauge, Histogram

from retrievers.base import Hits, Query
from retrievers.errors import EngineError, MissingAnswers
from retrievers.service.paths import Metrics

Search: TypeAlias = Callable[[list[Query], int], Hits]


class QueueFull(Exception):  # noqa: N818 - it says what is the matter
    """Too many searches wait."""


class Job(NamedTuple):
    """A search that waits for its hits."""

    queries: Sequence[Query]
    k: int
    hits: asyncio.Future[Hits]


class Batcher:
    """Joins searches that arrive within a window, or while another runs, into one; used in one event loop.

    Each search ends in its own hits or its own error: when a joined search fails, each of its searches is made again
    alone. Only one search runs at a time.

    Args:
        search: Searches; runs in a thread.
        window: Seconds to wait for more after the first search; 0 joins only what arrived while another ran.
        waiting: How many searches may wait.
        places: The largest number of places (queries times k) in a joined search.
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
        """Ends the thread after its search."""
        self._thread.shutdown(wait=False)

    def _next(self) -> list[Job]:
        """The jobs that are searched together: the first, and those after it that fit."""
        jobs, places = [self._jobs.popleft()], 0
        while self._jobs:
            places += len(jobs[-1].queries) * jobs[-1].k
            if places + len(self._jobs[0].queries) * self._jobs[0].k > self._places:
                break
            jobs.append(self._jobs.popleft())
        else:
            self._came.clear()
        return [job for job in jobs if not job.hits.done()]  # some may have been given up

    async def _answer(self, jobs: Sequence[Job], k: int) -> None:
        queries = list(dict.fromkeys(query for job in jobs for query in job.queries))
        found = asyncio.get_running_loop().run_in_executor(self._thread, self._search, queries, k)
        await asyncio.wait([found])
        error = found.exception()
        if error is None:
            _spread(jobs, queries, found.result(), {})
        elif isinstance(error, MissingAnswers):
            _spread(jobs, queries, error.hits, error.faults)
        else:
            for job in jobs:
                if isinstance(error, ValueError) and len(jobs) > 1:
                    await self._answer([job], k)
                else:
                    _end(job, error)


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


class SearchMetrics(Metrics):
    """The metrics of searches; `stats` returns the retriever's own numbers, by name."""

    def __init__(self, waiting: Callable[[], int], stats: Callable[[], Mapping[str, float]]) -> None:
        super().__init__("search", waiting)
        self.queries = Counter("recr1_queries", "Queries that were answered", registry=self.registry)
        what = "Different queries per search of the retriever"
        self.batches = Histogram("recr1_batch_queries", what, registry=self.registry, buckets=SIZES)
        self._own = Gauge("recr1_retriever", "The retriever's own numbers", ["name"], registry=self.registry)
        self._stats = stats

    def text(self) -> bytes:
        """All metrics."""
        for name, value in self._stats().items():
            self._own.labels(name).set(value)
        return super().text()
