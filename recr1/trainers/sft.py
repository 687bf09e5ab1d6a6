"""Supervised fine-tuning on TRL's `SFTTrainer`: a policy is shown needs with good answers, and makes those more likely.

The loss of a batch is the mean, over the tokens of its answers and their ends, of minus their log-probability given all
that comes before; the tokens of prompts have none. Prompt and answer are put together as generation does it, so that
what is learned is what is asked for later.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from recr1.config.build import EvaluationSpec, Part, build, find_class
from recr1.env import Environment
from recr1.errors import UserError
from recr1.runs import Run
from recr1.trainers.base import TRLTrainer
from recr1.trainers.launch import FailureBudget, Ranks
from recr1.trainers.layers.packed_pairs import PackedPairs, packed, pays
from recr1.trainers.pairs.pairs import IGNORED, Pair, Pairs, example
from recr1.trainers.trl.additions import Addition
from retrievers.options import checked, options_of

if TYPE_CHECKING:
    from recr1.trainers.watch.monitor import Monitor

AS_GENERATED = "prompt and answer are put together as generation does it"
MEANINGLESS = {
    **dict.fromkeys(("max_length", "truncation_mode"), "nothing is cut; an answer has policy.max_new_tokens"),
    **dict.fromkeys(("packing", "packing_strategy", "eval_packing"), "each pair is a row of its own"),
    **dict.fromkeys(("completion_only_loss", "assistant_only_loss"), "the loss is that of the answer alone"),
    **dict.fromkeys(("dataset_text_field", "dataset_kwargs", "dataset_num_proc"), "set trainer.pairs"),
    **dict.fromkeys(("eos_token", "pad_token", "chat_template_path"), AS_GENERATED),
    "shuffle_dataset": "the data is in another order in each epoch already",
}
"""Keys of `SFTConfig` that mean nothing here, and why."""


@checked
@dataclass(kw_only=True)
class SFT(TRLTrainer):
    """Supervised fine-tuning, on pairs of a file or on the best of what the policy writes itself.

    `trl` takes the keys of TRL's `SFTConfig`, such as learning_rate, per_device_train_batch_size and loss_type.
    """

    name: ClassVar[str] = "sft"
    config: ClassVar[str] = "SFTConfig"
    trainer: ClassVar[str] = "SFTTrainer"
    meaningless: ClassVar[Mapping[str, str]] = MEANINGLESS

    pairs: dict[str, Any]
    """Where the pairs come from: {type: file, path: pairs.tsv}, {type: sampled, per_need: 8}, or your own."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._source: Pairs = build("pairs", self.pairs)

    def train(self, policy: Part, env: Environment, run: Run, *, seed: int, evaluation: EvaluationSpec) -> Path:
        """Train the policy and save it, as every trainer does; returns the folder of the trained policy."""
        if "seed" in options_of(find_class("policy", policy.type)):  # what is sampled follows the seed of the run
            policy = Part(policy.type, {"seed": seed, **policy.options})
        return super().train(policy, env, run, seed=seed, evaluation=evaluation)

    def _material(self, learner: Any, env: Environment, run: Run, ranks: Ranks) -> dict[str, Any]:
        from datasets import Dataset

        pairs = self._source.pairs(env, learner, run, ranks, FailureBudget(self.failure_budget))
        material = {"train_dataset": Dataset.from_list(examples(learner, env, pairs))}
        return {**material, "data_collator": packed} if pays(learner.model) else material

    def _additions(self, learner: Any, monitor: Monitor) -> list[Addition]:
        return [PackedPairs()] if pays(learner.model) else []

    def _lengths(self, learner: Any) -> dict[str, Any]:
        return {"max_length": None, "dataset_kwargs": {"skip_prepare_dataset": True}}


def examples(learner: Any, env: Environment, pairs: Sequence[Pair]) -> list[dict[str, list[int]]]:
    """Each pair in tokens; raises `UserError` where the policy may not write an answer that long."""
    prompts = env.prompts([pair.need for pair in pairs])
    rows = [example(learner.tokenizer, prompt, pair.completion) for prompt, pair in zip(prompts, pairs, strict=True)]
    lengths = [sum(label != IGNORED for label in row["labels"]) for row in rows]
    longest = max(range(len(rows)), key=lengths.__getitem__)
    if lengths[longest] > learner.max_new_tokens:
        raise UserError(
            f"{pairs[longest].place}: the answer has {lengths[longest]} tokens, and policy.max_new_tokens is "
            f"{learner.max_new_tokens}: set that to {lengths[longest]} or more"
        )
    whole, context = [len(row["labels"]) for row in rows], getattr(learner, "context", None)
    longest = max(range(len(rows)), key=whole.__getitem__)
    if context is not None and whole[longest] > context:
        what = f"prompt and answer have {whole[longest]} tokens, and the model's context has {context}"
        raise UserError(f"{pairs[longest].place}: {what}: shorten the need or the prompt, or leave the pair out")
    return rows
