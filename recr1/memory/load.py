"""The sizes of a model, from its config, and what a recipe does with it in one process.

What a recipe leaves out has the defaults of TRL and recr1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from recr1.config.build import EvaluationSpec, Part
from recr1.policies.cpu import is_fast
from recr1.policies.loading import load_config
from recr1.policies.sources import Source, readable

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
DEFAULT_BETA = {"rloo": 0.05}  # TRL's defaults that are not 0
DEFAULT_ROWS, DEFAULT_GROUP, DEFAULT_SHARE, VALIDATED = 8, 8, 0.3, 64
"""Defaults: TRL's micro-batch, group and share of vLLM, and the policy's batch in a validation."""


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
    tied: bool  # whether the output layer is the embedding
    dtype: str  # of the checkpoint, such as "bfloat16"
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


def shape_of(source: Source, *, trust_remote_code: bool = False) -> Shape:
    """The shape of a model; reads the config and allocates nothing."""
    import torch
    import transformers

    from recr1.policies.reading import can_share

    config = load_config(source, trust_remote_code=trust_remote_code)
    with readable(f"read the config of {source.path!r}", source.path), torch.device("meta"):
        empty = transformers.AutoModelForCausalLM.from_config(config, trust_remote_code=trust_remote_code)
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


@dataclass(frozen=True)
class Load:
    """Sizes of training in one process."""

    gpu: bool
    rows: int
    """Completions generated at a time; 0 where the trainer generates none, or a server does."""
    micro: int  # completions of a micro-batch
    group: int
    """Completions of a prompt, where they share its computation; else 1."""
    validated: int
    """Completions generated at a time in a validation."""
    prompt: int  # tokens of the longest prompt
    new: int  # tokens of the longest completion
    accumulates: bool  # whether gradients of several micro-batches are accumulated
    recompute: bool  # gradient checkpointing
    reference: bool
    """Whether a copy of the starting policy is held."""
    critic: bool
    """Whether there is a second model with gradients and optimizer."""
    trained: int  # number of trained weights
    trained_bytes: int
    """Bytes of a trained weight, and of its gradient."""
    adapter: bool
    in_4bit: bool
    weight_bytes: int
    copied: bool
    """Whether a copy in bfloat16 generates."""
    compute_bytes: int
    moments: int
    """Numbers that the optimizer keeps for each trained weight."""
    moment_bytes: int
    sampled: int
    """Numbers of 4 bytes for each word of the vocabulary while a token is sampled."""
    vllm_share: float
    """Share of the GPU that vLLM takes; 0 without vLLM."""
    vllm_sleeps: bool
    """Whether vLLM frees its share in the update."""


def load_of(
    policy: Part, trainer: Part, shape: Shape, prompt: int, *, gpu: bool, evaluation: EvaluationSpec | None = None
) -> Load:
    """The load of a recipe's policy and trainer (or of one of its stages), before sharding.

    `prompt` is the number of tokens of the longest prompt. Without `evaluation`, validations have any number of needs.
    """
    options, trl = policy.options, dict(trainer.options.get("trl") or {})
    rank, in_4bit = int(options.get("lora_rank") or 0), bool(options.get("load_in_4bit", False))
    adapter, targets = rank > 0, options.get("lora_targets") or shape.linear
    micro = trl.get("per_device_train_batch_size", DEFAULT_ROWS)
    accumulated = trl.get("gradient_accumulation_steps", 1)
    online = trainer.type != "sft"
    vllm = trl.get("vllm_mode", "colocate") if trl.get("use_vllm") else None
    weight_bytes = _weight_bytes(options, shape, gpu=gpu)
    trained_bytes = 4 if adapter else weight_bytes
    optim = str(trl.get("optim", "adamw"))
    needs = evaluation.needs if evaluation else None
    copied = options.get("compute") == "bfloat16" and not gpu and is_fast()
    batch = options.get("batch_size", VALIDATED)
    return Load(
        gpu=gpu,
        rows=micro * (trl.get("steps_per_generation") or accumulated) if online and vllm != "server" else 0,
        micro=micro,
        group=trl.get("num_generations", DEFAULT_GROUP) if online and shape.shares and not gpu else 1,
        validated=min(batch, needs) if needs else batch,
        prompt=prompt,
        new=options.get("max_new_tokens", 128),
        accumulates=accumulated > 1,
        recompute=trl.get("gradient_checkpointing", gpu),
        reference=online and trl.get("beta", DEFAULT_BETA.get(trainer.type, 0.0)) != 0 and not adapter,
        critic=trainer.type == "ppo" and trainer.options.get("critic") == "model",
        trained=rank * sum(shape.linear.get(name, 0) for name in targets) if adapter else shape.parameters,
        trained_bytes=trained_bytes,
        adapter=adapter,
        in_4bit=in_4bit,
        weight_bytes=weight_bytes,
        copied=copied,
        compute_bytes=2 if trl.get("bf16", gpu or copied) or trl.get("fp16", False) else weight_bytes,
        moments=0 if "adafactor" in optim or optim == "sgd" else 2,
        moment_bytes=1 if "8bit" in optim else trained_bytes,
        sampled=3 + (trl.get("temperature", 1.0) != 1) + 2 * (trl.get("top_k", 0) > 0) + 5 * (trl.get("top_p", 1) < 1),
        vllm_share=trl.get("vllm_gpu_memory_utilization", DEFAULT_SHARE) if vllm == "colocate" else 0.0,
        vllm_sleeps=bool(trl.get("vllm_enable_sleep_mode", False)),
    )


def _weight_bytes(options: Mapping[str, Any], shape: Shape, *, gpu: bool) -> int:
    """Bytes of a weight that is not stored in 4 bits, as the policy loads it."""
    dtype = options.get("dtype", "auto")
    if dtype == "auto":
        dtype = shape.dtype if gpu and options.get("lora_rank") else "float32"
        dtype = "bfloat16" if options.get("load_in_4bit") else dtype
    return BYTES.get(dtype, 4)
