"""What the processes of a launch agree on, and when a run stops early: an interrupt, or too many failed searches."""

from __future__ import annotations

import signal
import sys
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from recr1.env import Step
from recr1.errors import UserError
from retrievers.errors import EngineError


class RankError(UserError):
    """Another process of the launch failed: which one, and how. That one shows where."""


class Ranks:
    """The processes of this launch; `failed` once one of them raised within `together`."""

    def __init__(self) -> None:
        self.failed = False

    @contextmanager
    def together(self) -> Iterator[None]:
        """What one rank raises in here is raised on all: itself where it happened, `RankError` elsewhere.

        Every rank must come here at the same point.
        """
        failure: Exception | None = None
        try:
            yield
        except Exception as error:  # noqa: BLE001 - whatever it is: the other ranks must not wait for this one
            failure = error
        reasons = _gathered(None if failure is None else f"{type(failure).__name__}: {failure}")
        self.failed = self.failed or any(reason is not None for reason in reasons)
        if failure is not None:
            raise failure
        for rank, reason in enumerate(reasons):
            if reason is not None:
                raise RankError(f"rank {rank} failed: {reason}")

    def same(self, step: int) -> None:
        """Raises `UserError` on all ranks unless all resume after the same step; every rank must come here."""
        steps = _gathered(step)
        other = next((rank for rank, there in enumerate(steps) if there != steps[0]), None)
        if other is not None:
            raise UserError(
                f"rank 0 resumes after step {steps[0]} and rank {other} after step {steps[other]}: they do not see the "
                "same checkpoints; put the run folder on a disk that all nodes share"
            )

    def first(self, here: object) -> bool:
        """The answer of rank 0, which has the log; every rank must ask at the same point."""
        return bool(_gathered(bool(here))[0])

    def any(self, here: object) -> bool:
        """Whether it is so on any rank; every rank must ask at the same point."""
        return any(_gathered(bool(here)))


def _gathered(value: Any) -> list[Any]:
    from accelerate.utils import gather_object

    gathered: list[Any] = gather_object([value])
    return gathered


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
            sys.stderr.write("\nstopping after this step, with a checkpoint; a second signal stops at once\n")
            sys.stderr.flush()


WINDOW = 1000
"""The last rollouts that a share is of."""


class FailureBudget:
    """Counts rollouts whose search had no answer, over the last `WINDOW`.

    Args:
        share: The share of them that may be without a reward; 0 allows none.
    """

    def __init__(self, share: float) -> None:
        self.share = share
        self._batches: deque[tuple[int, int]] = deque()

    def spend(self, step: Step, *, alone: bool = True) -> None:
        """Takes a step into account.

        Args:
            step: Rollouts that were rewarded together.
            alone: Whether an update has nothing else to learn from: it must not be without any reward then.

        Raises:
            EngineError: When more rollouts than the share allows are without a reward, or all of a step's that stands
                alone. It tells the last fault.
        """
        lost, size = len(step.faults), len(step.batch)
        self._batches.append((size, lost))
        while sum(size for size, _ in self._batches) - self._batches[0][0] >= WINDOW:
            self._batches.popleft()
        total = sum(lost for _, lost in self._batches)
        if lost and (total > self.share * WINDOW or (alone and lost == size)):
            fault = list(step.faults.values())[-1]
            what = f"{total} of the last {sum(size for size, _ in self._batches)} rollouts have no reward"
            allowed = f"trainer.failure_budget {self.share:g} allows {self.share * WINDOW:g} in {WINDOW}"
            raise EngineError(fault.engine, fault.address, fault.attempts, f"{fault.cause}; {what}, {allowed}")
