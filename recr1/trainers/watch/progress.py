"""The course of a training: which validation was best, how long none was better, and whether it collapses.

A fold over the log of the run, in the order of its lines: a run that goes on takes the lines that it keeps, and decides
from there on what it would have decided.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from recr1.config.build import EvaluationSpec
from recr1.trainers.watch.alarm import Alarm, Alert


@dataclass(frozen=True)
class Point:
    """A validated policy."""

    step: int
    value: float
    """The first measure's mean."""


class Stop(NamedTuple):
    """Why training ended before its last step."""

    why: Literal["patience", "collapse"]
    step: int
    text: str


@dataclass
class News:
    """What a line of the log changes."""

    better: bool = False
    """Whether its policy is the best so far."""
    alerts: list[Alert] = field(default_factory=list)


class Course:
    """What was best so far, and whether training should end."""

    def __init__(self, spec: EvaluationSpec, measure: str) -> None:
        """Begin; `measure` is the name of the one that decides."""
        self.spec, self.measure = spec, measure
        self.main = f"eval/{spec.split}/{measure}"
        self.best: Point | None = None
        self.last: Point | None = None
        self.validations = self.waited = 0
        self.stop: Stop | None = None
        self._bar = -math.inf
        self._alarm = Alarm(spec.alarm, self.main)

    def take(self, step: int, numbers: Mapping[str, Any]) -> News:
        """Take a line of the log: the numbers of a training step, or of a validation."""
        news = News(alerts=self._alarm.take(numbers))
        for alert in news.alerts:
            if alert.level == "stop" and self.stop is None:
                self.stop = Stop("collapse", step, alert.text)
        value = numbers.get(self.main)
        if value is not None and math.isfinite(value):
            news.better = self._validated(Point(step, float(value)), numbers)
        return news

    def broken(self, step: int) -> Alert:
        """The weights are no numbers any more: nothing can be sampled from them."""
        level: Literal["warning", "stop"] = "stop" if self.spec.alarm.action == "stop" else "warning"
        text = "weights are not finite: lower trl.learning_rate or trl.max_grad_norm"
        if level == "stop":
            self.stop = self.stop or Stop("collapse", step, text)
        return Alert(level, "weights", text, {})

    def _validated(self, point: Point, numbers: Mapping[str, Any]) -> bool:
        self.last, self.validations = point, self.validations + 1
        better = self.best is None or point.value > self.best.value
        if better:
            self.best = point
            named = {"value": self.main, "error": f"{self.main}/stderr", "words": f"eval/{self.spec.split}/query/words"}
            self._alarm.best = {key: numbers[name] for key, name in named.items() if numbers.get(name) is not None}
        gained = point.value > self._bar + (self.spec.min_gain if self.validations > 1 else 0.0)
        self._bar, self.waited = (point.value, 0) if gained else (self._bar, self.waited + 1)
        if self.spec.patience is not None and self.waited >= self.spec.patience and self.stop is None:
            self.stop = Stop("patience", point.step, self._waited_for())
        return better

    def _waited_for(self) -> str:
        gain = f" by more than {self.spec.min_gain:g}" if self.spec.min_gain else ""
        plural = "s" if self.waited > 1 else ""
        return (
            f"{self.measure} has not passed {self._bar:.3f}{gain} in {self.waited} validation{plural} "
            f"(evaluate.patience {self.spec.patience})"
        )
