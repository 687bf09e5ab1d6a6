"""How many rollouts may go without a reward before a run stops."""

from __future__ import annotations

from collections import deque

from recr1.env import Step
from retrievers.remote import RemoteError

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

    def spend(self, step: Step) -> None:
        """Takes a step into account.

        Raises:
            RemoteError: When more rollouts than the share allows are without a reward, or all of this step's are: there
                is nothing to learn from it. It tells the last fault.
        """
        lost, size = len(step.faults), len(step.batch)
        self._batches.append((size, lost))
        while sum(size for size, _ in self._batches) - self._batches[0][0] >= WINDOW:
            self._batches.popleft()
        total = sum(lost for _, lost in self._batches)
        if lost and (lost == size or total > self.share * WINDOW):
            fault = list(step.faults.values())[-1]
            what = f"{total} of the last {sum(size for size, _ in self._batches)} rollouts have no reward"
            allowed = f"trainer.failure_budget {self.share:g} allows {self.share * WINDOW:g} in {WINDOW}"
            raise RemoteError(fault.engine, fault.address, fault.attempts, f"{fault.cause}; {what}, {allowed}")
