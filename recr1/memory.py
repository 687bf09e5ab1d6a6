"""Will it fit: an estimate of what a recipe needs to train, from the model's config alone; no weight is loaded.

Each term is one formula, which docs/launching.md repeats. What a program of this kind holds besides, whatever the
model, is `RUNTIME`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from recr1.assets import shipped_model
from recr1.build import Part
from recr1.errors import UserError

GB = 1e9
RUNTIME = {"cpu": 0.6e9, "cuda": 1.0e9}
"""Bytes of Python with its libraries, or of a CUDA context with its workspaces."""
BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
LOGITS = 4
"""Copies of a micro-batch's logits at the peak: themselves, by temperature, their gradient, and a softmax."""
DEFAULT_BETA = {"rloo": 0.05}
"""What TRL takes where a recipe does not say, but for 0."""


class Shape(NamedTuple):
    """A model by its config."""

    parameters: int
    linear: int
    """Sum of inputs and outputs of all linear layers but the last: a LoRA adapter has `rank` times that."""
    layers: int
    hidden: int
    inner: int
    keys: int
    """Numbers that the cache keeps of a token and layer, of keys and values each."""
    vocabulary: int
    dtype: str
    """Of the checkpoint."""


@dataclass(frozen=True)
class Load:
    """What is held of what, per process."""

    rows: int
    """Completions that are generated at a time."""
    micro: int
    """Completions of a micro-batch."""
    prompt: int
    """Tokens of the longest prompt."""
    new: int
    """Tokens of the longest completion."""
    recompute: bool
    """Gradient checkpointing."""
    reference: bool
    critic: bool
    """Whether there is a second model with gradients and optimizer."""
    lora_rank: int
    weight_bytes: int
    compute_bytes: int
    moments: float
    """Bytes of the optimizer's state per trained parameter."""
    vllm_share: float
    """The share of the GPU that vLLM takes for itself; 0 without."""


def shape_of(model: str, *, trust_remote_code: bool = False) -> Shape:
    """The shape of a model by folder, hub name or shipped name; reads its config and allocates nothing."""
    import torch
    import transformers

    path = str(shipped_model(model) or model)
    try:
        config = transformers.AutoConfig.from_pretrained(path, trust_remote_code=trust_remote_code)
        with torch.device("meta"):
            empty = transformers.AutoModelForCausalLM.from_config(config, trust_remote_code=trust_remote_code)
    except (OSError, ValueError) as error:
        raise UserError(f"policy.model: cannot read the config of {path!r}: {error}") from error
    text = config.get_text_config()
    last = empty.get_output_embeddings()
    linears = [module for module in empty.modules() if isinstance(module, torch.nn.Linear) and module is not last]
    heads = text.num_attention_heads
    head = getattr(text, "head_dim", None) or text.hidden_size // heads
    return Shape(
        parameters=sum(parameter.numel() for parameter in empty.parameters()),
        linear=sum(module.in_features + module.out_features for module in linears),
        layers=text.num_hidden_layers,
        hidden=text.hidden_size,
        inner=getattr(text, "intermediate_size", None) or 4 * text.hidden_size,
        keys=(getattr(text, "num_key_value_heads", None) or heads) * head,
        vocabulary=text.vocab_size,
        dtype=str(text.dtype or "float32").removeprefix("torch."),
    )


def load_of(policy: Part, trainer: Part, shape: Shape, prompt: int, *, gpu: bool) -> Load:
    """What a recipe's policy and trainer hold, with TRL's defaults, and recr1's on a CPU, where it does not say."""
    options, trl = policy.options, dict(trainer.options.get("trl") or {})
    rank = options.get("lora_rank", 0)
    micro = trl.get("per_device_train_batch_size", 8)
    dtype = options.get("dtype", "auto")
    if dtype == "auto":
        dtype = shape.dtype if rank and gpu else "float32"
    beta = trl.get("beta", DEFAULT_BETA.get(trainer.type, 0.0))
    half = trl.get("bf16", gpu) or trl.get("fp16", False)
    return Load(
        rows=micro * (trl.get("steps_per_generation") or trl.get("gradient_accumulation_steps", 1)),
        micro=micro,
        prompt=prompt,
        new=options.get("max_new_tokens", 128),
        recompute=trl.get("gradient_checkpointing", gpu),
        reference=beta != 0 and not rank,
        critic=trainer.type == "ppo" and trainer.options.get("critic") == "model",
        lora_rank=rank,
        weight_bytes=BYTES.get(dtype, 4),
        compute_bytes=2 if half else BYTES.get(dtype, 4),
        moments=_moments(str(trl.get("optim", "adamw_torch")), 4 if rank else BYTES.get(dtype, 4)),
        vllm_share=trl.get("vllm_gpu_memory_utilization", 0.3) if _colocated(trl) else 0.0,
    )


def _colocated(trl: Mapping[str, Any]) -> bool:
    return bool(trl.get("use_vllm")) and trl.get("vllm_mode", "colocate") == "colocate"


def _moments(optim: str, each: int) -> float:
    if "8bit" in optim:
        return 2
    if "adafactor" in optim or optim == "sgd":
        return 0
    return 2 * each


def estimate(shape: Shape, load: Load, *, device: str, there: float = 0) -> dict[str, float]:
    """Bytes of each term, and "peak": what is held all the time, and the larger of generating and updating.

    Of the memory that is `there`, vLLM in the same process takes its share whatever the model.
    """
    trained = shape.linear * load.lora_rank if load.lora_rank else shape.parameters
    adapter = trained if load.lora_rank else 0
    each = 4 if load.lora_rank else load.weight_bytes
    copies = 1 + load.critic
    tokens, length = load.micro * (load.prompt + load.new), load.prompt + load.new
    layer = tokens * (14 * shape.hidden + 4 * shape.keys + 4 * shape.inner) * load.compute_bytes
    kept = tokens * shape.hidden * shape.layers * load.compute_bytes
    held = {
        "runtime": RUNTIME[device],
        "weights": copies * shape.parameters * load.weight_bytes + adapter * 4,
        "gradients": copies * trained * each,
        "optimizer": copies * trained * load.moments,
        "reference": shape.parameters * load.weight_bytes * load.reference,
        "vLLM": load.vllm_share * there,
    }
    generating = {
        "KV cache": load.rows * length * 2 * shape.layers * shape.keys * load.weight_bytes * (not load.vllm_share),
        "logits of a token": 3 * load.rows * shape.vocabulary * 4,
    }
    updating = {
        "activations": kept + layer if load.recompute else layer * shape.layers,
        "logits": LOGITS * load.micro * (load.new + 1) * shape.vocabulary * load.compute_bytes,
    }
    peak = sum(held.values()) + max(sum(generating.values()), sum(updating.values()))
    return {**held, **generating, **updating, "peak": peak}
