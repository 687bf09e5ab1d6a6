"""Ctrl-C, and what a scheduler sends before it takes a machine back: the step is finished first, then all is saved."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class Interrupts:
    """Whether the user, or a scheduler, wants the run to stop."""

    def __init__(self, *, quiet: bool) -> None:
        self.asked = False
        self._quiet = quiet

    @contextmanager
    def heeded(self) -> Iterator[None]:
        """While this lasts the first SIGINT or SIGTERM only sets `asked`; a second stops at once, as Ctrl-C does."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before: dict[int, Any] = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        for number, handler in before.items():
            if handler is not signal.SIG_IGN:
                signal.signal(number, self._ask)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        if not self._quiet:
            sys.stderr.write("\nstopping after this step, to save all of it; once more stops at once\n")
            sys.stderr.flush()
