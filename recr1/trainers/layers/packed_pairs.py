"""Pairs of a batch in few rows without padding, where TRL pads each to the longest: what all begin with is read once.

    what all begin with | rest of pair 1 | rest of pair 2 | ...

Each rest sees the beginning and itself alone, and its positions continue those of the beginning, so that every token
has the log-probability that it has in a row of its own, up to rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from recr1.policies.cpu import is_large
from recr1.policies.reading import can_share
from recr1.trainers.layers.shared_prompts import attention, sees
from recr1.trainers.pairs.pairs import IGNORED
from recr1.trainers.trl.additions import Addition

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

ROW = 256
"""Tokens of a row, at most; a longer pair has a row of its own. Attention costs the square of it."""


def pays(model: PreTrainedModel) -> bool:
    """Whether packed pairs give the same numbers in less time: on a CPU, with a large vocabulary, and no experts."""
    return is_large(model) and can_share(model) and not getattr(model.config, "output_router_logits", False)


class PackedPairs(Addition):
    """Reads a batch that `packed` made, and counts its tokens as without it."""

    def around_pairs(self, compute: Callable[..., Any], batch: dict[str, Any], **more: Any) -> Any:
        """TRL's loss."""
        trainer, tokens = self.trainer, batch.pop("tokens")
        before = trainer._total_train_tokens
        with trainer.accelerator.autocast(), attention():
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
    alike = takewhile(lambda tokens: len(set(tokens)) == 1, zip(*ids, strict=False))
    begin = [tokens[0] for tokens in alike][: max(min(taught) - 1, 0)]  # no rest begins with an answer
    rests = [own[len(begin) :] for own in ids]
    rows: list[list[int]] = []
    room = 0
    for number, rest in enumerate(rests):
        if not rows or len(rest) > room:
            rows.append([])
            room = ROW - len(begin)
        rows[-1].append(number)
        room -= len(rest)
    width = len(begin) + max(sum(len(rests[number]) for number in row) for row in rows)
    found = {name: torch.zeros((len(rows), width), dtype=torch.long) for name in ("input_ids", "position_ids")}
    found["labels"] = torch.full((len(rows), width), IGNORED)
    branch = torch.full((len(rows), width), -2)
    for row, numbers in enumerate(rows):
        start = len(begin)
        found["input_ids"][row, :start] = torch.tensor(begin)
        found["position_ids"][row, :start] = torch.arange(start)
        branch[row, :start] = -1
        for number in numbers:
            place = slice(start, start + len(rests[number]))
            found["input_ids"][row, place] = torch.tensor(rests[number])
            found["position_ids"][row, place] = torch.arange(len(begin), len(ids[number]))
            found["labels"][row, place] = torch.tensor(pairs[number]["labels"][len(begin) :])
            found["labels"][row, start] = IGNORED  # nothing of its pair is before it, as in a row of its own
            branch[row, place] = number
            start = place.stop
    return {**found, "attention_mask": sees(branch), "tokens": torch.tensor(sum(map(len, ids)))}
