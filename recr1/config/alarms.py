"""When a training run has collapsed: the thresholds that a recipe may set under `evaluate.alarm`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal, TypeAlias

from annotated_types import Gt, Lt

from retrievers.options import NonNegativeFloat, PositiveFloat, PositiveInt, checked

Sign: TypeAlias = Literal["entropy", "kl", "valid", "repeated", "growth", "floor", "drop", "blind"]
"""What is watched, by the name of its threshold."""

_Threshold: TypeAlias = Annotated[float, Gt(0), Lt(1)]


@checked
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
    warn_after: PositiveInt = 5
    """Training steps in a row with a sign before it is told."""
    stop_after: PositiveInt = 20
    """Training steps in a row with a sign before it stops the run."""
    validations: PositiveInt = 2
    """Validations in a row below a threshold before it stops the run; the first of them is told."""
    entropy: PositiveFloat | None = 0.01
    """Nats a token, `train/entropy`; below it nothing new is tried."""
    kl: PositiveFloat | None = 10.0
    """Nats a token from the reference policy, `train/kl`, where there is one; above it little of that one is left."""
    valid: _Threshold | None = 0.5
    """Share of completions that are an action at all; below it the format is being forgotten."""
    repeated: _Threshold | None = 0.5
    """Share of words that their query has said before, `train/query/repeated`."""
    growth: Annotated[float, Gt(1)] | None = 4.0
    """Words of a query by those of the best policy so far."""
    floor: PositiveFloat | None = 1.0
    """Share of the floor (searching the raw need) below which the validated measure falls."""
    drop: _Threshold | None = 0.5
    """Share of its own best below which the validated measure falls."""
    blind: _Threshold | None = 0.95
    """Share of the rollouts with hits none of whose first items is judged, `train/hits/blind@10`. It counts from the
    start: above it, rewards say next to nothing."""
    certainty: NonNegativeFloat = 3.0
    """Standard errors over the needs from which on a fall of the measure is no chance."""

    @staticmethod
    def check_options(options: Mapping[str, Any]) -> list[str]:
        """What is wrong with options taken together."""
        first, last = (int(options.get(name, getattr(AlarmSpec, name))) for name in ("warn_after", "stop_after"))
        return [] if last >= first else [f"stop_after: must be an integer >= warn_after ({first}), got {last}"]

    def to_dict(self) -> dict[str, Any]:
        """The mapping that a recipe holds."""
        return {**asdict(self), "stop_on": list(self.stop_on)}
