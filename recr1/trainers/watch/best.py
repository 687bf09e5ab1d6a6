"""The best policy so far: which validation was best, whether training should end, and the best weights on disk.

The progress of a run is computed from its log, line by line, so that a resumed run decides what it would have decided.
Only weights that are trained are kept: those of the frozen model under an adapter are where they were. Each checkpoint
holds them too, as links that cost nothing, so that a run resumes with the best of that checkpoint.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from recr1.config.build import EvaluationSpec
from recr1.runs.files import replacing, writing
from recr1.trainers.watch.alarm import Alarm, Alert

FOLDER, WEIGHTS = "best", "weights.safetensors"


class Validated(NamedTuple):
    """A validated policy: its step, and the mean of the first measure."""

    step: int
    value: float


class Stop(NamedTuple):
    """Why training ended before its last step."""

    why: Literal["patience", "collapse"]
    step: int
    text: str


class Change(NamedTuple):
    """What a line of the log changes: whether its policy is the best so far, and alerts."""

    better: bool
    alerts: list[Alert]


class Progress:
    """What was best so far, and whether training should end."""

    def __init__(self, spec: EvaluationSpec, measure: str) -> None:
        """Begin; `measure` is the name of the one that decides."""
        self.spec, self.measure = spec, measure
        self.main = f"eval/{spec.split}/{measure}"
        self.best: Validated | None = None
        self.last: Validated | None = None
        self.validations = self.waited = 0
        self.stop: Stop | None = None
        self._bar = -math.inf
        self._alarm = Alarm(spec.alarm, self.main)

    def take(self, step: int, numbers: Mapping[str, Any]) -> Change:
        """Take a line of the log: the numbers of a training step, or of a validation."""
        alerts = self._alarm.take(numbers)
        for alert in alerts:
            if alert.level == "stop" and self.stop is None:
                self.stop = Stop("collapse", step, alert.text)
        value = numbers.get(self.main)
        if value is None or not math.isfinite(value):
            return Change(better=False, alerts=alerts)
        return Change(self._validated(Validated(step, float(value)), numbers), alerts)

    def not_finite(self, step: int) -> Alert:
        """The weights are not finite: nothing can be sampled from them."""
        level: Literal["warning", "stop"] = "stop" if self.spec.alarm.action == "stop" else "warning"
        text = "weights are not finite: lower trl.learning_rate or trl.max_grad_norm"
        if level == "stop":
            self.stop = self.stop or Stop("collapse", step, text)
        return Alert(level, "weights", text, {})

    def _validated(self, now: Validated, numbers: Mapping[str, Any]) -> bool:
        spec = self.spec
        self.last, self.validations = now, self.validations + 1
        better = self.best is None or now.value > self.best.value
        if better:
            self.best = now
            named = {"value": self.main, "error": f"{self.main}/stderr", "words": f"eval/{spec.split}/query/words"}
            self._alarm.best = {key: numbers[name] for key, name in named.items() if numbers.get(name) is not None}
        gained = now.value > self._bar + (spec.min_gain if self.validations > 1 else 0.0)
        self._bar, self.waited = (now.value, 0) if gained else (self._bar, self.waited + 1)
        if spec.patience is not None and self.waited >= spec.patience and self.stop is None:
            gain = f" by more than {spec.min_gain:g}" if spec.min_gain else ""
            waited = f"{self.waited} validation{'s' if self.waited > 1 else ''} (evaluate.patience {spec.patience})"
            self.stop = Stop("patience", now.step, f"{self.measure} has not passed {self._bar:.3f}{gain} in {waited}")
        return better


class Best:
    """The folder with the best weights; every rank calls, the writing one writes.

    Weights that are sharded over ranks are kept as the trainer saves them, in Hugging Face format.
    """

    def __init__(self, folder: Path, *, writer: bool) -> None:
        self.folder, self.writer = folder, writer

    def save(self, trainer: Any) -> None:
        """Keep the trainer's weights, and drop those that were kept before."""
        from safetensors.torch import save_file

        # A folder is put in its place, never written into: its files may be linked from checkpoints.
        with writing(self.folder), replacing(self.folder, writer=self.writer) as (part,):
            if sharded(trainer):
                trainer.accelerator.wait_for_everyone()
                trainer.save_model(str(part))
                trainer.accelerator.wait_for_everyone()
            elif self.writer:
                part.mkdir(parents=True)
                weights = {name: value.detach().cpu().contiguous() for name, value in _trained(trainer)}
                save_file(weights, part / WEIGHTS)

    def restore(self, trainer: Any) -> None:
        """Make the best weights the trainer's again, in the process that writes."""
        import torch
        from safetensors.torch import load_file

        if self.writer:
            kept = load_file(self.folder / WEIGHTS)
            with torch.no_grad():
                for name, weights in _trained(trainer):
                    weights.copy_(kept[name])

    def copy_to(self, folder: Path) -> None:
        """Write the best weights of a sharded model as they were saved."""
        if self.writer:
            shutil.copytree(self.folder, folder, dirs_exist_ok=True)


def sharded(trainer: Any) -> bool:
    """Whether no rank has all weights."""
    return bool(trainer.is_deepspeed_enabled or trainer.is_fsdp_enabled)


def _trained(trainer: Any) -> list[tuple[str, Any]]:
    model = trainer.accelerator.unwrap_model(trainer.model)
    return [(name, weights) for name, weights in model.named_parameters() if weights.requires_grad]
