"""Around generation: where the time of a step goes, and a check that there are probabilities to draw tokens from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any

from recr1.policies.cpu import Copy
from recr1.trainers.trl.additions import Addition

if TYPE_CHECKING:
    from torch import Tensor


class Clock(Addition):
    """Measures one step after another, and its generation, in this process."""

    def __init__(self) -> None:
        self.generates = False
        self._began = perf_counter()
        self._step = self._generation = 0.0

    def start(self) -> None:
        """A step begins."""
        self._began, self._generation = perf_counter(), 0.0

    def stop(self) -> None:
        """A step ended, with the move of the weights; validation and checkpoints come after it."""
        self._step = perf_counter() - self._began

    def around_generation(self, generate: Callable[..., Any], prompts: list[Any]) -> Any:
        """Generate, and time it."""
        self.generates, start = True, perf_counter()
        generated = generate(prompts)
        self._generation += perf_counter() - start
        return generated

    def numbers(self, logged: Mapping[str, float]) -> dict[str, float]:
        """The times of the last step, and their shares, beside those of its search and its rewards that were logged.

        What is neither generation, search nor reward is called update: log-probabilities, gradients, the optimizer. A
        trainer that generates nothing only has the time of the whole step.
        """
        if not self.generates or not self._step:
            return {"train/time/step": self._step}
        of_reward = {name: logged.get(f"train/time/{name}", 0.0) for name in ("search", "rewards")}
        parts = {"generation": self._generation, **of_reward}
        parts["update"] = max(self._step - sum(parts.values()), 0.0)
        numbers = {f"train/time/{name}": parts[name] for name in ("generation", "update")}
        shares = {f"train/time/share/{name}": seconds / self._step for name, seconds in parts.items()}
        return {"train/time/step": self._step, **numbers, **shares}


class FromCopy(Addition):
    """Samples completions from the copy of the policy in bfloat16."""

    def __init__(self, copy: Copy) -> None:
        self._copy = copy

    def token_generator(self, model: Any, generate: Callable[..., Any]) -> Callable[..., Any]:
        """The copy's, with the weights of this step."""
        found: Callable[..., Any] = self._copy.current().generate
        return found


class NotFiniteError(ArithmeticError):
    """The policy's scores of the next token are not finite."""


class FiniteCheck(Addition):
    """Raises `NotFiniteError` where there are no probabilities to draw a token from."""

    def token_generator(self, model: Any, generate: Callable[..., Any]) -> Callable[..., Any]:
        """The same, with a check of the scores of each token."""
        return partial(generate, logits_processor=[finite])


def finite(input_ids: Tensor, scores_BV: Tensor) -> Tensor:
    """The scores of the next token as they are; raises `NotFiniteError` unless the largest of each row is finite.

    nan and inf come through a maximum, and a row of only -inf has no token to draw.
    """
    if not bool(scores_BV.amax(-1).isfinite().all()):
        raise NotFiniteError("no probabilities to draw the next token from")
    return scores_BV
