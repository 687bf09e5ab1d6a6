"""What a recipe does with its model, in one process; what it leaves out has the defaults of TRL and recr1."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from recr1.config.build import EvaluationSpec, Part
from recr1.memory.shape import Shape

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
DEFAULT_BETA = {"rloo": 0.05}
"""TRL's defaults that are not 0."""
DEFAULT_ROWS, DEFAULT_GROUP, DEFAULT_SHARE, VALIDATED = 8, 8, 0.3, 64
"""Defaults: TRL's micro-batch, group and share of vLLM, and the policy's batch in a validation."""


@dataclass(frozen=True)
class Load:
    """Sizes of training in one process."""

    gpu: bool
    rows: int
    """Completions generated at a time; 0 where the trainer generates none, or a server does."""
    micro: int
    """Completions of a micro-batch."""
    group: int
    """Completions of a prompt, where they share its computation; else 1."""
    validated: int
    """Completions generated at a time in a validation."""
    prompt: int
    """Tokens of the longest prompt."""
    new: int
    """Tokens of the longest completion."""
    accumulates: bool
    """Whether gradients of several micro-batches are accumulated."""
    recompute: bool
    """Gradient checkpointing."""
    reference: bool
    """Whether a copy of the starting policy is held."""
    critic: bool
    """Whether there is a second model with gradients and optimizer."""
    trained: int
    """Number of trained weights."""
    trained_bytes: int
    """Bytes of a trained weight, and of its gradient."""
    adapter: bool
    in_4bit: bool
    weight_bytes: int
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
    """The load of a recipe's policy and trainer, before sharding.

    Args:
        policy: Of the recipe.
        trainer: Of the recipe, or of one of its stages.
        shape: Of the policy's model.
        prompt: Tokens of the longest prompt.
        gpu: Whether training runs on a GPU.
        evaluation: Of the recipe; None for an unlimited number of needs.
    """
    options, trl = policy.options, dict(trainer.options.get("trl") or {})
    adapter, in_4bit = bool(options.get("lora_rank", 0)), bool(options.get("load_in_4bit", False))
    micro = trl.get("per_device_train_batch_size", DEFAULT_ROWS)
    accumulated = trl.get("gradient_accumulation_steps", 1)
    online, server = trainer.type != "sft", _vllm(trl, "server")
    weight_bytes = _weight_bytes(options, shape, gpu=gpu)
    trained_bytes = 4 if adapter else weight_bytes
    optim = str(trl.get("optim", "adamw"))
    needs = evaluation.needs if evaluation else None
    batch = options.get("batch_size", VALIDATED)
    return Load(
        gpu=gpu,
        rows=micro * (trl.get("steps_per_generation") or accumulated) if online and not server else 0,
        micro=micro,
        group=trl.get("num_generations", DEFAULT_GROUP) if online and shape.shares and not gpu else 1,
        validated=min(batch, needs) if needs else batch,
        prompt=prompt,
        new=options.get("max_new_tokens", 128),
        accumulates=accumulated > 1,
        recompute=trl.get("gradient_checkpointing", gpu),
        reference=online and trl.get("beta", DEFAULT_BETA.get(trainer.type, 0.0)) != 0 and not adapter,
        critic=trainer.type == "ppo" and trainer.options.get("critic") == "model",
        trained=_adapted(options, shape) if adapter else shape.parameters,
        trained_bytes=trained_bytes,
        adapter=adapter,
        in_4bit=in_4bit,
        weight_bytes=weight_bytes,
        compute_bytes=2 if trl.get("bf16", gpu) or trl.get("fp16", False) else weight_bytes,
        moments=0 if "adafactor" in optim or optim == "sgd" else 2,
        moment_bytes=1 if "8bit" in optim else trained_bytes,
        sampled=3 + (trl.get("temperature", 1.0) != 1) + 2 * (trl.get("top_k", 0) > 0) + 5 * (trl.get("top_p", 1) < 1),
        vllm_share=trl.get("vllm_gpu_memory_utilization", DEFAULT_SHARE) if _vllm(trl, "colocate") else 0.0,
        vllm_sleeps=bool(trl.get("vllm_enable_sleep_mode", False)),
    )


def _vllm(trl: Mapping[str, Any], mode: str) -> bool:
    return bool(trl.get("use_vllm")) and trl.get("vllm_mode", "colocate") == mode


def _weight_bytes(options: Mapping[str, Any], shape: Shape, *, gpu: bool) -> int:
    """Bytes of a weight that is not stored in 4 bits, as the policy loads it."""
    dtype = options.get("dtype", "auto")
    if dtype == "auto":
        dtype = "float32" if not gpu else shape.dtype if options.get("lora_rank") else "float32"
        dtype = "bfloat16" if options.get("load_in_4bit") else dtype
    return BYTES.get(dtype, 4)


def _adapted(options: Mapping[str, Any], shape: Shape) -> int:
    """Number of weights of an adapter."""
    targets = options.get("lora_targets") or shape.linear
    return int(options["lora_rank"]) * sum(shape.linear.get(name, 0) for name in targets)
