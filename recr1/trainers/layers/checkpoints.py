"""Exact resume: checkpoints that are complete or absent, from which a run continues as if it had never stopped.

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

from recr1.trainers.trl.additions import Addition


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
            # Renamed first, so that one that is deleted half way is not taken for complete.
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


def _link(source: str, target: str) -> None:
    """The same file under another name, or a copy where the file system has no such links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _sync(folder: Path) -> None:
    """Make sure that what was written is on the disk, before it gets its name."""
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


FILE = "recr1_{rank}.pt"
"""What each rank keeps beside the files of transformers."""


class State(NamedTuple):
    """The state of a trainer between two steps, beside its weights: a step that fails half way goes back to it."""

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


class ExactResume(Addition):
    """Adds to checkpoints what an exact resume needs, and saves one where a step failed half way."""

    def __init__(self) -> None:
        self._state: State | None = None
        self._epochs_before = 0

    def begin(self, checkpoint: Path | None) -> None:
        """Read how many epochs the data was shuffled for before the checkpoint."""
        if checkpoint:
            self._epochs_before = int(json.loads((checkpoint / "trainer_state.json").read_text())["epoch"] or 0)

    def order(self, sampler: Any) -> Any:
        """The sampler, after it drew the orders of the epochs before the checkpoint."""
        import torch

        for _ in range(self._epochs_before if getattr(sampler, "shuffle", False) else 0):
            torch.randperm(sampler.num_samples, generator=sampler.generator)
        return sampler

    def mark(self) -> None:
        """Remember the state of this moment."""
        trainer = self.trainer
        step, tokens = trainer.state.global_step, trainer.state.num_input_tokens_seen
        self._state = State(step, trainer._step, trainer._buffered_inputs, tokens, _random_states())

    def save_after_failure(self) -> None:
        """Save a checkpoint of the state between the last two steps, after a step failed before its update.

        The weights have not moved since; what was drawn and generated for the failed step is forgotten.
        """
        state, trainer = self._state, self.trainer
        if state is not None and state.step == trainer.state.global_step:
            trainer._step, trainer._buffered_inputs = state.micro, state.generated
            trainer.state.num_input_tokens_seen = state.tokens
            _set_random_states(state.random)
            trainer._save_checkpoint(trainer.model, trial=None)

    def save(self, folder: Path) -> None:
        """Write what TRL and transformers leave out."""
        import torch

        trainer = self.trainer
        every = getattr(trainer.args, "steps_per_generation", 1) * getattr(trainer, "num_iterations", 1)
        state = {
            "micro": trainer._step,
            "generated": trainer._buffered_inputs if trainer._step % every else None,
            "reference": self._moving_reference(),
            "tokens": trainer._total_train_tokens,
        }
        torch.save(state, folder / FILE.format(rank=trainer.args.process_index))

    def load(self, checkpoint: Path) -> None:
        """Read it again."""
        import torch

        trainer = self.trainer
        file = checkpoint / FILE.format(rank=trainer.args.process_index)
        state = torch.load(file, map_location=trainer.args.device, weights_only=True)
        trainer._step, trainer._buffered_inputs = state["micro"], state["generated"]
        trainer._total_train_tokens = state["tokens"]
        if state["reference"] is not None:
            trainer.accelerator.unwrap_model(trainer.ref_model).load_state_dict(state["reference"])

    def _moving_reference(self) -> Any:
        trainer = self.trainer
        moves = getattr(trainer.args, "sync_ref_model", False) and trainer.ref_model is not None
        return trainer.accelerator.unwrap_model(trainer.ref_model).state_dict() if moves else None


def _random_states() -> dict[str, Any]:
    import torch

    return {
        "python": random.getstate(),
        "numpy": np.random.get_state(),
        "cpu": torch.random.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def _set_random_states(states: dict[str, Any]) -> None:
    import torch

    random.setstate(states["python"])
    np.random.set_state(states["numpy"])
    torch.random.set_rng_state(states["cpu"])
    if states["cuda"]:
        torch.cuda.set_rng_state_all(states["cuda"])
