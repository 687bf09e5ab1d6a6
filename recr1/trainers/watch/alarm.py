"""The collapse alarm: from the numbers of a run to what is wrong with it, and which key of the recipe helps.

It depends on what was logged and on nothing else: a resumed run reads its own log again, and continues where it was.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

from recr1.config.build import AlarmSpec, Sign

EXPLORE = "lower trl.learning_rate, or raise trl.temperature or trl.beta where the trainer has them"
NEAR = "lower trl.learning_rate, or raise trl.beta where the trainer has it"
SHORT = "add {type: length, budget: 6} to rewards, or raise its weight"

SIGNS: Mapping[Sign, tuple[str, str]] = {
    "entropy": ("entropy in nats a token", f"the policy tries hardly anything new; {EXPLORE}"),
    "kl": ("distance to the reference policy in nats a token", f"little of that policy is left; {NEAR}"),
    "valid": ("share of valid completions", f"the answer's format is being forgotten; {NEAR}, or add a format reward"),
    "repeated": ("share of repeated words in queries", f"queries repeat themselves; {SHORT}"),
    "growth": ("words of a query", f"queries grow and find no more for it; {SHORT}"),
    "floor": ("", f"worse than searching the raw need; {NEAR}, and see whether the rewards pay for something else"),
    "blind": (
        "share of rankings in which nothing is judged",
        "their rewards say nothing of their queries; judge more items, take a deeper cutoff, or a measure such as "
        "nDCG(judged_only=True)@k",
    ),
    "drop": ("", f"much of what was learned is lost; {NEAR}, and see whether the rewards pay for something else"),
}
"""Each sign: what the number is (of a measure its own name), what it means and what helps."""


class Alert(NamedTuple):
    """One line of `alerts.jsonl`, and of the view."""

    level: Literal["warning", "stop"]
    sign: str
    text: str
    values: Mapping[str, float]

    def record(self) -> dict[str, Any]:
        """For JSON."""
        return {**self._asdict(), "values": dict(self.values)}


class Reading(NamedTuple):
    """A number beside its threshold."""

    value: float
    bound: float
    bad: bool
    clear: bool = True
    """Whether a number on the good side is there for certain."""
    best: float | None = None
    """What the number was at its best, where that is what it is compared with."""


class Watch:
    """One sign: counts how long it lasts, once it was seen on its good side."""

    def __init__(self, warn_after: int, stop_after: int | None, *, armed: bool = False) -> None:
        """Warn and stop after this many readings in a row, None for never; `armed`: it was on its good side already."""
        self.warn_after, self.stop_after = warn_after, stop_after
        self.first: float | None = None
        self.bad = self.good = 0
        self.armed, self.warned = armed, False

    def take(self, reading: Reading) -> Literal["warning", "stop"] | None:
        """Count a reading; what follows from it."""
        start = self.first is None
        self.first = reading.value if self.first is None else self.first
        if not reading.bad:
            self.bad, self.good = 0, self.good + 1
            self.armed = self.armed or (reading.clear and (start or self.good >= self.warn_after))
            self.warned = self.warned and self.good < self.warn_after
            return None
        self.bad, self.good = self.bad + self.armed, 0
        if self.stop_after is not None and self.bad == self.stop_after:
            return "stop"
        if self.bad >= self.warn_after and not self.warned:
            self.warned = True
            return "warning"
        return None


class Alarm:
    """Watches the numbers of training steps and of validations."""

    def __init__(self, spec: AlarmSpec, main: str) -> None:
        """Watch for the signs of `spec`; `main` is the name of the measure that counts, `eval/<split>/<measure>`."""
        self.spec, self.main = spec, main
        self.best: Mapping[str, float] | None = None
        self._watches = {sign: self._watch(sign) for sign in SIGNS}
        self._readers: Mapping[Sign, Callable[[Mapping[str, float], float], Reading | None]] = {
            "entropy": lambda numbers, bound: _below(numbers.get("train/entropy"), bound),
            "kl": lambda numbers, bound: _above(numbers.get("train/kl"), bound),
            "valid": lambda numbers, bound: _below(_valid(numbers), bound),
            "repeated": lambda numbers, bound: _above(numbers.get("train/query/repeated"), bound),
            "blind": lambda numbers, bound: _above(_at_any_depth(numbers, "train/hits/blind"), bound),
            "growth": self._growth,
            "floor": self._floor,
            "drop": self._drop,
        }

    def _watch(self, sign: Sign) -> Watch:
        measured = sign in ("floor", "drop")
        lasts = self.spec.validations if measured else self.spec.stop_after
        stops = self.spec.action == "stop" and sign in self.spec.stop_on
        # What has a best was as good as that; and keys that judge nothing of what is found do so from the start.
        armed = sign in ("drop", "blind")
        return Watch(1 if measured else self.spec.warn_after, lasts if stops else None, armed=armed)

    def take(self, numbers: Mapping[str, float]) -> list[Alert]:
        """The alerts of a line of the log, of a training step or of a validation."""
        return list(self._alerts(numbers)) if self.spec.action != "off" else []

    def _alerts(self, numbers: Mapping[str, float]) -> Iterator[Alert]:
        for sign, watch in self._watches.items():
            threshold = getattr(self.spec, sign)
            reading = None if threshold is None else self._readers[sign](numbers, threshold)
            level = watch.take(reading) if reading else None
            if reading and level:
                yield self._alert(level, sign, reading, watch)

    def _alert(self, level: Literal["warning", "stop"], sign: Sign, reading: Reading, watch: Watch) -> Alert:
        name, meaning = SIGNS[sign]
        name, unit = (name, "steps") if name else (self.main.removeprefix("eval/").replace("/", " "), "validations")
        bound = f"evaluate.alarm.{sign} {getattr(self.spec, sign):g}"
        if sign in ("growth", "floor", "drop"):
            bound += f" puts the bound at {reading.bound:.3g}"
        lasting = f"{watch.bad} {unit} in a row" if watch.bad > 1 else f"1 {unit[:-1]}"
        was = f"{watch.first or 0:.3g} at first" if reading.best is None else f"{reading.best:.3g} at best"
        text = f"{name} {reading.value:.3g} for {lasting}, {was} ({bound}): {meaning}"
        return Alert(level, sign, text, {"value": reading.value, "bound": reading.bound, "for": watch.bad})

    def _growth(self, numbers: Mapping[str, float], threshold: float) -> Reading | None:
        if self.best is None or "words" not in self.best:
            return None
        return _above(numbers.get("train/query/words"), threshold * max(self.best["words"], 1.0))

    def _floor(self, numbers: Mapping[str, float], threshold: float) -> Reading | None:
        value, error, floor = (_number(numbers.get(f"{self.main}{of}")) for of in ("", "/stderr", "/floor"))
        if value is None or error is None or floor is None:
            return None
        bound, chance = threshold * floor, self.spec.certainty * error
        return Reading(value, bound, value + chance < bound, value - chance > bound)

    def _drop(self, numbers: Mapping[str, float], threshold: float) -> Reading | None:
        value, error = (_number(numbers.get(f"{self.main}{of}")) for of in ("", "/stderr"))
        if value is None or error is None or self.best is None:
            return None
        best = self.best["value"]
        chance = self.spec.certainty * math.hypot(error, self.best.get("error", error))
        return Reading(value, threshold * best, value < threshold * best and best - value > chance, best=best)


def _valid(numbers: Mapping[str, float]) -> float | None:
    """The share of valid ones among those that the retriever answered, or had nothing to answer to."""
    invalid, lost = (_number(numbers.get(f"train/outcome/{name}")) for name in ("invalid", "retriever_error"))
    if invalid is None or (lost or 0.0) >= 1:
        return None
    return 1 - invalid / (1 - (lost or 0.0))


def _at_any_depth(numbers: Mapping[str, float], name: str) -> float | None:
    """`<name>@10`, or of fewer places where searches return no more."""
    return next((value for key, value in numbers.items() if key.startswith(f"{name}@")), None)


def _below(value: float | None, bound: float) -> Reading | None:
    value = _number(value)
    return None if value is None else Reading(value, bound, value < bound)


def _above(value: float | None, bound: float) -> Reading | None:
    value = _number(value)
    return None if value is None else Reading(value, bound, value > bound)


def _number(value: float | None) -> float | None:
    """None for a number that is not finite; a log that is read again has null there."""
    return value if value is not None and math.isfinite(value) else None
