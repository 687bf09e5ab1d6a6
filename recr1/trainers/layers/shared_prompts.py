"""A prompt is read once for all completions of its group, where TRL reads it once for each.

Log-probabilities come from rows that hold a prompt and, behind it, the completions that share it:

    prompt without its last token | last token, completion 1 | last token, completion 2 | ...

Each completion sees the prompt and itself alone, and its positions continue the prompt's, so that every token has the
log-probability that it has in a row of its own, up to rounding. With prompts of P tokens and G completions of T, a
group costs about P + G * T tokens in place of G * (P + T). Generation reads each prompt once too, and copies its keys
and values for each completion.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import compress
from typing import TYPE_CHECKING, Any

from recr1.policies.cpu import is_large
from recr1.policies.reading import can_share, generate_from_shared
from recr1.trainers.layers.rows import EMPTY, SHARED, Packed, Prompted, arranged, common, sees
from recr1.trainers.pairs.pairs import IGNORED
from recr1.trainers.trl.additions import Addition

if TYPE_CHECKING:
    from torch import Tensor


class SharedPrompts(Addition):
    """Reads each prompt once for the completions of its group, in generation and in log-probabilities."""

    def __init__(self, model: Any) -> None:
        self._pack = pack_tightly if is_large(model) else pack

    def token_generator(self, model: Any, generate: Callable[..., Any]) -> Callable[..., Any]:
        """The same, from prompts that were read once."""
        return partial(generate_from_shared, getattr(generate, "__self__", model), generate)

    def around_log_probabilities(  # noqa: PLR0917 - TRL's signature
        self,
        compute: Callable[..., Any],
        model: Any,
        input_ids: Tensor,
        attention_mask: Tensor,
        logits_to_keep: int,
        batch_size: int | None = None,
        compute_entropy: bool = False,  # noqa: FBT001, FBT002
        compute_aux_loss: bool = False,  # noqa: FBT001, FBT002
        **more: Any,
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Those of rows that share prompts; TRL's own where an auxiliary loss or an image is in the batch."""
        import torch

        size = batch_size or len(input_ids)
        self.trainer.places = None
        if compute_aux_loss or any(value is not None for value in more.values()):
            given = (input_ids, attention_mask, logits_to_keep, batch_size, compute_entropy, compute_aux_loss)
            whole: tuple[Tensor, Tensor | None, Tensor | None] = compute(model, *given, **more)
            return whole
        logps, entropies = [], []
        for start in range(0, len(input_ids), size):
            part = slice(start, start + size)
            packed = self._pack(input_ids[part], attention_mask[part], logits_to_keep)
            with self.trainer.accelerator.autocast(), attention(self.trainer.args):
                outputs = model(
                    input_ids=packed.input_ids,
                    attention_mask=packed.attention_mask,
                    position_ids=packed.position_ids,
                    labels=packed.labels,
                    fused_lm_head=True,
                )
            # The log-probability of a token is in the place before it.
            places = self.trainer.places = packed.places(logits_to_keep)
            there = attention_mask[part, -logits_to_keep:].bool()
            logps.append(outputs.log_probs[places].where(there, 0.0))
            if compute_entropy:
                entropies.append(outputs.entropy[places].where(there, 0.0))
        return torch.cat(logps), torch.cat(entropies) if compute_entropy else None, None


@contextmanager
def attention(args: Any) -> Iterator[None]:
    """Within it, a pass in bfloat16 attends by plain products: the gradients of PyTorch's kernel take a third of it.

    Where the arguments of TRL say that the pass is made again for its gradients, which is not in here, nothing changes.
    """
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel

    if args.gradient_checkpointing or not torch.is_autocast_enabled("cpu"):
        yield
        return
    flags = torch.backends.cuda  # of all devices, despite its place
    before = flags.fp16_bf16_reduction_math_sdp_allowed()  # type: ignore[no-untyped-call]
    flags.allow_fp16_bf16_reduction_math_sdp(enabled=True)  # or all of it is converted to float32
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        flags.allow_fp16_bf16_reduction_math_sdp(enabled=before)


def pays(model: Any) -> bool:
    """Whether shared prompts give the same numbers in less time.

    They do on a CPU, with a model whose attention takes any mask and looks back to the first token. On a GPU the
    fastest kernels take no such mask.
    """
    return model.device.type == "cpu" and can_share(model)


def pack(input_ids: Tensor, attention_mask: Tensor, completion: int) -> Packed:
    """Rows that share prompts; ids and mask are (B, P + T), prompts padded at the left, completions at the right."""
    import torch

    width = completion + 1  # the last token of the prompt, and a completion
    shared = input_ids.shape[1] - width
    ids, there = input_ids, attention_mask.bool()
    whole = ids[:, : shared + 1].masked_fill(~there[:, : shared + 1], -1)
    prompts, rows = torch.unique(whole, dim=0, return_inverse=True)
    branch = _order_within(rows)
    total = shared + int(branch.max() + 1) * width
    columns = shared + branch[:, None] * width + torch.arange(width, device=ids.device)
    where = (rows[:, None], columns)

    packed = ids.new_zeros((len(prompts), total))
    packed[:, :shared] = prompts[:, :shared].clamp(min=0)
    packed[where] = ids[:, shared:]
    held = there.new_zeros(packed.shape)
    held[:, :shared] = prompts[:, :shared] >= 0
    held[where] = there[:, shared:]
    labels = torch.full_like(packed, IGNORED)
    labels[rows[:, None], columns[:, 1:]] = ids[:, shared + 1 :].masked_fill(~there[:, shared + 1 :], IGNORED)

    place = torch.arange(total, device=ids.device)
    position = torch.where(place < shared, place, shared + (place - shared) % width)  # as in a row of its own
    positions = position.expand(len(prompts), total)
    branch = torch.where(place < shared, SHARED, (place - shared) // width).masked_fill(~held, EMPTY)
    return Packed(packed, positions, sees(branch), labels, rows, columns[:, 1])


def pack_tightly(input_ids: Tensor, attention_mask: Tensor, completion: int) -> Packed:
    """The same without padding, what all prompts begin with once in each row; the rows differ up to rounding."""
    import torch

    whole = input_ids.masked_fill(attention_mask == 0, -1)[:, :-completion]
    prompts, numbers = torch.unique(whole, dim=0, return_inverse=True)
    read = [[token for token in prompt if token >= 0] for prompt in prompts.tolist()]
    begin = min(common(read), min(map(len, read)) - 1)
    groups = [Prompted(prompt[begin:-1], []) for prompt in read]
    written = zip(input_ids[:, -completion:].tolist(), attention_mask[:, -completion:].tolist(), strict=True)
    for number, (ids, there) in zip(numbers.tolist(), written, strict=True):
        answer = [read[number][-1], *compress(ids, there)]
        groups[number].answers.append((answer, answer))
    packed = arranged(read[0][:begin], groups)
    given = torch.argsort(torch.argsort(numbers, stable=True))  # from the order of groups to that of the batch
    return packed._replace(rows=packed.rows[given], starts=packed.starts[given])


def _order_within(rows: Tensor) -> Tensor:
    """(B,): the place of each completion among those of its row, from 0 on."""
    import torch

    order = torch.argsort(rows, stable=True)
    counts = torch.bincount(rows)
    first = counts.cumsum(0) - counts
    place = torch.empty_like(rows)
    place[order] = torch.arange(len(rows), device=rows.device) - first[rows[order]]
    return place
