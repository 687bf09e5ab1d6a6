"""The sizes of a model, from its config."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from recr1.assets import shipped_model
from recr1.errors import UserError


class Shape(NamedTuple):
    """The sizes of a model that decide its memory."""

    parameters: int
    linear: Mapping[str, int]
    """Name of linear layers -> sum of their inputs and outputs: an adapter has `rank` times that. Without the output
    layer."""
    matrices: int
    """Weights of these layers, which are those that can be stored in 4 bits."""
    layers: int
    hidden: int
    inner: int
    """Width inside a feed-forward block; in a mixture of experts, of all experts that a token uses."""
    queries: int
    """Width of a token's attention queries in a layer."""
    keys: int
    """Width of a token's keys in a layer, and of its values."""
    vocabulary: int
    tied: bool
    """Whether the output layer is the embedding."""
    dtype: str
    """Of the checkpoint, such as "bfloat16"."""
    shares: bool = False
    """Whether a group shares the computation of its prompt, on a CPU."""

    @property
    def embedding(self) -> int:
        """Weights of the embedding."""
        return self.vocabulary * self.hidden

    @property
    def trunk(self) -> int:
        """Weights below the output layer."""
        return self.parameters - (0 if self.tied else self.embedding)


def shape_of(model: str, *, trust_remote_code: bool = False) -> Shape:
    """The shape of a model by folder, hub name or shipped name; reads the config and allocates nothing."""
    import torch
    import transformers

    from recr1.trainers.layers.shared_prompts import can_share

    path = str(shipped_model(model) or model)
    try:
        config = transformers.AutoConfig.from_pretrained(path, trust_remote_code=trust_remote_code)
        with torch.device("meta"):
            empty = transformers.AutoModelForCausalLM.from_config(config, trust_remote_code=trust_remote_code)
    except (OSError, ValueError) as error:
        raise UserError(f"policy.model: cannot read the config of {path!r}: {error}") from error
    text, last = config.get_text_config(), empty.get_output_embeddings()
    linear: dict[str, int] = {}
    matrices = 0
    for name, module in empty.named_modules():
        if isinstance(module, torch.nn.Linear) and module is not last:
            own = name.rpartition(".")[2]
            linear[own] = linear.get(own, 0) + module.in_features + module.out_features
            matrices += module.in_features * module.out_features
    heads = text.num_attention_heads
    head = getattr(text, "head_dim", None) or text.hidden_size // heads
    return Shape(
        parameters=sum(parameter.numel() for parameter in empty.parameters()),
        linear=linear,
        matrices=matrices,
        layers=text.num_hidden_layers,
        hidden=text.hidden_size,
        inner=_inner(text),
        queries=heads * head,
        keys=(getattr(text, "num_key_value_heads", None) or heads) * head,
        vocabulary=text.vocab_size,
        tied=last.weight is empty.get_input_embeddings().weight,
        dtype=str(text.dtype or "float32").removeprefix("torch."),
        shares=can_share(empty),
    )


def _inner(config: Any) -> int:
    asked: int = getattr(config, "num_experts_per_tok", None) or 1
    width = getattr(config, "moe_intermediate_size", None) if asked > 1 else None
    return asked * int(width or getattr(config, "intermediate_size", None) or 4 * config.hidden_size)
