"""From chats to token ids: the one place where a prompt becomes what a model reads, to generate and to train."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rewards.base import Chat

if TYPE_CHECKING:
    from torch import Tensor


def prompt_ids(tokenizer: Any, chats: Sequence[Chat]) -> list[list[int]]:
    """The token ids of each chat by the tokenizer's chat template, up to where the answer begins; not padded."""
    listed = [[dict(message) for message in chat] for chat in chats]
    read = tokenizer.apply_chat_template(listed, add_generation_prompt=True, tokenize=True, return_dict=True)
    ids: list[list[int]] = read["input_ids"]
    return ids


def prompt_tensors(tokenizer: Any, chats: Sequence[Chat], device: Any) -> tuple[Tensor, Tensor]:
    """Token ids and mask (both (B, P)) of a batch of chats, padded on the left: generation continues the last column.

    The side is not the tokenizer's to choose: most tokenizers pad right, and `apply_chat_template(padding_side="left")`
    is ignored by transformers 5.23, so that shorter prompts would be continued from padding.
    """
    import torch

    ids = prompt_ids(tokenizer, chats)
    width = max(map(len, ids))
    padded = [[tokenizer.pad_token_id] * (width - len(row)) + row for row in ids]
    mask = [[0] * (width - len(row)) + [1] * len(row) for row in ids]
    return torch.tensor(padded, device=device), torch.tensor(mask, device=device)
