"""What happens beside the training steps: numbers into the run folder, validation, and the live view."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

from recr1.build import EvaluationSpec
from recr1.env import Environment
from recr1.evaluate import Evaluator
from recr1.policies import Policy
from recr1.runs import Run
from recr1.trainers.interrupts import Interrupts
from recr1.trainers.ranks import Ranks
from recr1.trainers.view import View
from retrievers.remote import RemoteError

RENAMED = {"step_time": "time/step", "completions/mean_length": "completions/tokens"}
"""TRL's names for what the log calls otherwise."""
DROPPED = ("rewards/", "train_", "epoch", "total_flos")
"""Beginnings of TRL's names that repeat others, or belong to its own bookkeeping."""


class Validator:
    """Evaluates the policy in training on the recipe's validation needs, with the code that `recr1 eval` runs."""

    def __init__(self, policy: Policy, env: Environment, spec: EvaluationSpec, seed: int) -> None:
        self.policy, self.every, self.split = policy, spec.every, spec.split
        self._evaluator = Evaluator(env, spec.split, spec.measures, limit=spec.needs, seed=seed)

    def due(self, step: int, last: int) -> bool:
        """Whether to validate after this step: before the first, every `evaluate.every`, and after the last."""
        return step % self.every == 0 or step == last

    def __call__(self) -> dict[str, float]:
        """The greedy policy's measures under their stable names: `eval/<split>/<measure>` and the rest."""
        return self._evaluator(self.policy).metrics()


class Monitor:
    """Takes what TRL logs after each step, adds validation, and shows both."""

    def __init__(
        self, run: Run, steps: int, validator: Validator, ranks: Ranks, interrupts: Interrupts, *, lenient: bool
    ) -> None:
        """Bind what is watched.

        Args:
            run: Where numbers go.
            steps: The number of the last step.
            validator: Measures the policy.
            ranks: The processes of this launch.
            interrupts: Whether somebody wants the run to stop.
            lenient: Whether a validation to which the retriever has no answer is left out, and ends nothing.
        """
        self.run, self.steps, self.validator = run, steps, validator
        self.view = View(steps, quiet=not run.writer)
        self.stopped = False
        self._ranks, self._interrupts, self._lenient = ranks, interrupts, lenient
        self._trainer: Any = None
        self._ended: int | None = None

    def attach(self, trainer: Any) -> None:
        """The trainer whose model is validated."""
        self._trainer = trainer

    def __enter__(self) -> Monitor:
        self.view.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.view.stop()

    def callback(self) -> Any:
        """The `TrainerCallback` that TRL calls."""
        from transformers import TrainerCallback

        monitor = self

        class Callback(TrainerCallback):  # type: ignore[misc]
            def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
                monitor.begin(state.global_step)

            def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, Any], **_: Any) -> None:
                monitor.log(state.global_step, logs)

            def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
                # TRL logs after this; validation waits for it, so that the lines of a step stay in order.
                monitor._ended = state.global_step
                if monitor._ranks.any(monitor._interrupts.asked):
                    monitor.stopped = control.should_save = control.should_training_stop = True

        return Callback()

    def log(self, step: int, logs: Mapping[str, Any]) -> None:
        """Write the numbers of a training step under `train/...`, show them, and validate when it is time."""
        numbers = {
            f"train/{RENAMED.get(name, name)}": float(value)
            for name, value in logs.items()
            if isinstance(value, int | float) and not name.startswith(DROPPED)
        }
        if numbers:
            self.run.log(step, numbers)
            self.view.step(step, numbers)
        if self._ended is not None:
            self._ended = None
            if self.validator.due(step, self.steps):
                self.validate(step)

    def begin(self, step: int) -> None:
        """Validate before the first step, and after a step that was logged and not validated before it stopped.

        A later stage of a run begins where the one before it was validated last, and is not validated again.
        """
        self.view.begin(step)
        split = self.validator.split
        logged = self.run.read_metrics() if self.run.writer else []
        done = any(line["step"] == step and any(name.startswith(f"eval/{split}/") for name in line) for line in logged)
        if self._ranks.any(self.run.writer and not done and self.validator.due(step, self.steps)):
            self.validate(step)
        self._trainer.mark()

    def validate(self, step: int) -> None:
        """Evaluate on every rank with the whole weights at hand, log on one."""
        start = time.perf_counter()
        with _whole_weights(self._trainer), self._ranks.together():
            numbers = self._numbers(step)
        if numbers:
            self.run.log(step, {**numbers, "time/validation": time.perf_counter() - start})
            self.view.validated(step, numbers)

    def _numbers(self, step: int) -> dict[str, float]:
        try:
            return self.validator()
        except RemoteError as error:
            if not self._lenient:
                raise
            self.view.say(f"no validation after {step} steps: {error}")
            return {}


def _whole_weights(trainer: Any) -> Any:
    """The context in which every rank can generate: sharded weights are gathered, others are there already."""
    if trainer is None or not (trainer.is_deepspeed_enabled or trainer.is_fsdp_enabled):
        return nullcontext()
    from trl.models.utils import unwrap_model_for_generation

    return unwrap_model_for_generation(trainer.model_wrapped, trainer.accelerator)
