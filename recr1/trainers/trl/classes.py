"""The classes that training runs: one of ours for each trainer of TRL, and a callback; imported when it starts.

This module and `layers/head.py` import TRL at their top.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import trl
from transformers import TrainerCallback

from recr1.trainers.trl.additions import Extended, ExtendedOnline

if TYPE_CHECKING:
    from recr1.trainers.watch.monitor import Monitor

CLIPPED = 0.5
"""Share of truncated completions in a step from which on there is a warning."""


class GRPOTrainer(ExtendedOnline, trl.GRPOTrainer):  # type: ignore[misc]
    """TRL's GRPO, with additions."""


class RLOOTrainer(ExtendedOnline, trl.RLOOTrainer):  # type: ignore[misc]
    """TRL's RLOO, with additions."""


class PPOTrainer(ExtendedOnline, trl.GRPOTrainer):  # type: ignore[misc]
    """TRL's GRPO, with additions, one of which is a critic."""

    _name = "PPO"


class SFTTrainer(Extended, trl.SFTTrainer):  # type: ignore[misc]
    """TRL's supervised fine-tuning, with additions."""


class MonitorCallback(TrainerCallback):  # type: ignore[misc]
    """Calls the monitor, and ends training when the monitor says so.

    It warns once where `mask_truncated_completions` leaves much of a step out of the update: all of it has no loss.
    """

    def __init__(self, monitor: Monitor) -> None:
        self.monitor, self.warned = monitor, False

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Validate before the first step."""
        self.monitor.begin(state.global_step)

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Start the clock."""
        self.monitor.clock.start()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Stop the clock, and the run on an interrupt."""
        if self.monitor.step_ended(state.global_step):
            control.should_save = control.should_training_stop = True

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, Any], **_: Any) -> None:
        """Take the numbers of a step; TRL logs after `on_step_end`."""
        self.monitor.log(state.global_step, logs)
        if self.monitor.ended:
            control.should_training_stop = True
        share = logs.get("completions/clipped_ratio", 0.0)
        if getattr(args, "mask_truncated_completions", False) and share >= CLIPPED and not self.warned:
            self.warned = True
            self.monitor.view.say(
                f"trl.mask_truncated_completions left {share:.0%} of the completions of step {state.global_step} out "
                f"of the update: they reached policy.max_new_tokens ({args.max_completion_length}) without an end; "
                "raise it, or leave the key out"
            )
