"""Where the time of a training step goes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import perf_counter
from typing import Any

from recr1.trainers.trl.additions import Addition


class Clock:
    """Measures one step after another, in this process."""

    def __init__(self) -> None:
        self.generates = False
        self._began = perf_counter()
        self._step = self._generation = 0.0

    def begin(self) -> None:
        """A step begins."""
        self._began, self._generation = perf_counter(), 0.0

    def generated(self, seconds: float) -> None:
        """Completions took so long."""
        self.generates = True
        self._generation += seconds

    def end(self) -> None:
        """A step ended, with the move of the weights; validation and checkpoints come after it."""
        self._step = perf_counter() - self._began

    def numbers(self, logged: Mapping[str, float]) -> dict[str, float]:
        """The times of the last step, and their shares, beside those of its search and its rewards that were logged.

        What is neither generation, search nor reward is called update: log-probabilities, gradients, the optimizer. A
        trainer that generates nothing has the time of the whole step alone.
        """
        numbers = {"train/time/step": self._step}
        if not self.generates or not self._step:
            return numbers
        parts = {name: logged.get(f"train/time/{name}", 0.0) for name in ("search", "rewards")}
        parts = {"generation": self._generation, **parts}
        parts["update"] = max(self._step - sum(parts.values()), 0.0)
        numbers |= {f"train/time/{name}": parts[name] for name in ("generation", "update")}
        return numbers | {f"train/time/share/{name}": seconds / self._step for name, seconds in parts.items()}


class TimedGeneration(Addition):
    """Tells a clock how long completions took."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def around_generation(self, generate: Callable[..., Any], prompts: list[Any]) -> Any:
        """Generate, and time it."""
        start = perf_counter()
        generated = generate(prompts)
        self.clock.generated(perf_counter() - start)
        return generated
