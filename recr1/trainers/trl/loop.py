"""Runs a trainer of TRL to its last step, or stops it so that it can be resumed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recr1.errors import UserError
from recr1.trainers.launch import Interrupts, Ranks
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

    def run(self, start: tuple[int, Path] | None) -> None:
        """Train from a checkpoint, or from the beginning, until it ends; or save the state and raise.

        In the end the weights are those that the recipe keeps, but for a sharded model, which is saved in another way.
        """
        step, checkpoint = start or (0, None)
        with self.monitor, self.interrupts.handled():
            self.ranks.same(step)
            if self.monitor.replay(step) and checkpoint:  # killed between its last step and its end
                self.trainer._load_from_checkpoint(str(checkpoint))
                self.monitor.begin(step)
            else:
                self._train(checkpoint)
            if self.monitor.stopped:
                self.monitor.leave()
                raise KeyboardInterrupt
            self.monitor.finish()

    def _train(self, checkpoint: Path | None) -> None:
        try:
            self.trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        except NotFiniteError as error:
            raise self.monitor.diverged() from error
        except Exception:
            if self.ranks.failed:
                self.monitor.leave()
                self.resume.save_after_failure()
            raise


def check_batch(trainer: Any, rewards: Sequence[tuple[Reward, float]]) -> None:
    """Raises `UserError` for a batch of completions that cannot be trained on.

    That is one of more needs than there are, for TRL drops a batch that is not full; and one of which a process has
    parts of groups, where a reward compares the completions of a group.
    """
    group = getattr(trainer, "num_generations", None)
    if group is None:  # it trains on pairs, and generates nothing
        return
    needs, there = trainer.args.generation_batch_size // group, len(trainer.train_dataset)
    if there < needs:
        raise UserError(
            f"trainer: a batch takes {needs} needs, and there are {there} for training; lower "
            "trl.per_device_train_batch_size or trl.gradient_accumulation_steps, or raise trl.num_generations"
        )
    processes = trainer.accelerator.num_processes
    own = trainer.args.generation_batch_size // processes
    for reward, _ in rewards:
        if own % group and needs_groups(reward):
            raise UserError(
                f"reward '{reward.name}' compares the {group} completions of a need, and each of {processes} "
                f"processes has {own}: make trl.per_device_train_batch_size a multiple of {group}"
            )
