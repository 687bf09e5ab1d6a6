"""Checkpoints that are whole or not there, and that a run goes on from as if it had never stopped.

TRL and transformers save weights, optimizer, scheduler, random numbers and their place in the data. They leave out what
would change the numbers all the same: completions that were generated and wait for their update, the reference policy
where it moves, and the order of the data after the first epoch.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from recr1.trainers.launch.ranks import Ranks

OURS = "recr1_{rank}.pt"
"""What each rank keeps beside the files of transformers."""


class Checkpoints:
    """The folder of a run's checkpoints: `checkpoint-<step>`, the newest ones.

    Args:
        folder: Where they are.
        keep: How many; None for all.
        beside: A folder that each checkpoint holds as it was at that step, where it is there.
    """

    def __init__(self, folder: Path, keep: int | None = None, beside: Path | None = None) -> None:
        self.folder, self.keep, self.beside = folder, keep, beside
        self.part = folder / ".part"

    def steps(self) -> dict[int, Path]:
        """The checkpoints by their step, in order."""
        found = {path: re.fullmatch(r"checkpoint-(\d+)", path.name) for path in self.folder.glob("checkpoint-*")}
        return dict(sorted((int(match[1]), path) for path, match in found.items() if match))

    def newest(self) -> tuple[int, Path] | None:
        """The last step that was saved, and where."""
        steps = self.steps()
        return next(reversed(steps.items())) if steps else None

    def complete(self, step: int) -> None:
        """Move what was written under `part` to its place, in one move, and prune the oldest."""
        name = f"checkpoint-{step}"
        if self.beside and self.beside.is_dir():
            shutil.copytree(self.beside, self.part / name / self.beside.name, copy_function=_link)
        _sync(self.part / name)
        (self.part / name).replace(self.folder / name)
        _sync_folder(self.folder)
        for old in list(self.steps().values())[: -self.keep] if self.keep else ():
            # Renamed first, so that one that is deleted by halves is not taken for whole.
            gone = self.part / old.name
            old.replace(gone)
            shutil.rmtree(gone)

    def bring_back(self, checkpoint: Path | None) -> None:
        """Make the folder beside them what it was at a checkpoint, or before the first step: not there."""
        if self.beside is None:
            return
        shutil.rmtree(self.beside, ignore_errors=True)
        if checkpoint and (checkpoint / self.beside.name).is_dir():
            shutil.copytree(checkpoint / self.beside.name, self.beside, copy_function=_link)

    def clean(self) -> None:
        """Remove what a crash left half written."""
        shutil.rmtree(self.part, ignore_errors=True)

    def remove(self) -> None:
        """Remove them all, and the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)


class Moment(NamedTuple):
    """Where a trainer is between two steps, beside its weights: a step that fails half way goes back to it."""

    step: int
    """Optimizer steps that were made."""
    micro: int
    """Micro-batches that were trained on."""
    generated: Any
    """Completions that wait for their update."""
    tokens: int
    """Tokens that were generated and read."""
    random: dict[str, Any]
    """The state of every random number generator."""


_Trainer: Any = object
"""Stands for the class of TRL that comes behind `Resumable`; it is not imported before it is used."""


