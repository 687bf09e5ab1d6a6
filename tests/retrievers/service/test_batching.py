"""Searches that are joined: who asks together, and that nobody gets another's hits or another's error."""

from __future__ import annotations

import asyncio
import threading

import numpy as np
import pytest

from retrievers.base import Hits
from retrievers.service.batching import Batcher, QueueFull


class Numbers:
    """Finds the query itself, a number; keeps what it was asked; waits for `go` if told to."""

    def __init__(self):
        self.calls: list[tuple[list[int], int]] = []
        self.go = threading.Event()
        self.go.set()

    def __call__(self, queries, k):
        self.calls.append((queries, k))
        assert self.go.wait(10)
        if any(query < 0 for query in queries):
            raise ValueError(f"{min(queries)} is below 0")
        if 13 in queries:
            raise RuntimeError("bad luck")
        rows = np.repeat(np.array(queries, np.int32)[:, None], k, axis=1)
        return Hits(rows, rows.astype(np.float32))


def searched(numbers, *searches, window=0.05, waiting=100, places=10_000):
    """What becomes of searches that come at once, each (queries, k)."""

    async def main():
        batcher = Batcher(numbers, window=window, waiting=waiting, places=places)
        work = asyncio.create_task(batcher.run())
        found = await asyncio.gather(*(batcher.search(*search) for search in searches), return_exceptions=True)
        work.cancel()
        batcher.close()
        return [hits if isinstance(hits, BaseException) else hits.rows_QK.tolist() for hits in found]

    return asyncio.run(main())


def test_searches_within_the_window_are_one_over_their_different_queries():
    numbers = Numbers()
    assert searched(numbers, ([1, 2], 2), ([2, 3, 2], 2), ([4], 2)) == [
        [[1, 1], [2, 2]],
        [[2, 2], [3, 3], [2, 2]],
        [[4, 4]],
    ]
    assert numbers.calls == [([1, 2, 3, 4], 2)]


def test_searches_of_another_k_are_apart():
    numbers = Numbers()
    assert searched(numbers, ([1], 1), ([1], 2), ([2], 1)) == [[[1]], [[1, 1]], [[2]]]
    assert numbers.calls == [([1, 2], 1), ([1], 2)]


def test_no_queries_are_a_search_too():
    assert searched(Numbers(), ([], 3), ([5], 3)) == [[], [[5, 5, 5]]]


def test_a_refused_query_hurts_only_who_asked_it():
    numbers = Numbers()
    found = searched(numbers, ([1], 1), ([2, -7], 1), ([3], 1))
    assert found[0] == [[1]] and found[2] == [[3]]
    assert isinstance(found[1], ValueError) and "-7 is below 0" in str(found[1])
    assert numbers.calls == [([1, 2, -7, 3], 1), ([1], 1), ([2, -7], 1), ([3], 1)]


def test_a_failure_is_told_to_all_and_ends_nothing():
    numbers = Numbers()
    found = searched(numbers, ([1], 1), ([13], 1))
    assert [type(error) for error in found] == [RuntimeError, RuntimeError]
    assert searched(numbers, ([2], 1)) == [[[2]]]


def test_large_searches_are_not_joined():
    numbers = Numbers()
    searched(numbers, ([1, 2], 3), ([3, 4], 3), ([5, 6], 3), places=12)
    assert numbers.calls == [([1, 2, 3, 4], 3), ([5, 6], 3)]


def test_a_search_larger_than_a_batch_is_made_alone():
    assert searched(Numbers(), ([1, 2, 3], 2), places=1) == [[[1, 1], [2, 2], [3, 3]]]


def test_more_than_may_wait_are_sent_away_at_once():
    found = searched(Numbers(), *[([number], 1) for number in range(5)], waiting=3)
    assert found[:3] == [[[0]], [[1]], [[2]]]
    assert [type(error) for error in found[3:]] == [QueueFull, QueueFull]


def test_what_comes_while_a_search_runs_is_joined_without_a_window():
    numbers = Numbers()

    async def main():
        batcher = Batcher(numbers, window=0, waiting=100, places=1000)
        work = asyncio.create_task(batcher.run())
        numbers.go.clear()
        first = asyncio.create_task(batcher.search([1], 1))
        while not numbers.calls:
            await asyncio.sleep(0.001)
        others = [asyncio.create_task(batcher.search([number], 1)) for number in (2, 3, 4)]
        await asyncio.sleep(0.01)
        assert batcher.waiting == 3
        numbers.go.set()
        await asyncio.gather(first, *others)
        work.cancel()
        batcher.close()

    asyncio.run(main())
    assert numbers.calls == [([1], 1), ([2, 3, 4], 1)]


def test_a_search_that_was_given_up_is_not_made():
    numbers = Numbers()

    async def main():
        batcher = Batcher(numbers, window=0.02, waiting=100, places=1000)
        work = asyncio.create_task(batcher.run())
        gone = asyncio.create_task(batcher.search([1], 1))
        stays = asyncio.create_task(batcher.search([2], 1))
        await asyncio.sleep(0)
        gone.cancel()
        assert (await stays).rows_QK.tolist() == [[2]]
        with pytest.raises(asyncio.CancelledError):
            await gone
        work.cancel()
        batcher.close()

    asyncio.run(main())
    assert numbers.calls == [([2], 1)]
