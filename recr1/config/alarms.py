"""When a training run has collapsed: the thresholds that a recipe may set under `evaluate.alarm`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

Sign: TypeAlias = Literal["entropy", "kl", "valid", "repeated", "growth", "floor", "drop", "blind"]
"""What is watched, by the name of its threshold."""

_SHARE, _POSITIVE = (0.0, 1.0, "a share between 0 and 1"), (0.0, math.inf, "above 0")
BOUNDS: Mapping[Sign, tuple[float, float, str]] = {
    **dict.fromkeys(("valid", "repeated", "drop", "blind"), _SHARE),
    **dict.fromkeys(("entropy", "kl", "floor"), _POSITIVE),
    "growth": (1.0, math.inf, "above 1, as long as the best"),
}
"""Between what, and in words, a threshold is."""


@dataclass(frozen=True, kw_only=True)
class AlarmSpec:
    """Thresholds of the collapse alarm; null for one that is not to be watched.

    A sign counts only after it was on its good side once: what a policy was like from the start is no collapse. Only
    `blind`, which is about the answer keys, counts from the start.
    """

    action: Literal["stop", "warn", "off"] = "stop"
    """What is done: warn, then stop what lasts and keep the best policy; warn alone; nothing."""
    stop_on: tuple[Sign, ...] = ("valid", "floor", "drop")
    """The signs that stop a run. The others warn: a policy that is sure of itself, or wordy, may still be good."""
    warn_after: int = 5
    """Training steps in a row with a sign before it is told."""
    stop_after: int = 20
    """Training steps in a row with a sign before it stops the run."""
    validations: int = 2
    """Validations in a row below a threshold before it stops the run; the first of them is told."""
    entropy: float | None = 0.01
    """Nats a token, `train/entropy`; below it nothing new is tried."""
    kl: float | None = 10.0
    """Nats a token from the reference policy, `train/kl`, where there is one; above it little of that one is left."""
    valid: float | None = 0.5
    """Share of completions that are an action at all; below it the format is being forgotten."""
    repeated: float | None = 0.5
    """Share of words that their query has said before, `train/query/repeated`."""
    growth: float | None = 4.0
    """Words of a query by those of the best policy so far."""
    floor: float | None = 1.0
    """Share of the floor (searching the raw need) below which the validated measure falls."""
    drop: float | None = 0.5
    """Share of its own best below which the validated measure falls."""
    blind: float | None = 0.95
    """Share of the rollouts with hits none of whose first items is judged, `train/hits/blind@10`. It counts from the
    start: above it, rewards say next to nothing."""
    certainty: float = 3.0
    """Standard errors over the needs from which on a fall of the measure is no chance."""

    def __post_init__(self) -> None:
        if self.warn_after < 1:
            raise ValueError(f"warn_after: must be at least 1 step, got {self.warn_after}")
        if self.stop_after < self.warn_after:
            raise ValueError(f"stop_after: must be warn_after ({self.warn_after}) or more, got {self.stop_after}")
        if self.validations < 1:
            raise ValueError(f"validations: must be at least 1, got {self.validations}")
        if not 0 <= self.certainty < math.inf:
            raise ValueError(f"certainty: must be 0 standard errors or more, got {self.certainty}")
        for name, (low, high, what) in BOUNDS.items():
            value = getattr(self, name)
            if value is not None and not low < value < high:
                raise ValueError(f"{name}: must be {what}, or null, got {value}")

    def to_dict(self) -> dict[str, Any]:
        """The mapping that a recipe holds."""
        return {**asdict(self), "stop_on": list(self.stop_on)}
