"""Runs a trainer of TRL to its last step, or stops it so that it can be resumed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recr1.errors import UserError
from recr1.trainers.launch.ranks import Interrupts, Ranks
from recr1.trainers.layers.checkpoints import ExactResume
from recr1.trainers.layers.generation import NotFiniteError
from rewards.abilities import needs_groups
from rewards.base import Reward

if TYPE_CHECKING:
    from recr1.trainers.watch.monitor import Monitor


@dataclass(frozen=True)
class Loop:
    """A trainer of TRL with all that is around it, ready to run."""

    trainer: Any
    resume: ExactResume
    ranks: Ranks
    monitor: Monitor
    interrupts: Interrupts
    steps: int

    def run(self, start: tuple[int, Path] | None) -> None:
        """Train from a checkpoint, or from the beginning, until it ends; or save the state and raise.

        In the end the weights are those that the recipe keeps, but for a sharded model, which is saved in another way.
        """
        with self.monitor, self.interrupts.heeded():
            self.ranks.same(start[0] if start else 0)
            if self.monitor.recall(start[0] if start else 0) and start:  # killed between its last step and its end
                self.trainer._load_from_checkpoint(str(start[1]))
                self.monitor.begin(start[0])
            else:
                self._train(start)
            if self.monitor.stopped:
                raise KeyboardInterrupt
            self.monitor.settle()

    def _train(self, start: tuple[int, Path] | None) -> None:
        try:
            self.trainer.train(resume_from_checkpoint=str(start[1]) if start else None)
        except NotFiniteError as error:
            raise self.monitor.diverged() from error
        except Exception:
            if self.ranks.failed:
                self.resume.save_after_failure()
            raise


def check_batch(trainer: Any) -> None:
    """Raises `UserError` for a batch of more needs than there are: TRL drops one that is not full, and all would be."""
    generates = getattr(trainer, "num_generations", None)
    if generates is None:  # it trains on pairs that are there already
        return
    needs, there = trainer.args.generation_batch_size // generates, len(trainer.train_dataset)
    if there < needs:
        raise UserError(
            f"trainer: a batch takes {needs} needs, and there are {there} for training; lower "
            "trl.per_device_train_batch_size or trl.gradient_accumulation_steps, or raise trl.num_generations"
        )


def check_groups(trainer: Any, rewards: Sequence[tuple[Reward, float]]) -> None:
    """Raises `UserError` where a reward compares the completions of a group, and processes have parts of groups."""
    generates, processes = getattr(trainer, "num_generations", None), trainer.accelerator.num_processes
    if generates is None or trainer.args.generation_batch_size // processes % generates == 0:
        return
    for reward, _ in rewards:
        if needs_groups(reward):
            own = trainer.args.generation_batch_size // processes
            raise UserError(
                f"reward '{reward.name}' compares the {generates} completions of a need, and each of {processes} "
                f"processes has {own}: make trl.per_device_train_batch_size a multiple of {generates}"
            )
