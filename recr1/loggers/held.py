"""Numbers that wait a few seconds for a service that takes several steps as cheaply as one.

For services whose records a run that goes on takes from `metrics.jsonl` again: what waits in a process that is killed
is lost there no more than what the service itself had not written yet.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any, TypeAlias

HOLD = 5.0
"""Seconds between two handings over: a service takes milliseconds each time, and a step may not take many."""

Send: TypeAlias = Callable[[int, dict[str, Any]], None]


class Held:
    """Hands steps over in their order: the first at once, the others together, every few seconds.

    There is no clock behind it: what waits is handed over with a later step, or by `release`. So a run whose steps take
    longer than `HOLD` never waits.
    """

    def __init__(self, send: Send) -> None:
        """Bind what takes a step and its numbers."""
        self._send = send
        self._waiting: list[tuple[int, dict[str, Any]]] = []
        self._next = monotonic()

    def add(self, step: int, numbers: Mapping[str, Any]) -> None:
        """Take the numbers of a step."""
        self._waiting.append((step, dict(numbers)))
        if monotonic() >= self._next:
            self.release()

    def release(self) -> None:
        """Hand over what waits: before anything else is sent, and at the end."""
        waiting, self._waiting = self._waiting, []
        for step, numbers in waiting:
            self._send(step, numbers)
        self._next = monotonic() + HOLD
