"""Log-probabilities on a CPU from the output layer of a large vocabulary, of the tokens that are trained alone.

On a CPU, TRL's head scores every place of a batch, prompts and padding too, and multiplies gradients in float32. With
49,152 words that is half of a step. Here only places with a label are scored, and all products are made in the dtype
of the pass. The numbers are the same up to rounding.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from typing import Any

import torch
from trl.trainer import utils

from recr1.policies.cpu import SCORED, is_large

KNOWN = {"log_probs", "entropy", "is_top1"}
"""Outputs of TRL's head that are made here; for others its own function is called."""

READ: Mapping[str, str] = {
    "add_fused_lm_head": "what it puts on a model calls the other two by name, and takes no others",
    "_ChunkedLogProbFunction": "`Scores` is used instead of it while such a model runs",
    "_use_triton": "it says yes while such a model runs, so that only places with a label are scored",
}
"""What is used or replaced of `trl.trainer.utils`, and why."""

_THEIRS, _ON_TRITON = utils._ChunkedLogProbFunction, utils._use_triton


def score_trained_tokens(model: Any) -> None:
    """Let a model with TRL's fused head score the tokens with labels alone, where that pays."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    if not is_large(base):
        return
    whole = base.forward

    @wraps(whole)  # `generate` reads its signature
    def forward(*given: Any, **named: Any) -> Any:
        with _own_head():
            return whole(*given, **named)

    base.forward = forward


@contextmanager
def _own_head() -> Iterator[None]:
    """Within it, TRL's fused head picks the places with labels, as it does on a GPU, and calls `Scores`."""
    utils._use_triton, utils._ChunkedLogProbFunction = lambda device: True, Scores
    try:
        yield
    finally:
        utils._use_triton, utils._ChunkedLogProbFunction = _ON_TRITON, _THEIRS


class Scores(torch.autograd.Function):
    """What TRL's `ChunkedLogProbFunction` gives of N tokens: log-probabilities, entropies, and which are likeliest."""

    @classmethod
    def apply(cls, *given: Any) -> Any:
        """The same; of TRL's own function where scores are capped, or more is asked for."""
        *_, softcap, _, outputs = given
        theirs = softcap is not None or bool(set(outputs) - KNOWN)
        return _THEIRS.apply(*given) if theirs else super().apply(*given)  # type: ignore[no-untyped-call]

    @staticmethod
    def forward(  # noqa: PLR0917 - TRL's signature
        ctx: Any,
        hidden_NH: torch.Tensor,
        weight_VH: torch.Tensor,
        bias_V: torch.Tensor | None,
        targets_N: torch.Tensor,
        temperature: float,
        _chunk: int,
        _softcap: float | None,
        scale: float,
        outputs: tuple[str, ...],
    ) -> tuple[torch.Tensor | None, ...]:
        """In the order of TRL's outputs."""
        ctx.set_materialize_grads(False)
        autocast = torch.is_autocast_enabled("cpu")
        ctx.dtype = torch.get_autocast_dtype("cpu") if autocast else hidden_NH.dtype
        ctx.factor = scale / temperature
        weight = weight_VH.to(ctx.dtype)
        logps, log_z, entropies = (torch.empty(len(hidden_NH)) for _ in range(3))
        top1 = torch.empty(len(hidden_NH), dtype=torch.bool)
        for part in _parts(len(hidden_NH)):
            scores = _scores(hidden_NH[part], weight, bias_V, ctx)
            highest, likeliest = scores.max(-1, keepdim=True)
            top1[part] = likeliest[:, 0] == targets_N[part]
            shares = scores.sub_(highest).exp()
            total = shares.sum(-1)
            log_z[part] = highest[:, 0] + total.log()
            logps[part] = scores.gather(-1, targets_N[part, None])[:, 0] - total.log()
            entropies[part] = total.log() - shares.mul_(scores).sum(-1) / total
        ctx.save_for_backward(hidden_NH, weight_VH, bias_V, targets_N, log_z, entropies)
        ctx.mark_non_differentiable(top1)
        return (
            logps,
            entropies if "entropy" in outputs else None,
            None,
            None,
            top1 if "is_top1" in outputs else None,
        )

    @staticmethod
    def backward(ctx: Any, of_logps: Any, of_entropies: Any, *_: Any) -> tuple[Any, ...]:
        """Gradients of hidden states, weight and bias; the scores are computed again."""
        hidden_NH, weight_VH, bias_V, *_saved = ctx.saved_tensors
        weight = weight_VH.to(ctx.dtype)
        of_hidden = torch.zeros_like(hidden_NH)
        of_weight = torch.zeros_like(weight_VH, dtype=torch.float32) if ctx.needs_input_grad[1] else None
        of_bias = torch.zeros_like(bias_V) if bias_V is not None and ctx.needs_input_grad[2] else None
        for part in _parts(len(hidden_NH)):
            slopes = _slopes(ctx, part, weight, of_logps, of_entropies).to(ctx.dtype)
            of_hidden[part] = slopes @ weight
            if of_weight is not None:
                of_weight += slopes.T @ hidden_NH[part].to(ctx.dtype)
            if of_bias is not None:
                of_bias += slopes.sum(0)
        return of_hidden, of_weight, of_bias, *[None] * 6


def _slopes(ctx: Any, part: slice, weight: torch.Tensor, of_logps: Any, of_entropies: Any) -> torch.Tensor:
    """The gradients of the output layer's products, in float32.

    With p the probabilities of words: of a log-probability 1[word is target] - p, of an entropy -p (log p + entropy).
    """
    hidden_NH, _, bias_V, targets_N, log_z, entropies = ctx.saved_tensors
    slopes = _scores(hidden_NH[part], weight, bias_V, ctx).sub_(log_z[part, None])
    along = 0.0 if of_logps is None else -of_logps[part, None]
    if of_entropies is None:
        slopes = slopes.exp_().mul_(along)
    else:
        shares = slopes.exp()
        slopes = slopes.add_(entropies[part, None]).mul_(-of_entropies[part, None]).add_(along).mul_(shares)
    if of_logps is not None:
        slopes.scatter_add_(-1, targets_N[part, None], of_logps[part, None])
    return slopes.mul_(ctx.factor) if ctx.factor != 1 else slopes


def _parts(count: int) -> list[slice]:
    return [slice(start, start + SCORED) for start in range(0, count, SCORED)]


def _scores(hidden: Any, weight: Any, bias: Any, ctx: Any) -> torch.Tensor:
    """The scores of all words, in float32."""
    scores: torch.Tensor = hidden.to(ctx.dtype) @ weight.T
    if bias is not None:
        scores += bias
    scores = scores.float()
    return scores.mul_(ctx.factor) if ctx.factor != 1 else scores
