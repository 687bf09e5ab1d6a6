"""Records that wait a few seconds for a service that takes several as cheaply as one.

For services whose numbers a run that goes on takes from `metrics.jsonl` again: what waits in a process that is killed
is lost there no more than what the service itself had not written yet.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import TypeAlias

HOLD = 5.0
"""Seconds between two handings over: a service takes milliseconds each time, and a step may not take many."""

Send: TypeAlias = Callable[[], None]


class Held:
    """Hands records over in their order: the first at once, the others together, every few seconds.

    There is no clock behind it: what waits is handed over with a later record, or by `release`. So a run whose steps
    take longer than `HOLD` hands each over as it comes.
    """

    def __init__(self) -> None:
        """Nothing waits."""
        self._waiting: list[Send] = []
        self._next = monotonic()

    def add(self, send: Send) -> None:
        """Take a record, as the call that sends it."""
        self._waiting.append(send)
        if monotonic() >= self._next:
            self.release()

    def release(self) -> None:
        """Hand over what waits: before anything that cannot wait, and at the end."""
        waiting, self._waiting = self._waiting, []
        for send in waiting:
            send()
        self._next = monotonic() + HOLD
