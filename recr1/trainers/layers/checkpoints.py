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
from typing import Any

import numpy as np

from recr1.trainers.trl.additions import Addition

FILE = "recr1_{rank}.pt"
"""What each rank keeps in a checkpoint, beside the files of transformers."""


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
        written = self.part / name
        if self.beside and self.beside.is_dir():
            shutil.copytree(self.beside, written / self.beside.name, copy_function=_link)
        for path in [*sorted(file for file in written.rglob("*") if file.is_file()), written]:
            _sync(path)  # it is on the disk before it has its name
        written.replace(self.folder / name)
        _sync(self.folder)
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


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class ExactResume(Addition):
    """Adds to checkpoints what an exact resume needs, and saves one where a step failed half way."""

    def __init__(self) -> None:
        self._between: tuple[Any, ...] = (None,)
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
        """Remember the state between two steps, beside the weights: a step that fails half way goes back to it."""
        trainer, state = self.trainer, self.trainer.state
        counted = trainer._step, state.num_input_tokens_seen
        self._between = state.global_step, counted, trainer._buffered_inputs, _random_states()

    def save_after_failure(self) -> None:
        """Save a checkpoint of the state between the last two steps, after a step failed before its update.

        The weights have not moved since; what was drawn and generated for the failed step is forgotten.
        """
        trainer = self.trainer
        if self._between[0] == trainer.state.global_step:
            _, counted, trainer._buffered_inputs, random_states = self._between
            trainer._step, trainer.state.num_input_tokens_seen = counted
            _set_random_states(random_states)
            trainer._save_checkpoint(trainer.model, trial=None)

    def save(self, folder: Path) -> None:
        """Write what TRL and transformers leave out."""
        import torch

        trainer = self.trainer
        every = getattr(trainer.args, "steps_per_generation", 1) * getattr(trainer, "num_iterations", 1)
        moves = getattr(trainer.args, "sync_ref_model", False) and trainer.ref_model is not None
        state = {
            "micro": trainer._step,
            "generated": trainer._buffered_inputs if trainer._step % every else None,
            "reference": trainer.accelerator.unwrap_model(trainer.ref_model).state_dict() if moves else None,
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
