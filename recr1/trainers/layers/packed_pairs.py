"""Pairs of a batch in few rows without padding, where TRL pads each to the longest; their beginning is read once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from recr1.policies.cpu import is_large
from recr1.policies.reading import can_share
from recr1.trainers.layers.rows import Prompted, arranged, common
from recr1.trainers.layers.shared_prompts import attention
from recr1.trainers.pairs.pairs import IGNORED
from recr1.trainers.trl.additions import Addition

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel


def pays(model: PreTrainedModel) -> bool:
    """Whether packed pairs give the same numbers in less time: on a CPU, with a large vocabulary, and no experts."""
    return is_large(model) and can_share(model) and not getattr(model.config, "output_router_logits", False)


class PackedPairs(Addition):
    """Reads a batch that `packed` made, and counts its tokens as without it."""

    def around_pairs(self, compute: Callable[..., Any], batch: dict[str, Any], **more: Any) -> Any:
        """TRL's loss."""
        trainer, tokens = self.trainer, batch.pop("tokens")
        before = trainer._total_train_tokens
        with trainer.accelerator.autocast(), attention(trainer.args):
            loss = compute(batch, **more)
        trainer._total_train_tokens = before + trainer.accelerator.gather(tokens).sum().item()
        trainer._metrics["train"]["num_tokens"] = [trainer._total_train_tokens]
        return loss


def packed(pairs: Sequence[dict[str, list[int]]]) -> dict[str, Tensor]:
    """The batch of pairs, each with `input_ids` and `labels`: R rows of L tokens for a model.

    `input_ids`, `position_ids` and `labels` are (R, L), `attention_mask` is (R, 1, L, L), and `tokens` is how many
    tokens the pairs have in rows of their own.
    """
    import torch

    ids = [pair["input_ids"] for pair in pairs]
    taught = [next(place for place, label in enumerate(pair["labels"]) if label != IGNORED) for pair in pairs]
    begin = max(min(common(ids), min(taught) - 1), 0)  # no rest begins with an answer
    rests = [(pair["input_ids"][begin:], pair["labels"][begin:]) for pair in pairs]
    rows = arranged(ids[0][:begin], [Prompted([], [rest]) for rest in rests])
    tokens = torch.tensor(sum(map(len, ids)))
    return {
        "input_ids": rows.input_ids,
        "position_ids": rows.position_ids,
        "labels": rows.labels,
        "attention_mask": rows.attention_mask,
        "tokens": tokens,
    }
