"""What training computes in its first step, kept to be compared with evaluation."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from recr1.trainers.trl.additions import Addition

if TYPE_CHECKING:
    from torch import Tensor

ROWS = 8
"""Different prompts that are kept."""


class Recorder(Addition):
    """Makes the first step greedy, and keeps some of its completions with the log-probabilities of its update."""

    def __init__(self) -> None:
        self.rows: dict[tuple[int, ...], dict[str, list[Any]]] = {}
        self.greedy, self._sampled = False, True

    def before_scoring(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Take the most likely tokens in the first step, and sample as the recipe says afterwards."""
        config = getattr(self.trainer, "generation_config", None)  # vLLM has none
        if config is not None and not getattr(self.trainer, "use_vllm", False):
            if self.trainer.state.global_step == 0:
                self.greedy, self._sampled, config.do_sample = True, config.do_sample, False
            else:
                config.do_sample = self._sampled
        return rows

    def around_log_probabilities(
        self,
        compute: Callable[..., Any],
        model: Any,
        input_ids: Tensor,
        attention_mask: Tensor,
        logits_to_keep: int,
        *given: Any,
        **more: Any,
    ) -> Any:
        """Compute them, and keep those of the first step."""
        found = compute(model, input_ids, attention_mask, logits_to_keep, *given, **more)
        if self.trainer.state.global_step == 0 and len(self.rows) < ROWS:
            for ids, mask, logps in zip(input_ids, attention_mask.bool(), found[0].detach().float(), strict=True):
                prompt, answer = ids[:-logits_to_keep], ids[-logits_to_keep:]
                there = mask[-logits_to_keep:]
                read = tuple(prompt[mask[:-logits_to_keep]].tolist())
                kept = {"ids": answer[there].tolist(), "logps": logps[there].tolist()}
                if kept["ids"] and len(self.rows) < ROWS:
                    self.rows.setdefault(read, kept)
        return found

    def facts(self) -> dict[str, Any]:
        """What was kept, as plain JSON values."""
        trainer = self.trainer
        every = getattr(trainer.args, "steps_per_generation", None) or 1
        return {
            "rows": [{"prompt": list(prompt), **row} for prompt, row in self.rows.items()],
            "greedy": self.greedy,
            "temperature": float(getattr(trainer, "temperature", 1.0)),
            "precision": trainer.accelerator.mixed_precision,
            "per_generation": max(1, every // trainer.args.gradient_accumulation_steps)
            * getattr(trainer, "num_iterations", 1),
        }
