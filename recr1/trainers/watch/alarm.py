"""The collapse alarm: from the numbers of a run to what is wrong with it, and which key of the recipe helps.

It depends on what was logged and on nothing else: a resumed run reads its own log again, and continues where it was.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple

from recr1.config.build import AlarmSpec, Sign

EXPLORE = "lower trl.learning_rate, or raise trl.temperature or trl.beta where the trainer has them"
NEAR = "lower trl.learning_rate, or raise trl.beta where the trainer has it"
FLAT = 0.5
"""From this share of flat groups on, whose rewards are all equal, copies of the needs are a stall."""
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
    "copies": (
        "share of completions that copy their need",
        "completions of a need find the same, so that little is learned; raise trl.temperature or trl.num_generations, "
        "or begin with an sft stage on pairs of the type searched or edits",
    ),
    "drop": ("", f"much of what was learned is lost; {NEAR}, and see whether the rewards pay for something else"),
}
"""Each sign: what the number is (of a measure its own name), what it means and what helps."""


class Alert(NamedTuple):
    """One line of `alerts.jsonl`, and of the view."""

    level: Literal["warning", "stop"]
    sign: str
    text: str
    values: dict[str, float]


class Check(NamedTuple):
    """A number compared with its bound."""

    value: float
    bound: float
    bad: bool
    clear: bool = True
    """Whether a number that is not bad is good for certain."""
    best: float | None = None
    """The best that the number was, where it is compared with that."""
    beside: str = ""
    """What else was bad, after the value."""


class SignCounter:
    """Counts how many checks of a sign in a row were bad, once one was good."""

    def __init__(self, warn_after: int, stop_after: int | None, *, armed: bool) -> None:
        """Warn and stop after this many bad checks, None for never; `armed`: it counts as good before the first."""
        self.warn_after, self.stop_after = warn_after, stop_after
        self.first: float | None = None
        self.bad = self.good = 0
        self.armed, self.warned = armed, False

    def take(self, check: Check) -> Literal["warning", "stop"] | None:
        """Count a check; returns what follows from it."""
        start = self.first is None
        self.first = check.value if self.first is None else self.first
        if not check.bad:
            self.bad, self.good = 0, self.good + 1
            self.armed = self.armed or (check.clear and (start or self.good >= self.warn_after))
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
    """Checks the numbers of training steps and of validations."""

    def __init__(self, spec: AlarmSpec, main: str) -> None:
        """Check the signs of `spec`; `main` is the name of the measure that decides, `eval/<split>/<measure>`."""
        self.spec, self.main = spec, main
        self.best: Mapping[str, float] | None = None
        self._counters = {sign: self._counter(sign) for sign in SIGNS}

    def _counter(self, sign: Sign) -> SignCounter:
        warn_after, stop_after = self.spec.warn_after, self.spec.stop_after
        if sign in ("floor", "drop"):
            warn_after, stop_after = 1, self.spec.validations
        stops = self.spec.action == "stop" and sign in self.spec.stop_on
        # What has a best was as good as that. What judges nothing, and what was taught copies, does so from the start.
        return SignCounter(warn_after, stop_after if stops else None, armed=sign in ("drop", "blind", "copies"))

    def take(self, numbers: Mapping[str, float]) -> list[Alert]:
        """The alerts of a line of the log, of a training step or of a validation."""
        return list(self._alerts(numbers)) if self.spec.action != "off" else []

    def _alerts(self, numbers: Mapping[str, float]) -> Iterator[Alert]:
        for sign, counter in self._counters.items():
            threshold = getattr(self.spec, sign)
            check = None if threshold is None else self._check(sign, numbers, threshold)
            level = counter.take(check) if check else None
            if check and level:
                values = {"value": check.value, "bound": check.bound, "for": counter.bad}
                yield Alert(level, sign, self._text(sign, check, counter), values)

    def _text(self, sign: Sign, check: Check, counter: SignCounter) -> str:
        name, meaning = SIGNS[sign]
        name, unit = (name, "steps") if name else (self.main.removeprefix("eval/").replace("/", " "), "validations")
        bound = f"evaluate.alarm.{sign} {getattr(self.spec, sign):g}"
        if sign in ("growth", "floor", "drop"):
            bound += f" puts the bound at {check.bound:.3g}"
        lasting = f"{counter.bad} {unit} in a row" if counter.bad > 1 else f"1 {unit[:-1]}"
        was = f"{counter.first or 0:.3g} at first" if check.best is None else f"{check.best:.3g} at best"
        return f"{name} {check.value:.3g}{check.beside} for {lasting}, {was} ({bound}): {meaning}"

    def _check(self, sign: Sign, numbers: Mapping[str, float], threshold: float) -> Check | None:
        """The check of a sign; None where its number is not in this line."""
        if sign in ("floor", "drop"):
            return self._validated(sign, numbers, threshold)
        if sign == "copies":
            return _copying(numbers, threshold)
        value, best = _finite(_number(sign, numbers)), self.best or {}
        if value is None or (sign == "growth" and "words" not in best):
            return None
        bound = threshold * max(best["words"], 1.0) if sign == "growth" else threshold
        return Check(value, bound, value < bound if sign in ("entropy", "valid") else value > bound)

    def _validated(self, sign: Sign, numbers: Mapping[str, float], threshold: float) -> Check | None:
        value, error, floor = (_finite(numbers.get(f"{self.main}{of}")) for of in ("", "/stderr", "/floor"))
        if value is None or error is None:
            return None
        if sign == "floor" and floor is not None:
            bound, chance = threshold * floor, self.spec.certainty * error
            return Check(value, bound, value + chance < bound, value - chance > bound)
        if sign == "drop" and self.best is not None:
            best = self.best["value"]
            chance = self.spec.certainty * math.hypot(error, self.best.get("error", error))
            return Check(value, threshold * best, value < threshold * best and best - value > chance, best=best)
        return None


def _copying(numbers: Mapping[str, float], threshold: float) -> Check | None:
    """Whether nearly all copy their needs, and where there are groups, at least half of them are flat.

    A policy that copies often, while the rest of each group still differs, learns from the rest.
    """
    copied = _finite(numbers.get("train/query/copies_need"))
    flat = _finite(numbers.get("train/groups/flat"))
    if copied is None:
        return None
    beside = "" if flat is None else f" and of flat groups {flat:.3g}"
    return Check(copied, threshold, copied > threshold and (flat is None or flat >= FLAT), beside=beside)


def _number(sign: Sign, numbers: Mapping[str, float]) -> float | None:
    """The number of a training step that a sign is about."""
    if sign == "valid":  # of the completions that the retriever answered, or had nothing to answer to
        invalid, lost = (_finite(numbers.get(f"train/outcome/{name}")) for name in ("invalid", "retriever_error"))
        return None if invalid is None or (lost or 0.0) >= 1 else 1 - invalid / (1 - (lost or 0.0))
    if sign == "blind":  # at 10, or at fewer places where searches return no more
        return next((value for name, value in numbers.items() if name.startswith("train/hits/blind@")), None)
    names = {"repeated": "train/query/repeated", "growth": "train/query/words"}
    return numbers.get(names.get(sign, f"train/{sign}"))


def _finite(value: float | None) -> float | None:
    """None for a number that is not finite; a log that is read again has null there."""
    return value if value is not None and math.isfinite(value) else None
