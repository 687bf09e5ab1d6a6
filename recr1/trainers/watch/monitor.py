"""What happens beside the training steps: numbers into the run folder, validation, the best policy, the live view."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from recr1.errors import DivergedError
from recr1.runs import Run
from recr1.trainers.launch import Interrupts, Ranks
from recr1.trainers.layers.generation import Clock
from recr1.trainers.watch.alarm import Alert
from recr1.trainers.watch.best import FOLDER, Best, Progress, sharded
from recr1.trainers.watch.validation import Validation, Validator
from recr1.trainers.watch.view import View
from retrievers.errors import EngineError

RENAMED = {"completions/mean_length": "completions/tokens"}
"""TRL's names for what the log calls otherwise."""
DROPPED = ("step_time", "rewards/", "train_", "epoch", "total_flos")
"""Beginnings of TRL's names that repeat others, or belong to its own bookkeeping."""


class Monitor:
    """Takes what TRL logs after each step, adds validation, and shows both.

    A validation to which the retriever has no answer is left out if the monitor is `lenient`, and ends the run if not.
    """

    trainer: Any
    """TRL's, whose model is validated; set before the training begins."""

    def __init__(
        self, run: Run, steps: int, validator: Validator, ranks: Ranks, interrupts: Interrupts, *, lenient: bool
    ) -> None:
        self.run, self.steps, self.validator = run, steps, validator
        self.view = View(steps, quiet=not run.writer)
        self.stopped, self.clock = False, Clock()
        self.progress = Progress(validator.spec, validator.measure)
        self.best = Best(run.path / FOLDER, writer=run.writer)
        self._ranks, self._interrupts, self._lenient = ranks, interrupts, lenient
        self._ended: int | None = None
        self._at, self._kept = 0, False
        self.card: dict[str, Any] | None = None
        """Of which step the weights are, once they are worth saving: at the end, or where training stopped."""

    @property
    def ended(self) -> bool:
        """Whether training is to end here; every rank must ask at the same point."""
        return self._ranks.first(self.progress.stop is not None)

    def __enter__(self) -> Monitor:
        self.view.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.view.stop()

    def step_ended(self, step: int) -> bool:
        """Stop the clock after a step; returns whether the run must stop. TRL logs after this. Every rank must call."""
        self.clock.stop()
        self._ended = step
        self.stopped = self.stopped or self._ranks.any(self._interrupts.requested)
        return self.stopped

    def log(self, step: int, logs: Mapping[str, Any]) -> None:
        """Write the numbers of a training step under `train/...`, show them, and validate when it is time."""
        numbers = {
            f"train/{RENAMED.get(name, name)}": float(value)
            for name, value in logs.items()
            if isinstance(value, int | float) and not name.startswith(DROPPED)
        }
        if numbers and self._ended is not None:
            numbers |= self.clock.numbers(numbers)
        if numbers:
            self.run.log(step, numbers)
            self.view.step(step, numbers)
        if self._ended is not None:
            self._ended, self._at = None, step
            for alert in self.progress.take(step, numbers).alerts:
                self._alert(step, alert)
            self._check_weights(step)
            if self.validator.due(step, self.steps) and not self.ended:
                self.validate(step)

    def replay(self, step: int) -> bool:
        """Read the log up to the step from which a run resumes; returns whether training had ended there."""
        for line in self.run.read_metrics() if self.run.writer else []:
            if line["step"] <= step:
                self.progress.take(line["step"], line)
                self.view.replay(line["step"], line)
        return step >= self.steps or self.ended

    def begin(self, step: int) -> None:
        """Validate before the first step, and after a step that was logged and not validated before it stopped.

        A later stage of a run begins with the policy that the one before it left, which was validated there.
        """
        self._at = step
        self.view.begin(step)
        done = self.progress.last is not None and self.progress.last.step == step
        if not self._ranks.first(done) and self.validator.due(step, self.steps):
            self.validate(step)
        elif step == 0:
            self._keep()
        self.trainer.mark()

    def validate(self, step: int) -> None:
        """Evaluate on every rank with the whole weights at hand, log on one, and keep the weights if they are best."""
        start = time.perf_counter()
        found = Validation({}, [], {})
        with _whole_weights(self.trainer), self._ranks.together():
            try:
                found = self.validator()
            except EngineError as error:
                if not self._lenient:
                    raise
                self.view.say(f"no validation after {step} steps: {error}")
        if found.numbers:
            self.run.log(step, {**found.numbers, "time/validation": time.perf_counter() - start})
            self.run.log_queries(step, self.validator.spec.split, found.queries)
            self.run.log_histograms(step, found.histograms)
            self.view.validated(step, found.numbers, found.queries)
        change = self.progress.take(step, found.numbers)
        for alert in change.alerts:
            self._alert(step, alert)
        if self._ranks.first(change.better):
            self._keep()

    def finish(self) -> None:
        """End: the weights are those that the recipe keeps, and `run.json` records which, and why training ended."""
        progress, stop = self.progress, self.progress.stop
        self._kept = self._ranks.first(progress.best is not None and self._restores)
        if self._kept and not sharded(self.trainer):
            with self._ranks.together():
                self.best.restore(self.trainer)
        if stop and stop.why == "patience" and self._at < self.steps:
            self.view.say(f"training ends after step {stop.step}: {stop.text}")
        if self._kept and progress.best and progress.best.step != self._at:
            chosen = f"{self.validator.spec.split} {progress.measure} {progress.best.value:.3f}"
            self.view.say(f"keeping the policy of step {progress.best.step} (best {chosen})")
        stopped = {**stop._asdict(), "step": self.run.global_step(stop.step)} if stop else None
        self.card = self._card(kept=self._kept)
        self.run.update(stopped=stopped)

    def leave(self) -> None:
        """Stop between two steps: the weights are those of the last one, unless none was trained."""
        if self._at:
            self.card = self._card(kept=False)

    def diverged(self) -> DivergedError:
        """End where nothing can be sampled, with the best weights where they were kept; returns the error to raise.

        No rank waits for another here: it may have happened on one alone.
        """
        args, best = self.trainer.args, self.progress.best if self._restores else None
        kept = ""
        if best and not sharded(self.trainer):
            self.best.restore(self.trainer)
            self.card = self._card(kept=True)
            kept = f"; the policy of step {self.run.global_step(best.step)}, the best, is kept"
        norm = f"{args.max_grad_norm:g}" if args.max_grad_norm else "off"
        return DivergedError(
            f"after step {self.run.global_step(self._at)} nothing can be sampled from the policy: its weights "
            f"grew until its scores of the next token are inf or nan. Lower trainer.trl.learning_rate "
            f"({args.learning_rate:g}), or set a lower trainer.trl.max_grad_norm ({norm}), and train anew{kept}"
        )

    def save_pieces(self, folder: Path) -> None:
        """After the end, save a policy whose weights are sharded; every rank must call."""
        if self._kept:
            with self._ranks.together():
                self.best.copy_to(folder)
        else:
            self.trainer.save_model(str(folder))

    @property
    def _restores(self) -> bool:
        stop = self.progress.stop
        return self.validator.spec.keep == "best" or (stop is not None and stop.why == "collapse")

    def _card(self, *, kept: bool) -> dict[str, Any]:
        """Which policy the run leaves, by which number it was chosen, and on which needs."""
        progress, split = self.progress, self.validator.spec.split
        last = progress.last if progress.last and progress.last.step == self._at else None
        validated = progress.best if kept else last
        return {
            "keep": "best" if kept else "last",
            "step": self.run.global_step(validated.step if validated else self._at),
            "measure": progress.measure,
            "value": validated.value if validated else None,
            "split": split,
            "chosen_on": split if kept else None,
            "validations": progress.validations,
        }

    def _keep(self) -> None:
        """Keep the weights as they are now, if they may be needed again."""
        spec, best = self.validator.spec, self.progress.best
        if spec.keep == "best" or spec.alarm.action == "stop":
            with self._ranks.together():
                self.best.save(self.trainer)
        if best:
            of = {"measure": self.progress.measure, "value": best.value, "split": spec.split}
            self.run.update(best={"step": self.run.global_step(best.step), **of})

    def _alert(self, step: int, alert: Alert) -> None:
        title = "stopped" if alert.level == "stop" else "warning"
        self.run.alert(step, f"{title}: {alert.sign}", alert._asdict())
        ending = "; training stops, and the best policy so far is kept" if alert.level == "stop" else ""
        self.view.warn(f"{title} after step {step}: {alert.text}{ending}")

    def _check_weights(self, step: int) -> None:
        """Nothing can be sampled from weights that are not finite: that ends a run before it fails."""
        if self.validator.spec.alarm.action == "off":
            return
        model = self.trainer.accelerator.unwrap_model(self.trainer.model)
        weights = (part.to_local() if hasattr(part, "to_local") else part for part in model.parameters())  # its own
        # One nan or inf makes the sum nan or inf. To look at each weight takes a tenth of a real model's step on a CPU.
        if self._ranks.any(not all(math.isfinite(part.detach().float().sum()) for part in weights)):
            self._alert(step, self.progress.not_finite(step))


def _whole_weights(trainer: Any) -> Any:
    """The context in which every rank can generate: sharded weights are gathered, others are there already."""
    if not sharded(trainer):
        return nullcontext()
    from trl.models.utils import unwrap_model_for_generation

    return unwrap_model_for_generation(trainer.model_wrapped, trainer.accelerator)
