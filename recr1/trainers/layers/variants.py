"""Completions of a group that read different prompts of one need: candidates in another order, a word about the person.

The advantage of a completion is still how far its reward is from the mean of its group. With the rewards `disagreement`
and `by_person` the others of the group are what it is compared with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from recr1.config.build import AuditSpec
from recr1.trainers.trl.additions import Addition

NEEDS_ONE_PROMPT = {"dynamic_sampling": 0, "list_credit": "whole"}
"""Options that read the needs of a batch by their ids alone, and the values with which they do not."""


class Variants(Addition):
    """Gives each row of a batch its own variant of its need; random numbers depend on the step and the row alone."""

    def __init__(self, *, own_order: bool, words: Mapping[str, Sequence[str]] | None) -> None:
        self.own_order = own_order
        self.words = [(attribute, word) for attribute, of in (words or {}).items() for word in of]

    def before_scoring(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The rows with the prompt of their variant, and the variant itself for the rewards."""
        trainer = self.trainer
        if not trainer.model.training:
            return rows
        env, step = trainer.reward_funcs[0].env, int(trainer.state.global_step)
        rng = np.random.default_rng([trainer.args.seed, step, trainer.accelerator.process_index])
        varied = []
        for place, row in enumerate(rows):
            need = env.need(row["need_id"])
            if self.own_order:
                need = need.in_order(rng.permutation(len(need.candidates)).tolist())
            if self.words and place % 2:
                need = need.of_person(*self.words[int(rng.integers(len(self.words)))], AuditSpec.sentence)
            varied.append(need)
        prompts = [[dict(message) for message in chat] for chat in env.prompts(varied)]
        return [
            {**row, "prompt": prompt, "variant": need} for row, prompt, need in zip(rows, prompts, varied, strict=True)
        ]


def variant_problems(options: Mapping[str, Any]) -> list[str]:
    """What does not go with prompts that differ within a group."""
    used = [name for name in ("own_order", "own_word") if options.get(name)]
    others = [name for name, off in NEEDS_ONE_PROMPT.items() if options.get(name, off) != off]
    return [f"{name}: does not go with {other}: leave one of them out" for name in used[:1] for other in others]
