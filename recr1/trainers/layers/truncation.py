"""A trap of `mask_truncated_completions`: where all completions reach their limit, the loss is 0, in silence."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

SHARE = 0.5
"""Share of truncated completions in a step from which on it is told."""


def truncation_watch(say: Callable[[str], None], limit: int) -> Any:
    """A `TrainerCallback` that says it once when much of a step was left out of the update because it was cut.

    Args:
        say: Where a line goes.
        limit: Tokens of a completion, `policy.max_new_tokens`.
    """
    from transformers import TrainerCallback

    class Watch(TrainerCallback):  # type: ignore[misc]
        told = False

        def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, Any], **_: Any) -> None:
            share = logs.get("completions/clipped_ratio", 0.0)
            if not self.told and share >= SHARE:
                self.told = True
                say(
                    f"trl.mask_truncated_completions left {share:.0%} of the completions of step {state.global_step} "
                    f"out of the update: they reached policy.max_new_tokens ({limit}) without an end; raise it, or "
                    "leave the key out"
                )

    return Watch()
