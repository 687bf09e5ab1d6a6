"""A client for one engine behind a network: attempts, their pace, and a circuit breaker."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from importlib.util import find_spec
from time import monotonic
from typing import Any, TypeVar
from urllib.parse import urlsplit

from retrievers.errors import EngineError, PermanentError, TransientError, redacted, told
from retrievers.options import PositiveFloat, PositiveInt, checked

In = TypeVar("In")
Out = TypeVar("Out")

FIRST_WAIT, LONGEST_BACKOFF = 0.25, 8.0
"""Seconds before the second attempt; doubled for each further one, plus up to as much at random."""
LONGEST_RETRY_AFTER = 60.0
"""No further attempt is made if the engine asks for a longer wait."""
FAULTS_IN_A_ROW = 3
"""Questions in a row that failed in every attempt, before the circuit breaker opens."""


class Pace:
    """A rate limit for several threads, which also waits as an engine asks (Retry-After)."""

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
        """Lets nothing start for this many seconds."""
        with self._lock:
            self._free_at = max(self._free_at, monotonic() + seconds)


@checked
class EngineClient:
    """Asks one engine. Safe to use from several threads; a pickled copy starts with a closed circuit breaker.

    Args:
        engine: The name of the retriever, for messages.
        address: Where the engine is, without secrets, for messages.
        attempts: How often a question is asked before its error is raised.
        rate: Requests per second of this process; None for no limit.
        threads: Questions that are asked at the same time.
        cooldown: Seconds for which the circuit breaker stays open after `FAULTS_IN_A_ROW`; then one question is tried.
    """

    def __init__(
        self,
        engine: str,
        address: str,
        *,
        attempts: PositiveInt,
        rate: PositiveFloat | None,
        threads: PositiveInt,
        cooldown: PositiveFloat,
    ) -> None:
        for library in ("pybreaker", "tenacity"):
            require(library, engine, "remote")
        self.engine, self.address = engine, address
        from pybreaker import CircuitBreaker

        self._options: dict[str, Any] = {"attempts": attempts, "rate": rate, "threads": threads, "cooldown": cooldown}
        self._attempts, self._threads, self._cooldown = attempts, threads, cooldown
        self._pace, self._last_cause = Pace(rate), ""
        self._breaker: Any = CircuitBreaker(
            fail_max=FAULTS_IN_A_ROW,
            reset_timeout=cooldown,
            exclude=[lambda fault: not isinstance(fault, TransientError)],  # an engine that answers is up
            throw_new_error_on_trip=False,
        )

    def __reduce__(self) -> tuple[Callable[..., EngineClient], tuple[str, str]]:
        return partial(EngineClient, **self._options), (self.engine, self.address)

    def ask_all(self, ask: Callable[[In], Out], questions: Sequence[In]) -> list[Out]:
        """The answer to each question, asked by `ask`, which may raise `TransientError` or `PermanentError`.

        Raises:
            EngineError: For the first question without an answer; the questions after it are not asked.
        """
        return self._in_threads(lambda question, stop: self._ask(ask, question, stop), questions)

    def ask_each(self, ask: Callable[[In], Out], questions: Sequence[In]) -> list[Out | EngineError]:
        """The answer to each question, or the error of its last attempt; one error does not end the others.

        An engine that is down costs the attempts of a few questions: after `FAULTS_IN_A_ROW` the rest are not asked.
        """

        def answer_or_fault(question: In, stop: threading.Event) -> Out | EngineError:
            try:
                return self._ask(ask, question, stop)
            except EngineError as fault:
                return fault

        return self._in_threads(answer_or_fault, questions)

    def ask(self, ask: Callable[[], Out]) -> Out:
        """One answer, as `ask_all` gets them."""
        return self.ask_all(lambda _: ask(), [None])[0]

    def error(self, cause: str, attempts: int = 1) -> EngineError:
        """An error of this engine, to be raised."""
        return EngineError(self.engine, self.address, attempts, cause)

    def _in_threads(self, job: Callable[[In, threading.Event], Out], questions: Sequence[In]) -> list[Out]:
        """What the job returns for each question; the first that raises stops the others."""
        stop, threads = threading.Event(), max(1, min(self._threads, len(questions)))
        with ThreadPoolExecutor(threads, thread_name_prefix=self.engine) as pool:
            futures = [pool.submit(job, question, stop) for question in questions]
            try:
                done, _ = wait(futures, return_when=FIRST_EXCEPTION)
                failures = [failure for future in done if (failure := future.exception())]
            finally:  # after Ctrl-C too
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
                raise TransientError("cancelled, because another question of the search failed")
            attempts += 1
            try:
                return ask(question)
            except TransientError as fault:
                if 0 < fault.retry_after <= LONGEST_RETRY_AFTER:
                    self._pace.pause(fault.retry_after)
                raise

        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(
                lambda fault: isinstance(fault, TransientError) and fault.retry_after <= LONGEST_RETRY_AFTER
            ),
            stop=tenacity.stop_any(tenacity.stop_after_attempt(self._attempts), tenacity.stop_when_event_set(stop)),
            wait=tenacity.wait_exponential_jitter(initial=FIRST_WAIT, max=LONGEST_BACKOFF, jitter=FIRST_WAIT),
            sleep=tenacity.sleep_using_event(stop),
            reraise=True,
        )
        try:
            with self._breaker.calling():  # not `call`, which would let one thread in at a time
                return retrying(once)
        except CircuitBreakerError:
            why = f"the circuit breaker is open for {self._cooldown:g} s after {FAULTS_IN_A_ROW} failures in a row"
            raise self.error(f"{why}; the last one: {self._last_cause}", 0) from None
        except (TransientError, PermanentError) as fault:
            self._last_cause = str(fault)
            whole = "".join(traceback.format_exception(fault.__cause__)) if fault.__cause__ else ""
            if redacted(whole) != whole:  # a traceback would show a secret
                fault.__cause__ = None
            raise self.error(str(fault), attempts) from fault


def fault_of_status(status: int, answer: str, headers: Mapping[str, str]) -> TransientError | PermanentError:
    """The error for an HTTP status above 299, to be raised, from what the engine says and its headers."""
    what, seconds = f"status {status}: {answer}", _seconds(headers.get("retry-after"))
    if 300 <= status < 400:
        place = urlsplit(headers.get("location") or "elsewhere")._replace(query="", fragment="").geturl()
        return PermanentError(f"status {status}: a redirect to {told(place)}, not followed: set that address instead")
    if seconds > LONGEST_RETRY_AFTER:
        what = f"it asks to wait {seconds:.0f} s, and recr1 waits at most {LONGEST_RETRY_AFTER:.0f} s; {what}"
    return TransientError(what, seconds) if status in (408, 425, 429) or status >= 500 else PermanentError(what)


def require(library: str, engine: str, extra: str) -> None:
    """Raises `ValueError` that says what to install where a library is missing."""
    if find_spec(library) is None:
        raise ValueError(
            f"the retriever '{engine}' needs the library '{library}'. Install it with: pip install 'recr1[{extra}]'"
        )


def _seconds(retry_after: str | None) -> float:
    """The seconds of a Retry-After header, which holds a number or a date; 0 where it cannot be read."""
    if retry_after is not None and retry_after.strip().isdecimal():
        return float(retry_after)
    try:
        when = parsedate_to_datetime(retry_after or "")
    except (ValueError, OverflowError):
        return 0.0
    return max(0.0, (when.replace(tzinfo=when.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
