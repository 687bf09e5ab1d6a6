"""A small pay for answering in the format that was asked for."""

from __future__ import annotations

import math

import numpy as np

from retrievers.base import Floats
from rewards.base import Batch, Invalid


class FormatReward:
    """`valid` for a completion that the format could read, `invalid` for one that it could not.

    The name is "format", with the numbers in it that are not the usual ones.
    Raises `ValueError` where a number is not finite, or where an unreadable completion would be paid more.

    Args:
        valid: The reward of a rollout whose action is not Invalid.
        invalid: The reward of an Invalid rollout.
    """

    def __init__(self, *, valid: float = 1.0, invalid: float = 0.0) -> None:
        for option, value in {"valid": valid, "invalid": invalid}.items():
            if not math.isfinite(value):
                raise ValueError(f"{option}: must be finite, got {value}")
        if invalid > valid:
            raise ValueError(f"invalid: must not pay more than valid, {valid}, got {invalid}: swap them, or lower it")
        paid = [f"{n}={v}" for n, v, usual in (("valid", valid, 1.0), ("invalid", invalid, 0.0)) if v != usual]
        self.name = f"format({','.join(paid)})" if paid else "format"
        self.valid = valid
        self.invalid = invalid

    def __call__(self, batch: Batch) -> Floats:
        """(B,) of the two numbers."""
        valid_B = np.fromiter((not isinstance(r.action, Invalid) for r in batch.rollouts), bool, len(batch))
        return np.where(valid_B, self.valid, self.invalid).astype(np.float32)
