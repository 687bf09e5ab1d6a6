"""What the processes of one launch agree on: none goes on where another has stopped."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from recr1.errors import UserError


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
        """Raises `UserError` on all ranks unless all go on after the same step; every rank must come here."""
        steps = _gathered(step)
        other = next((rank for rank, there in enumerate(steps) if there != steps[0]), None)
        if other is not None:
            raise UserError(
                f"rank 0 goes on after step {steps[0]} and rank {other} after step {steps[other]}: they do not see the "
                "same checkpoints; a run goes on where its folder is on a disk that all nodes share"
            )

    def first(self, here: object) -> bool:
        """What rank 0 says, which has the log; every rank must ask at the same point."""
        return bool(_gathered(bool(here))[0])

    def any(self, here: object) -> bool:
        """Whether it is so on any rank; every rank must ask at the same point."""
        return any(_gathered(bool(here)))


def _gathered(value: Any) -> list[Any]:
    from accelerate.utils import gather_object

    gathered: list[Any] = gather_object([value])
    return gathered
