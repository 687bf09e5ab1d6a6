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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from recr1.errors import RunError
from recr1.runs.files import remove_all, remove_folder, replace_folder, replacing, writing
from recr1.runs.manifest import damage, write_manifest
from recr1.runs.recording import FILES
from recr1.trainers.trl.additions import Addition
from retrievers.store import sync

FILE = "recr1_{rank}.pt"
"""What each rank keeps in a checkpoint, beside the files of transformers."""


class Checkpoints:
    """The folder of a run's checkpoints: `checkpoint-<step>`, the newest ones, each with a manifest.

    Args:
        folder: Where they are.
        keep: How many; None, 0 or less for all.
        beside: A folder that each checkpoint holds as it was at that step, where it is there.
        logs: The run folder, whose logs are resumed with a checkpoint; by default the folder above.
    """

    def __init__(
        self, folder: Path, keep: int | None = None, beside: Path | None = None, logs: Path | None = None
    ) -> None:
        self.folder, self.keep, self.beside, self.logs = folder, keep, beside, logs or folder.parent
        self.part = folder / ".part"

    def steps(self) -> dict[int, Path]:
        """The checkpoints by their step, in order."""
        found = {path: re.fullmatch(r"checkpoint-(\d+)", path.name) for path in self.folder.glob("checkpoint-*")}
        return dict(sorted((int(match[1]), path) for path, match in found.items() if match))

    def newest(self, say: Callable[[str], None]) -> tuple[int, Path] | None:
        """The step and the folder of the newest checkpoint without damage, None where there is no checkpoint.

        Damaged ones after it are renamed to `damaged-<step>`, which `say` says. Raises `RunError` if all are damaged.
        """
        found: dict[Path, str] = {}
        for step, path in reversed(self.steps().items()):
            what = damage(path, self.logs)
            if what is None:
                for other, why in found.items():
                    moved = other.with_name(other.name.replace("checkpoint", "damaged"))
                    remove_folder(moved)
                    other.replace(moved)
                    say(f"{other} is damaged ({why}): an older one is used, and it is renamed to {moved.name}")
                return step, path
            found[path] = what
        if found:
            listed = "".join(f"\n  {path.name}: {why}" for path, why in found.items())
            what = f"all checkpoints in {self.folder} are damaged:{listed}"
            raise RunError(f"{what}\nrestore one of these files, or remove that folder to begin with the first step")
        return None

    @contextmanager
    def saving(self) -> Iterator[None]:
        """Names the folder where a checkpoint cannot be written, and removes what was written of it."""
        try:
            with writing(self.folder):
                yield
        except BaseException:
            self.clean()  # where the disk is full, this makes room to record the failure
            raise

    def complete(self, step: int) -> None:
        """Move what was written under `part` to its place, in one move, and prune the oldest."""
        name = f"checkpoint-{step}"
        written = self.part / name
        if self.beside and self.beside.is_dir():
            shutil.copytree(self.beside, written / self.beside.name, copy_function=_link)
        for log in FILES:
            if (self.logs / log).exists():
                sync(self.logs / log)
        write_manifest(written, self.logs)
        replace_folder(written, self.folder / name)
        for old in list(self.steps().values())[: -self.keep] if self.keep and self.keep > 0 else ():
            remove_folder(old)

    def bring_back(self, checkpoint: Path) -> None:
        """Make the folder beside them what it was at a checkpoint."""
        if self.beside and (checkpoint / self.beside.name).is_dir():
            with replacing(self.beside) as (part,):
                shutil.copytree(checkpoint / self.beside.name, part, copy_function=_link)

    def clean(self) -> None:
        """Remove what a crash left half written."""
        remove_all([self.part, *self.folder.glob(".*.old")])


def _link(source: str, target: str) -> None:
    """The same file under another name, or a copy where the file system has no such links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


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
