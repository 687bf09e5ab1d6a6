"""The way to one engine behind a network: attempts, their pace, and when to leave it alone."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from time import monotonic
from typing import Any, TypeVar

from retrievers.remote.answers import Passing, Refused, RemoteError, line_problems, require

In = TypeVar("In")
Out = TypeVar("Out")

FIRST_WAIT = 0.25
"""Seconds before the second attempt; doubled for each further one, plus up to as much at random."""
LONGEST_BACKOFF = 8.0
LONGEST_RETRY_AFTER = 60.0
"""An engine that asks to be left alone for longer is given up."""
FAULTS_IN_A_ROW = 3
"""Questions that outlived their attempts, one after the other, before the engine is left alone for a while."""


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
        return self._in_threads(lambda question, stop: self._ask(ask, question, stop), questions)

    def ask_each(self, ask: Callable[[In], Out], questions: Sequence[In]) -> list[Out | RemoteError]:
        """The answer to each question, or the fault that outlived its attempts; one fault does not end the others.

        An engine that is gone costs the attempts of a few questions: after `FAULTS_IN_A_ROW` the rest are not asked.
        """

        def answer_or_fault(question: In, stop: threading.Event) -> Out | RemoteError:
            try:
                return self._ask(ask, question, stop)
            except RemoteError as fault:
                return fault

        return self._in_threads(answer_or_fault, questions)

    def ask(self, ask: Callable[[], Out]) -> Out:
        """One answer, as `ask_all` gets them."""
        return self.ask_all(lambda _: ask(), [None])[0]

    def error(self, cause: str, attempts: int = 1) -> RemoteError:
        """A fault of this engine, to be raised."""
        return RemoteError(self.engine, self.address, attempts, cause)

    def _in_threads(self, job: Callable[[In, threading.Event], Out], questions: Sequence[In]) -> list[Out]:
        """What the job gives for each question; the first that raises stops the others."""
        if not questions:
            return []
        stop = threading.Event()
        with ThreadPoolExecutor(min(self._threads, len(questions)), thread_name_prefix=self.engine) as pool:
            futures = [pool.submit(job, question, stop) for question in questions]
            try:
                done, _ = wait(futures, return_when=FIRST_EXCEPTION)
                failures = [failure for future in done if (failure := future.exception())]
            finally:  # after Ctrl-C too: nobody waits for what nobody will read
                stop.set()
                pool.shutdown(wait=False, cancel_futures=True)
        if failures:
            raise failures[0]
        return [future.result() for future in futures]

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


def _line(engine: str, address: str, options: dict[str, Any]) -> Line:
    return Line(engine, address, **options)


def _worth_another(fault: BaseException) -> bool:
    return isinstance(fault, Passing) and fault.retry_after <= LONGEST_RETRY_AFTER
