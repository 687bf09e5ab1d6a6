"""`recr1 check --memory`: what training needs, term by term, and whether it fits."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from recr1.assets import shipped_model
from recr1.build import build
from recr1.errors import UserError
from recr1.memory import GB, estimate, load_of, shape_of
from recr1.recipe import Recipe

if TYPE_CHECKING:
    from recr1.tasks.base import Task

PROMPTS = 256
"""Prompts that are tokenized to find the longest."""
PER_WORD = 8
"""Bytes that a word of the catalog takes at most in the index of `bm25`: a row and a weight."""
TIGHT = 0.8
"""Beyond this share it may fail: allocators lose some, and measured peaks were up to a sixth above the estimate."""


def memory(recipe: Recipe, gpu_gb: float | None = None) -> str:
    """A line for each term, and one that says whether it fits the GPU, or the RAM where there is none."""
    gpu, place, there = _memory_at_hand(gpu_gb)
    found = dict(needed(recipe, gpu=gpu, there=there))
    index = found.pop("index")
    peak = found.pop("peak")
    lines = [f"{name:<18} {_size(size)}" for name, size in found.items() if size]
    lines.append(f"{'peak':<18} {_size(peak)} a process, of {there / GB:.1f} GB ({place})")
    if index:
        lines.append(f"{'index':<18} {_size(index)} of RAM, at most")
    whole = peak if gpu else peak + index
    if whole > there:
        verdict = (
            "it will not fit: smaller micro-batches (trainer.trl.per_device_train_batch_size), shorter completions "
        )
        verdict += "(policy.max_new_tokens), an adapter (policy.lora_rank) or sharding (recr1 cp launch/zero3 .)"
    elif whole > TIGHT * there:
        verdict = "it may fit: measured peaks were up to a sixth above such an estimate, and allocators lose some"
    else:
        verdict = "it fits"
    return "\n".join([*lines, verdict]) + "\n"


def _size(size: float) -> str:
    return f"{size / GB:8.2f} GB" if size >= GB / 100 else f"{size / 1e6:8.2f} MB"


def needed(recipe: Recipe, *, gpu: bool, there: float = 0) -> Mapping[str, float]:
    """Bytes of each term of the recipe's last stage, with "peak" and "index"; opens the task and reads no weights."""
    if recipe.trainer is None:
        raise UserError("trainer: missing: --memory is about training, and the recipe only evaluates")
    model = recipe.policy.options.get("model")
    if not isinstance(model, str):
        raise UserError(f"policy.type: {recipe.policy.type!r} has no model whose memory could be estimated")
    trusted = bool(recipe.policy.options.get("trust_remote_code", False))
    shape = shape_of(model, trust_remote_code=trusted)
    task: Task = build("task", recipe.task)
    prompt = _longest_prompt(task, model, trusted=trusted)
    load = load_of(recipe.policy, recipe.trainer, shape, prompt, gpu=gpu)
    held = recipe.retriever.type == "bm25"  # others hold theirs elsewhere, or in a size that is theirs to say
    words = sum(len(text.split()) for text in task.catalog.texts) if held else 0
    return {**estimate(shape, load, device="cuda" if gpu else "cpu", there=there), "index": float(PER_WORD * words)}


def _longest_prompt(task: Task, model: str, *, trusted: bool) -> int:
    from recr1.policies.transformers import load_tokenizer

    tokenizer: Any = load_tokenizer(str(shipped_model(model) or model), trust_remote_code=trusted)
    chats = [[dict(message) for message in task.format.render(need)] for need in task.needs("train")[:PROMPTS]]
    rendered = tokenizer.apply_chat_template(chats, add_generation_prompt=True, tokenize=False)
    return max(len(ids) for ids in tokenizer(rendered, add_special_tokens=False)["input_ids"])


def _memory_at_hand(gpu_gb: float | None) -> tuple[bool, str, float]:
    """Whether there is a GPU, what it is called, and its bytes: the one that was named, the smallest here, or RAM."""
    import torch

    if gpu_gb is not None:
        return True, "--gpu-gb", gpu_gb * GB
    if torch.cuda.is_available():
        sizes = {torch.cuda.get_device_properties(i).total_memory: i for i in range(torch.cuda.device_count())}
        least = min(sizes)
        return True, torch.cuda.get_device_name(sizes[least]), float(least)
    return False, "RAM of this machine", float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