class Resumable(_Trainer):  # type: ignore[misc]
    """What is laid before a trainer of TRL."""

    checkpoints: Checkpoints
    _moment: Moment | None = None
    _epochs_before = 0
    # Of a trainer that generates nothing; others set their own.
    _step = 0
    _buffered_inputs: Any = None
    _total_train_tokens = 0

    def train(self, resume_from_checkpoint: str | None = None, **more: Any) -> Any:
        """Train, from a checkpoint where one is given."""
        if resume_from_checkpoint:
            state = json.loads((Path(resume_from_checkpoint) / "trainer_state.json").read_text())
            self._epochs_before = int(state["epoch"] or 0)
        return super().train(resume_from_checkpoint=resume_from_checkpoint, **more)

    def save_moment(self) -> None:
        """Save the state between the last two steps, after one failed on its way from completions to rewards.

        The weights have not moved since; what was drawn and generated for the failed step is forgotten.
        """
        if self._moment is not None and self._moment.step == self.state.global_step:
            self._go_back(self._moment)
            self._save_checkpoint(self.model, trial=None)

    def mark(self) -> None:
        """Remember this moment."""
        self._moment = Moment(
            self.state.global_step,
            self._step,
            self._buffered_inputs,
            self.state.num_input_tokens_seen,
            _random_states(),
        )

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """None for a checkpoint."""

    def _get_output_dir(self, trial: Any) -> str:
        return str(self.checkpoints.part)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        step = self.state.global_step
        if Ranks().first(step in self.checkpoints.steps()):  # others may have a folder of their own, without it
            return
        super()._save_checkpoint(model, trial)
        self._save_ours(self.checkpoints.part / f"checkpoint-{step}")
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            self.checkpoints.complete(step)
        self.accelerator.wait_for_everyone()

    def _save_ours(self, folder: Path) -> None:
        import torch

        waiting = self._buffered_inputs if self._step % self._generate_every else None
        state = {
            "micro": self._step,
            "generated": waiting,
            "reference": self._moving_reference(),
            "tokens": self._total_train_tokens,
        }
        torch.save(state, folder / OURS.format(rank=self.args.process_index))

    def _moving_reference(self) -> Any:
        moves = getattr(self.args, "sync_ref_model", False) and self.ref_model is not None
        return self.accelerator.unwrap_model(self.ref_model).state_dict() if moves else None

    @property
    def _generate_every(self) -> int:
        return int(getattr(self.args, "steps_per_generation", 1) * getattr(self, "num_iterations", 1))

    def _load_rng_state(self, checkpoint: str | None) -> None:
        import torch

        super()._load_rng_state(checkpoint)
        if checkpoint is None:
            return
        file = Path(checkpoint) / OURS.format(rank=self.args.process_index)
        state = torch.load(file, map_location=self.args.device, weights_only=True)
        self._step, self._buffered_inputs = state["micro"], state["generated"]
        self._total_train_tokens = state["tokens"]
        if state["reference"] is not None:
            self.accelerator.unwrap_model(self.ref_model).load_state_dict(state["reference"])

    def _get_train_sampler(self, dataset: Any = None) -> Any:
        import torch

        sampler = super()._get_train_sampler(dataset)
        for _ in range(self._epochs_before if getattr(sampler, "shuffle", False) else 0):
            torch.randperm(sampler.num_samples, generator=sampler.generator)  # as each epoch before drew one
        return sampler

    def _maybe_log_save_evaluate(self, *args: Any, **kwargs: Any) -> None:
        self.mark()
        super()._maybe_log_save_evaluate(*args, **kwargs)
        self.mark()

    def _go_back(self, moment: Moment) -> None:
        import torch

        self._step, self._buffered_inputs = moment.micro, moment.generated
        self.state.num_input_tokens_seen = moment.tokens
        random.setstate(moment.random["python"])
        np.random.set_state(moment.random["numpy"])
        torch.random.set_rng_state(moment.random["cpu"])
        if moment.random["cuda"]:
            torch.cuda.set_rng_state_all(moment.random["cuda"])


def resumable(trainer_class: Any) -> Any:
    """TRL's trainer class with checkpoints that are whole and exact; set `checkpoints` before it trains."""
    return type(trainer_class.__name__, (Resumable, trainer_class), {})


def _random_states() -> dict[str, Any]:
    import torch

    return {
        "python": random.getstate(),
        "numpy": np.random.get_state(),
        "cpu": torch.random.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def _link(source: str, target: str) -> None:
    """The same file under another name, or a copy where the file system has no such links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _sync(folder: Path) -> None:
    """Make sure that what was written is on the disk, before its name says so."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
    _sync_folder(folder)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
