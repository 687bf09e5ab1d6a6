"""Prompts are read once: each different one for all of its completions, and what all begin with for all of them.

Completions of a large vocabulary leave the batch soon after they ended.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from recr1.policies.cpu import is_large

if TYPE_CHECKING:
    from torch import Tensor


PIECE = 4
"""Tokens that are generated before the completions that have ended leave the batch."""


def can_share(model: Any) -> bool:
    """Whether a model gives a token the same numbers in a row with others: by its masks and positions alone."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    config = base.config
    kinds = getattr(config, "layer_types", None)
    looks_back = set(kinds) == {"full_attention"} if kinds else not getattr(config, "sliding_window", None)
    masked = getattr(config, "_attn_implementation", None) == "sdpa"
    return masked and looks_back and "position_ids" in inspect.signature(base.forward).parameters


def generate_from_shared(
    model: Any, generate: Any, *, input_ids: Tensor, attention_mask: Tensor, **options: Any
) -> Any:
    """What the model's `generate` gives for prompts (B, P), padded at the left, after each different one was read once.

    The options are those of `generate`. Where the vocabulary is large, what all prompts begin with is read once for all
    of them, and comes before their padding in the rows that are returned.
    """
    import torch
    from transformers import DynamicCache

    read = input_ids.shape[1] - 1  # the last token is read by `generate`, which wants one to begin with
    cache, large = None, is_large(model)
    if read:
        both, rows = torch.unique(torch.cat([input_ids, attention_mask], 1), dim=0, return_inverse=True)
        ids, mask = both.chunk(2, dim=1)
        cache, start = DynamicCache(config=model.config), 0
        if large:
            ids, mask, start = _prefix_first(ids, mask)
            input_ids, attention_mask = ids[rows], mask[rows]
        read_by = _trunk(model)
        if start:
            read_by(input_ids=ids[:1, :start], past_key_values=cache, use_cache=True)
            cache.batch_repeat_interleave(len(ids))
        if start < read:
            positions = (mask[:, :read].cumsum(1) - 1).masked_fill(mask[:, :read] == 0, 1)  # as `generate` numbers them
            rest = {"input_ids": ids[:, start:read], "position_ids": positions[:, start:]}
            read_by(**rest, attention_mask=mask[:, :read], past_key_values=cache, use_cache=True)
        cache.batch_select_indices(rows)
    in_pieces = large and not options.get("return_dict_in_generate")
    generated = partial(_generate_in_pieces, generate) if in_pieces else generate
    return generated(input_ids=input_ids, attention_mask=attention_mask, past_key_values=cache, **options)


def _generate_in_pieces(
    generate: Any, *, input_ids: Tensor, attention_mask: Tensor, past_key_values: Any, **options: Any
) -> Tensor:
    """The same, some tokens at a time; what has ended is not read to the end of the longest."""
    import torch

    config = options.get("generation_config")
    limit, ends, pad = (
        options[name] if name in options else getattr(config, name)
        for name in ("max_new_tokens", "eos_token_id", "pad_token_id")
    )
    ends = torch.as_tensor(ends, device=input_ids.device).reshape(-1)
    read = place = input_ids.shape[1]
    whole = torch.cat([input_ids, input_ids.new_full((len(input_ids), limit), pad)], 1)
    rows = torch.arange(len(input_ids), device=input_ids.device)
    while len(rows) and place < read + limit:
        piece = {**options, "max_new_tokens": min(PIECE, read + limit - place), "return_dict_in_generate": True}
        found = generate(input_ids=input_ids, attention_mask=attention_mask, past_key_values=past_key_values, **piece)
        new = found.sequences[:, place:]
        whole[rows, place : place + new.shape[1]] = new
        place += new.shape[1]
        goes_on = (~torch.isin(new, ends).any(1)).nonzero()[:, 0]
        rows, input_ids = rows[goes_on], found.sequences[goes_on]
        attention_mask = torch.cat([attention_mask[goes_on], attention_mask.new_ones(len(rows), new.shape[1])], 1)
        past_key_values = found.past_key_values
        past_key_values.batch_select_indices(goes_on)
    return whole[:, :place]


class Likelihoods:
    """A processor of `generate` that changes nothing and keeps the log-probabilities of greedy tokens: (B,) a token."""

    def __init__(self) -> None:
        self._steps: list[Tensor] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """The scores as they are."""
        scores_BV = scores.float()
        self._steps.append(scores_BV.amax(1) - scores_BV.logsumexp(1))
        return scores

    def means(self, written_BT: Tensor, ends: Sequence[int]) -> Tensor:
        """(B,) the mean log-probabilities of completions, each with the token that ends it."""
        import torch

        goes_on_BT = until_end(written_BT, ends)
        logps_BT = torch.zeros(written_BT.shape, device=written_BT.device)
        for place, kept in enumerate(self._steps):
            left = len(kept) < len(written_BT)  # the batch, before this piece began
            logps_BT[goes_on_BT[:, place - place % PIECE] if left else slice(None), place] = kept
        return (logps_BT * goes_on_BT).sum(1) / goes_on_BT.sum(1)


def text_likelihoods(model: Any, texts: Sequence[Sequence[int]], start: int) -> list[float]:
    """The mean log-probability of the tokens of each text (B,), read after the token `start`; 0 without a token."""
    import torch

    lengths = torch.tensor([len(ids) for ids in texts])
    rows = [[start, *ids, *[start] * (int(lengths.max()) - len(ids))] for ids in texts]  # padded at the right
    ids_BT = torch.tensor(rows, device=model.device)
    there_BT = torch.arange(ids_BT.shape[1] - 1)[None] < lengths[:, None]
    mask_BT = torch.cat([torch.ones_like(there_BT[:, :1]), there_BT], 1).long().to(model.device)
    was_training = model.training
    model.eval()
    with torch.inference_mode():
        logits_BTV = model(input_ids=ids_BT, attention_mask=mask_BT).logits[:, :-1].float()
    model.train(was_training)
    chosen_BT = logits_BTV.gather(2, ids_BT[:, 1:, None])[..., 0] - logits_BTV.logsumexp(2)
    sums_B = (chosen_BT.cpu() * there_BT).sum(1)
    found: list[float] = (sums_B / lengths.clamp(min=1)).tolist()
    return found


def until_end(written_BT: Tensor, ends: Sequence[int]) -> Tensor:
    """(B, T) which tokens belong to the completions, with those that end them; what follows is padding."""
    import torch

    is_end = torch.isin(written_BT, torch.tensor(ends, device=written_BT.device)).int()
    return (is_end.cumsum(dim=1) - is_end) == 0


def _trunk(model: Any) -> Any:
    """The model below its output layer, which copies its weight for each prompt; all of it where a trainer wraps it."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    return model if "forward" in vars(base) or "forward" in vars(model) else base.base_model


def _prefix_first(ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, int]:
    """Ids and masks (U, P) with the tokens that all rows begin with before the padding, and how many they are.

    The last token of a row is never one of them.
    """
    import torch

    width = ids.shape[1]
    padding = width - mask.sum(1)
    place = torch.arange(width, device=ids.device)
    begin = ids.gather(1, (padding[:, None] + place).clamp(max=width - 1))  # padded at the right
    shortest = int(width - padding.max())
    alike = (begin == begin[:1]).all(0)[: shortest - 1]
    start = int(alike.int().cumprod(0).sum())
    mask = ((place < start) | (place >= padding[:, None] + start)).to(mask.dtype)
    return torch.where(place < start, begin, ids), mask, start
