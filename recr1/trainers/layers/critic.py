"""The critic of PPO: what reward is to be expected of a completion, from what is written so far.

It is not part of the policy: it has its own weights, its own optimizer and its own file in a checkpoint.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, TypeAlias

from recr1.policies.adapters import is_adapted, is_quantized

Kind: TypeAlias = Literal["head", "model"]


class Critic:
    """Values of the places in completions, by a linear map of hidden states that begins as 0.

    "head" reads the hidden states of the policy in training, from the pass that its loss makes anyway. "model" has a
    trunk of its own, which begins as a copy of the policy's without its adapters, and learns all of its weights.
    """

    def __init__(self, policy: Any, kind: Kind, value_weight: float) -> None:
        """Find or copy the trunk of a causal language model, with adapters or without, as it was loaded.

        `value_weight` is the share of the gradient of values that moves the policy's trunk; "model" ignores it.
        """
        import torch

        self.kind, self.value_weight = kind, value_weight
        self.trunk = _trunk(policy) if kind == "head" else _copied_trunk(policy)
        self.head = torch.nn.Linear(policy.config.get_text_config().hidden_size, 1)
        torch.nn.init.zeros_(self.head.weight)
        torch.nn.init.zeros_(self.head.bias)
        own = {"head": self.head} if kind == "head" else {"head": self.head, "trunk": self.trunk}
        self.weights = torch.nn.ModuleDict(own)  # the critic's own modules

    def place(self, device: Any, *, recompute: bool) -> None:
        """Move the own weights to a device; `recompute` saves memory by gradient checkpointing."""
        self.weights.to(device)
        if self.kind == "model" and recompute:
            self.trunk.gradient_checkpointing_enable()
            self.trunk.train()  # it does nothing otherwise; dropout is off, see _copied_trunk

    @contextmanager
    def listening(self) -> Iterator[list[Any]]:
        """Collects the hidden states that the policy's trunk puts out meanwhile, where the critic reads them."""
        states: list[Any] = []
        if self.kind == "model":
            yield states
            return
        hook = self.trunk.register_forward_hook(lambda _, __, output: states.append(output.last_hidden_state))
        try:
            yield states
        finally:
            hook.remove()

    def values(self, batch: dict[str, Any], states: list[Any], places: Any = None) -> Any:
        """What is expected before each token of the completions (B, T), in float32.

        Args:
            batch: `prompt_ids`, `prompt_mask`, `completion_ids` and `completion_mask`, as TRL has them.
            states: What `listening` collected while the policy read the same batch.
            places: See `ExtendedOnline.places`.
        """
        import torch

        if self.kind == "head":
            hidden = _before_tokens(states[-1], batch) if places is None else states[-1][places]
            detached = hidden.detach()
            hidden = detached + self.value_weight * (hidden - detached) if self.value_weight else detached
        else:
            ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1)
            mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1)
            read = self.trunk(input_ids=ids, attention_mask=mask, use_cache=False)
            hidden = _before_tokens(read.last_hidden_state, batch)
        with torch.autocast(hidden.device.type, enabled=False):  # errors of values are small numbers
            return self.head(hidden.float()).squeeze(-1)


def _trunk(policy: Any) -> Any:
    """The part of a causal language model below its output layer, within its adapters if it has some."""
    return (policy.get_base_model() if is_adapted(policy) else policy).base_model


def _before_tokens(hidden: Any, batch: dict[str, Any]) -> Any:
    """The hidden states (B, T, H) in the places before the tokens of completions, which predict them."""
    length = batch["completion_ids"].shape[1]
    return hidden[:, -length - 1 : -1]


def _copied_trunk(policy: Any) -> Any:
    import torch

    whole = copy.deepcopy(policy)
    if is_adapted(whole):
        whole = whole.unload()
    if is_quantized(whole):
        whole = whole.dequantize()  # weights of four bits cannot be learned
    trunk = whole.base_model.float().requires_grad_(requires_grad=True)
    for module in trunk.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return trunk.eval()
