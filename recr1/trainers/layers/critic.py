"""The critic of PPO: what reward is to be expected of a completion, from what is written so far.

It is not part of the policy: it has its own weights, its own optimizer and its own file in a checkpoint. Every process
holds all of it, and gradients are averaged by hand, whatever shards the policy.
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
        """Copy or find the trunk.

        Args:
            policy: A causal language model of Hugging Face, or one with adapters; as it was loaded.
            kind: "head" or "model".
            value_weight: The share of the gradient of values that moves the policy's trunk; "model" ignores it.
        """
        import torch

        self.kind, self.value_weight = kind, value_weight
        self.trunk = trunk_of(policy) if kind == "head" else _copied_trunk(policy)
        self.head = torch.nn.Linear(policy.config.get_text_config().hidden_size, 1)
        torch.nn.init.zeros_(self.head.weight)
        torch.nn.init.zeros_(self.head.bias)
        own = {"head": self.head} if kind == "head" else {"head": self.head, "trunk": self.trunk}
        self.weights = torch.nn.ModuleDict(own)
        """The modules that are the critic's own, on the device of the trainer."""

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
        hook = self.trunk.register_forward_hook(
            lambda _module, _inputs, output: states.append(output.last_hidden_state)
        )
        try:
            yield states
        finally:
            hook.remove()

    def values(self, batch: dict[str, Any], states: list[Any], places: Any = None) -> Any:
        """What is expected before each token of the completions (B, T), in float32.

        Args:
            batch: `prompt_ids`, `prompt_mask`, `completion_ids` and `completion_mask`, as TRL has them.
            states: What `listening` collected while the policy read the same batch.
            places: The rows and places of the states where each token is predicted (both to (B, T)); None where the
                policy read the batch as TRL lays it out.
        """
        import torch

        if self.kind == "head":
            hidden = _before_tokens(states[-1], batch) if places is None else states[-1][places]
            detached = hidden.detach()
            hidden = detached + self.value_weight * (hidden - detached) if self.value_weight else detached
        else:
            hidden = _before_tokens(self._own_hidden(batch), batch)
        with torch.autocast(hidden.device.type, enabled=False):  # errors of values are small numbers
            return self.head(hidden.float()).squeeze(-1)

    def _own_hidden(self, batch: dict[str, Any]) -> Any:
        import torch

        ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1)
        mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1)
        return self.trunk(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state


class CriticOptimizer:
    """AdamW on the critic's weights; its learning rate moves as the policy's does, from another height."""

    def __init__(self, critic: Critic, args: Any, learning_rate: float) -> None:
        """Bind the weights.

        Args:
            critic: Whose.
            args: TRL's config: the rest of AdamW's options, and `max_grad_norm`, are the policy's.
            learning_rate: The height.
        """
        import torch

        self.learning_rate = learning_rate
        self._policy_rate, self._max_norm = args.learning_rate, args.max_grad_norm or float("inf")
        self._parameters = list(critic.weights.parameters())
        self._adamw = torch.optim.AdamW(
            self._parameters,
            lr=learning_rate,
            betas=(args.adam_beta1, args.adam_beta2),
            eps=args.adam_epsilon,
            weight_decay=args.weight_decay,
        )

    def step(self, accelerator: Any, policy_rate: float) -> float:
        """Average the gradients over processes, clip them and step; returns their norm before it was clipped.

        Args:
            accelerator: Of the trainer.
            policy_rate: The policy's learning rate at this step.
        """
        import torch

        for parameter in self._parameters if accelerator.num_processes > 1 else ():
            if parameter.grad is None:  # an expert that none of this process's tokens asked
                parameter.grad = torch.zeros_like(parameter)
            parameter.grad = accelerator.reduce(parameter.grad, reduction="mean")
        norm = torch.nn.utils.clip_grad_norm_(self._parameters, self._max_norm)
        for group in self._adamw.param_groups:
            group["lr"] = self.learning_rate * (policy_rate / self._policy_rate if self._policy_rate else 1.0)
        self._adamw.step()
        self._adamw.zero_grad()
        return float(norm)

    def state_dict(self) -> Any:
        """What `load_state_dict` takes."""
        return self._adamw.state_dict()

    def load_state_dict(self, state: Any) -> None:
        """Continue from a state."""
        self._adamw.load_state_dict(state)


def trunk_of(policy: Any) -> Any:
    """The part of a causal language model below its output layer, within its adapters where it has some."""
    causal = policy.get_base_model() if is_adapted(policy) else policy
    return causal.base_model


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
