"""What every engine behind a network shares: patience, limits, and how its answers become hits.

A remote retriever asks once per query, several at a time, through a `Line`. A fault that may pass (`Passing`: no
connection, a time-out, 429, 5xx, an answer that breaks off) is tried again; one that will not (`Refused`: a wrong
token, an answer of another shape) is not. Either way the search ends in every answer or in a `RemoteError`: no fault
becomes an empty list or a number.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from time import monotonic
from typing import Any, TypeAlias, TypeVar

import numpy as np

from retrievers.base import Catalog, Hits, Query
from retrievers.topk import check_k, no_hits, topk

Answer: TypeAlias = Sequence[tuple[str, float]]
"""What an engine found for one query: ids of items, each with its score."""

In = TypeVar("In")
Out = TypeVar("Out")

FIRST_WAIT = 0.25
"""Seconds before the second attempt; doubled for each further one, plus up to as much at random."""
LONGEST_BACKOFF = 8.0
LONGEST_RETRY_AFTER = 60.0
"""An engine that asks to be left alone for longer is given up."""
FAULTS_IN_A_ROW = 3
"""Questions that outlived their attempts, one after the other, before the engine is left alone for a while."""


class Passing(Exception):  # noqa: N818 - it says that a fault may pass
    """One attempt failed in a way that the next may not; `retry_after` is how many seconds the engine asked for."""

    def __init__(self, what: str, retry_after: float = 0.0) -> None:
        super().__init__(what)
        self.retry_after = retry_after


class Refused(Exception):  # noqa: N818 - as above
    """The engine answered, and will answer the same again: a wrong address, token, query or answer."""


class RemoteError(ConnectionError):
    """An engine gave no usable answer: which engine, where, after how many attempts, and the last cause."""

    def __init__(self, engine: str, address: str, attempts: int, cause: str) -> None:
        tried = "not asked" if attempts == 0 else f"after {attempts} attempt{'s' if attempts > 1 else ''}"
        super().__init__(f"{engine} at {address}, {tried}: {cause}")
        self.engine, self.address, self.attempts, self.cause = engine, address, attempts, cause

    def __reduce__(self) -> tuple[type[RemoteError], tuple[str, str, int, str]]:
        return type(self), (self.engine, self.address, self.attempts, self.cause)


class Pace:
    """Spaces out what several threads start: so many a second, and nothing while the engine asked for quiet.

    Libraries count requests in a window of time, and cannot be told of a Retry-After; this is both.
    """

    def __init__(self, rate: float | None) -> None:
        self._between = 1 / rate if rate else 0.0
        self._free_at = 0.0
        self._lock = threading.Lock()

    def wait(self, stop: threading.Event) -> bool:
        """Blocks until the caller may start; True if `stop` was set, so that it should not."""
        with self._lock:
            now = monotonic()
            start = max(now, self._free_at)
            self._free_at = start + self._between
        return stop.wait(start - now) if start > now else stop.is_set()

    def pause(self, seconds: float) -> None:
        """Nothing starts for so many seconds, but for what was let go already."""
        with self._lock:
            self._free_at = max(self._free_at, monotonic() + seconds)


class Line:
    """The way to one engine. Safe to use from several threads; a pickled copy starts afresh.

    Args:
        engine: The name of the retriever, for messages.
        address: Where the engine is, without secrets, for messages.
        attempts: How often a question is asked before its fault is raised.
        rate: Requests a second, in this process; None for no limit.
        threads: Questions that are asked at a time.
        cooldown: Seconds that an engine is left alone after `FAULTS_IN_A_ROW`; then one search tries again.
    """

    def __init__(
        self, engine: str, address: str, *, attempts: int, rate: float | None, threads: int, cooldown: float
    ) -> None:
        for library in ("pybreaker", "tenacity"):
            require(library, engine, "remote")
        problems = line_problems({"attempts": attempts, "rate": rate, "threads": threads, "cooldown": cooldown})
        if problems:
            raise ValueError(problems[0])
        self.engine, self.address = engine, address
        self._options = {"attempts": attempts, "rate": rate, "threads": threads, "cooldown": cooldown}
        self._attempts, self._threads, self._cooldown = attempts, threads, cooldown
        self._pace = Pace(rate)
        self._breaker = self._new_breaker()
        self._last_cause = ""

    def __reduce__(self) -> tuple[Callable[..., Line], tuple[str, str, dict[str, Any]]]:
        return _line, (self.engine, self.address, self._options)

    def ask_all(self, ask: Callable[[In], Out], questions: Sequence[In]) -> list[Out]:
        """The answer to each question, asked by `ask`, which raises `Passing` or `Refused` for a fault.

        Raises:
            RemoteError: For the first question without an answer; those not yet asked are left out.
        """
        if not questions:
            return []
        stop = threading.Event()
        with ThreadPoolExecutor(min(self._threads, len(questions)), thread_name_prefix=self.engine) as pool:
            futures = [pool.submit(self._ask, ask, question, stop) for question in questions]
            try:
                done, _ = wait(futures, return_when=FIRST_EXCEPTION)
                failures = [failure for future in done if (failure := future.exception())]
            finally:  # after Ctrl-C too: nobody waits for what nobody will read
                stop.set()
                pool.shutdown(wait=False, cancel_futures=True)
        if failures:
            raise failures[0]
        return [future.result() for future in futures]

    def ask(self, ask: Callable[[], Out]) -> Out:
        """One answer, as `ask_all` gets them."""
        return self.ask_all(lambda _: ask(), [None])[0]

    def error(self, cause: str, attempts: int = 1) -> RemoteError:
        """A fault of this engine, to be raised."""
        return RemoteError(self.engine, self.address, attempts, cause)

    def _ask(self, ask: Callable[[In], Out], question: In, stop: threading.Event) -> Out:
        import tenacity
        from pybreaker import CircuitBreakerError

        attempts = 0

        def once() -> Out:
            nonlocal attempts
            if self._pace.wait(stop):
                raise Passing("given up, because another question of the search failed")
            attempts += 1
            try:
                return ask(question)
            except Passing as fault:
                if 0 < fault.retry_after <= LONGEST_RETRY_AFTER:
                    self._pace.pause(fault.retry_after)
                raise

        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(_worth_another),
            stop=tenacity.stop_any(tenacity.stop_after_attempt(self._attempts), tenacity.stop_when_event_set(stop)),
            wait=tenacity.wait_exponential_jitter(initial=FIRST_WAIT, max=LONGEST_BACKOFF, jitter=FIRST_WAIT),
            sleep=tenacity.sleep_using_event(stop),
            reraise=True,
        )
        try:
            with self._breaker.calling():  # not `call`, which would let one thread in at a time
                return retrying(once)
        except CircuitBreakerError:
            quiet = f"left alone for {self._cooldown:g} s after {FAULTS_IN_A_ROW} faults in a row"
            raise self.error(f"{quiet}; the last one: {self._last_cause}", 0) from None
        except (Passing, Refused) as fault:
            self._last_cause = str(fault)
            raise self.error(str(fault), attempts) from fault

    def _new_breaker(self) -> Any:
        from pybreaker import CircuitBreaker

        return CircuitBreaker(
            fail_max=FAULTS_IN_A_ROW,
            reset_timeout=self._cooldown,
            exclude=[lambda fault: not isinstance(fault, Passing)],  # an engine that refuses is up
            throw_new_error_on_trip=False,
        )


def search_remotely(
    line: Line, catalog: Catalog, queries: Sequence[Query], k: int, ask: Callable[[str], Answer], *, max_chars: int
) -> Hits:
    """Hits of shape (len(queries), k), with one question for each query that is not blank.

    Raises `ValueError` for a query that is not text or a k below 1, and `RemoteError` as `Line` and `hits_of` do.
    """
    check_k(k)
    texts = [sendable(query, max_chars) for query in queries]
    asked = [place for place, text in enumerate(texts) if text]
    answers: list[Answer] = [()] * len(texts)
    for place, answer in zip(asked, line.ask_all(ask, [texts[place] for place in asked]), strict=True):
        answers[place] = answer
    return hits_of(line, catalog, answers, k)


def sendable(query: Query, max_chars: int) -> str:
    """A query as every engine takes it: no lone surrogates, no control characters, no blanks at its ends.

    Of a text longer than `max_chars`, the words that fit are kept: engines refuse queries of thousands of words, and a
    policy that rambles must not stop a run. Raises `ValueError` for a query that is not text.
    """
    if not isinstance(query, str):
        raise ValueError(f"a remote engine searches text, not a {type(query).__name__}: {query!r}")
    text = query.strip()[: max_chars + 1]
    if len(text) > max_chars:
        cut = text.rsplit(maxsplit=1)
        text = cut[0] if len(cut) > 1 and len(cut[0]) <= max_chars else text[:max_chars]
    text = "".join(" " if ord(sign) < 32 or 0xD800 <= ord(sign) < 0xE000 else sign for sign in text)
    return text.strip()


def hits_of(line: Line, catalog: Catalog, answers: Sequence[Answer], k: int) -> Hits:
    """Hits of shape (len(answers), k): ids become rows, and equal scores are put in the order of rows.

    Raises:
        RemoteError: For ids that are not in the catalog, with how many; an id twice in one answer; a score that is NaN
            or infinite. Each means that the index and the catalog are not of the same data, or that an option is wrong.
    """
    width = max(map(len, answers), default=0)
    if width == 0:
        return no_hits(len(answers), k)
    ids = [item for answer in answers for item, _ in answer]
    unknown = [item for item in ids if item not in catalog]
    if unknown:
        raise line.error(
            f"{len(unknown)} of the {len(ids)} ids in its answers are not in the catalog, {unknown[0]!r} for one: "
            "the engine holds other data, or its ids stand in another field"
        )
    rows_QM = np.full((len(answers), width), -1, np.int32)
    scores_QM = np.full((len(answers), width), -np.inf, np.float32)
    for place, answer in enumerate(answers):
        # Columns ascend with the rows in them, so that a tie for the lower column is one for the lower row.
        found = sorted((catalog.row(item), score) for item, score in answer)
        rows_QM[place, : len(found)] = [row for row, _ in found]
        scores_QM[place, : len(found)] = [score for _, score in found]
    _check_found(line, catalog, rows_QM, scores_QM)
    columns_QK, scores_QK = topk(scores_QM, k, rows_QM >= 0)
    rows_QK = np.take_along_axis(rows_QM, np.maximum(columns_QK, 0), axis=1)
    return Hits(np.where(columns_QK >= 0, rows_QK, np.int32(-1)), scores_QK)


def line_problems(options: Mapping[str, Any]) -> list[str]:
    """What is wrong with the options that every remote retriever has, before anything is built."""
    problems = [
        f"{name}: must be at least 1, got {options[name]}"
        for name in ("attempts", "threads", "max_chars")
        if options.get(name, 1) < 1
    ]
    for name in ("timeout", "rate", "cooldown"):
        value = options.get(name)
        if value is not None and not 0 < value < math.inf:
            problems.append(f"{name}: must be above 0 and finite, got {value}")
    return problems


def require(library: str, engine: str, extra: str) -> None:
    """Raises `ValueError` that says what to install where a library is missing."""
    from importlib.util import find_spec

    if find_spec(library) is None:
        raise ValueError(
            f"the retriever '{engine}' needs the library '{library}'. Install it with: pip install 'recr1[{extra}]'"
        )


def _line(engine: str, address: str, options: dict[str, Any]) -> Line:
    return Line(engine, address, **options)


def _worth_another(fault: BaseException) -> bool:
    return isinstance(fault, Passing) and fault.retry_after <= LONGEST_RETRY_AFTER


def _check_found(line: Line, catalog: Catalog, rows_QM: np.ndarray, scores_QM: np.ndarray) -> None:
    twice = (rows_QM[:, 1:] == rows_QM[:, :-1]) & (rows_QM[:, 1:] >= 0)
    if twice.any():
        row = rows_QM[:, 1:][twice][0]
        raise line.error(f"it found the item {catalog.ids[row]!r} twice for one query")
    odd = ~np.isfinite(scores_QM) & (rows_QM >= 0)
    if odd.any():
        row, score = rows_QM[odd][0], scores_QM[odd][0]
        raise line.error(f"it gave the item {catalog.ids[row]!r} the score {score}, which has no place in a ranking")
