"""How many rollouts may go without a reward before a run stops."""

from __future__ import annotations

from collections import deque

from recr1.env import Step
from retrievers.errors import EngineError

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
