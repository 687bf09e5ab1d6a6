"""Adapters: LoRA, DoRA and QLoRA; how one is added to a model, saved, and merged into plain weights.

LoRA (Hu et al. 2021, arXiv 2106.09685) adds to the weight of a linear layer a product of two thin matrices. DoRA (Liu
et al. 2024, arXiv 2402.09353) also learns the length of each of its rows. QLoRA (Dettmers et al. 2023, arXiv
2305.14314) keeps the frozen weights in four bits.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from recr1.config.build import Part
from recr1.errors import MissingLibrary, UserError

OUTPUT = "lm_head"
"""The layer that gets no adapter: TRL reads its weight directly, so an adapter would never be trained."""

OPTIONS = ("gguf_file", "lora_rank", "lora_alpha", "lora_dropout", "lora_targets", "use_dora", "load_in_4bit")
"""The options of a policy that say where it begins and how it is trained; a saved policy does not need them."""


def with_weights(policy: Part, folder: Path) -> Part:
    """A policy with the weights of a folder, which holds the whole model: adapters are merged into it."""
    options = {name: value for name, value in policy.options.items() if name not in OPTIONS}
    return Part(policy.type, {**options, "model": str(folder)})


def with_adapter(model: Any, targets: Sequence[str] | None, **options: Any) -> Any:
    """The model with a new LoRA adapter, which changes no output yet; raises `UserError` for layers it lacks.

    `targets` are names of linear layers, None for all but the output; the options are those of `peft.LoraConfig`.
    """
    import peft
    import torch

    linear = {
        name.rpartition(".")[2]
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and module is not model.get_output_embeddings()
    }
    absent = [name for name in targets or () if name not in linear]
    if absent:
        what = f"the model has no linear layers {absent[0]!r}; it has {', '.join(sorted(linear))}"
        raise UserError(f"policy.lora_targets: {what}")
    modules = list(targets) if targets else "all-linear"
    return peft.get_peft_model(model, peft.LoraConfig(target_modules=modules, task_type="CAUSAL_LM", **options))


def adapter_problems(options: Mapping[str, Any]) -> list[str]:
    """What is wrong with the options of an adapter and of 4-bit weights, before anything is loaded."""
    problems = []
    if OUTPUT in (options.get("lora_targets") or ()):
        problems.append(f"lora_targets: {OUTPUT} cannot have an adapter, because TRL reads its weight directly")
    if not options.get("lora_rank"):
        given = [name for name in ("lora_alpha", "lora_dropout", "lora_targets", "use_dora") if options.get(name)]
        problems += [f"{name}: has no effect without an adapter; set lora_rank" for name in given]
    if options.get("load_in_4bit") and options.get("compute") == "bfloat16":
        problems.append("compute: 4-bit weights are computed in dtype, bfloat16 by default; leave this out")
    if options.get("load_in_4bit") and options.get("dtype") == "float16":
        problems.append("dtype: the range of float16 is too small for 4-bit weights; use bfloat16 or float32")
    return problems


def missing_libraries(options: Mapping[str, Any]) -> list[MissingLibrary]:
    """Libraries that the options need and that are not installed; nothing is imported."""
    needed = {"peft": ("train", "policy.lora_rank")} if options.get("lora_rank") else {}
    if options.get("load_in_4bit"):
        needed["bitsandbytes"] = ("qlora", "policy.load_in_4bit")
    return [MissingLibrary(name, *why) for name, why in needed.items() if find_spec(name) is None]


def in_four_bits(dtype: str, device: str) -> dict[str, Any]:
    """How transformers loads 4-bit weights onto a device: NF4 with double quantization, as in QLoRA.

    They are computed in the dtype, bfloat16 for "auto", which is also that of all other weights.
    """
    import torch
    import transformers

    computing = torch.bfloat16 if dtype == "auto" else getattr(torch, dtype)
    config = transformers.BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=computing
    )
    return {"dtype": computing, "quantization_config": config, "device_map": {"": device}}


def keep_layout(model: Any) -> Any:
    """The model, its 4-bit weights kept in the layout that all code reads.

    On a CPU with AVX512-BF16 bitsandbytes (0.50.2) changes the layout at the first forward pass in evaluation. DoRA and
    `dequantize`, which read the weights themselves, then get wrong numbers.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    return model


def is_adapted(model: Any) -> bool:
    """Whether a model has an adapter."""
    return hasattr(model, "peft_config")


def is_quantized(model: Any) -> bool:
    """Whether the weights, or those below an adapter, are in 4 bits."""
    return bool(getattr(model, "is_loaded_in_4bit", False))


def learn_in_full_precision(model: Any) -> None:
    """Convert the adapter of 4-bit weights back to float32, after TRL's trainers made it bfloat16.

    They follow the paper, whose learning rates were high; bfloat16 loses most of a step of 1e-5. A resumed run gets its
    adapter from peft, always in float32.
    """
    if is_adapted(model) and is_quantized(model):
        for weight in model.parameters():
            if weight.requires_grad:
                weight.data = weight.data.float()


def merged(model: Any) -> Any:
    """A plain model that computes what the adapted one does; the adapted one cannot be used any more.

    4-bit weights are dequantized first: quantizing the sum again would change it.
    """
    if not is_quantized(model):
        return model.merge_and_unload()
    import peft

    config, trained = model.peft_config["default"], peft.get_peft_model_state_dict(model)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*rounding errors.*")
        plain = model.unload().dequantize()
    adapted = peft.get_peft_model(plain, config)
    peft.set_peft_model_state_dict(adapted, trained)
    return adapted.merge_and_unload()
