"""What a line of `rollouts.jsonl` holds."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from rewards.base import Search

if TYPE_CHECKING:
    from recr1.env import Step


def rollout_record(step: int, result: Step, row: int) -> dict[str, Any]:
    """What was written, what it meant, how that ended, and what it found and earned."""
    rollout = result.batch.rollouts[row]
    action = rollout.action
    relevant_K = result.batch.graded.grades_BK[row] > 0
    return {
        "step": step,
        "need": rollout.need.id,
        "completion": rollout.completion,
        **({"query": action.query} if isinstance(action, Search) else {"invalid": action.reason}),
        "outcome": result.outcomes[row],
        "parts": {name: number_or_none(values[row]) for name, values in result.parts.items()},
        "reward": number_or_none(result.rewards[row]),
        "first_relevant": int(np.argmax(relevant_K)) + 1 if relevant_K.any() else None,
    }


def number_or_none(value: float) -> float | None:
    """For JSON, which has no word for a number that is not there."""
    return float(value) if math.isfinite(value) else None
