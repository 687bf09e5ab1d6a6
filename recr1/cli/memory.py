"""`recr1 check --memory`: what training needs, term by term, whether it fits, and what would help."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from recr1.assets import shipped_model
from recr1.config.build import build
from recr1.errors import UserError
from recr1.memory import GB, Estimate, Load, Shape, Sharding, Term, estimate, load_of, shape_of
from recr1.recipe import Recipe

if TYPE_CHECKING:
    from recr1.tasks.base import Task

PROMPTS = 256
"""Prompts that are tokenized to find the longest."""
PER_WORD = 8
"""Bytes that a word of the catalog takes at most in the index of `bm25`: a row and a weight."""
TIGHT = 0.85
"""Beyond this share it may fail: allocators lose some, and the estimate errs."""
PIECES = 8
"""Processes over which sharding is offered where it would help."""
RANK = 16
"""Of the adapter that is offered."""

Change: TypeAlias = tuple[bool, str, dict[str, Any]]
"""Whether it applies, what to say in a recipe, and what of a `Load` it changes."""


class Asked(NamedTuple):
    """All that an estimate is made of, and the index beside it."""

    shape: Shape
    load: Load
    sharding: Sharding
    index_bytes: float
    """Bytes of the index, beside it."""

    def estimate(self, there: float) -> Estimate:
        """What one process needs."""
        return estimate(self.shape, self.load, self.sharding, there=there)


def memory(recipe: Recipe, gpu_gb: float | None = None, sharding: Sharding | None = None) -> str:
    """A line for each term, one that says whether it fits the GPU, or the RAM where there is none, and what helps."""
    gpu, place, there = _memory_at_hand(gpu_gb)
    asked = needed(recipe, gpu=gpu, sharding=sharding)
    found = asked.estimate(there)
    lines = [f"always{_lines(found.held)}"]
    lines += [f"{phase}{_lines(terms)}" for phase, terms in found.phases.items() if _lines(terms)]
    launch = f" each of {asked.sharding.processes} processes" if asked.sharding.processes > 1 else " a process"
    lines.append(f"{'peak':<20} {_size(found.peak)}{launch}, {found.phase}; there are {there / GB:.1f} GB ({place})")
    if asked.index_bytes:
        lines.append(f"{'index of bm25':<20} {_size(asked.index_bytes)} of RAM, at most")
    room = there if gpu else there - asked.index_bytes
    lines.append(_verdict(found, room, _share_of_vllm(asked, there)))
    if found.peak > TIGHT * room:
        lines += [f"  {text}" for text in _help(asked, there, found.peak, room)]
    return "\n".join(lines) + "\n"


def _verdict(found: Estimate, room: float, vllm: str | None) -> str:
    if found.peak > room:
        return "it will not fit"
    if vllm:
        return vllm
    if found.peak > TIGHT * room:
        return f"it may fit: more than {TIGHT:.0%} of what is there, and an estimate errs"
    return "it fits"


def _share_of_vllm(asked: Asked, there: float) -> str | None:
    """What is wrong with vLLM's share, which has to hold the weights in half precision too."""
    weights, share = 2 * asked.shape.parameters, asked.load.vllm_share * there
    if not share or weights < share:
        return None
    return f"vLLM will not fit: its share is {_size(share).strip()}, and the weights alone are {_size(weights).strip()}"


def _lines(terms: Mapping[str, Term]) -> str:
    rows = [f"  {name:<17} {_size(term.size)}  {term.what}" for name, term in terms.items() if term.size]
    return "\n".join(["", *rows])


def _size(size: float) -> str:
    return f"{size / GB:8.2f} GB" if size >= GB / 100 else f"{size / 1e6:8.2f} MB"


def _help(asked: Asked, there: float, peak: float, room: float) -> Iterator[str]:
    """What would lower the peak, most first, each by itself."""
    found = [(text, changed.estimate(there).peak) for text, changed in _changes(asked)]
    better = sorted(((now, text) for text, now in found if now < 0.98 * peak))
    for now, text in better:
        yield f"{text}: {_size(now).strip()}{', which fits' if now <= TIGHT * room else ''}"


def _changes(asked: Asked) -> Iterator[tuple[str, Asked]]:
    load, sharding = asked.load, asked.sharding
    for applies, text, changes in (*_of_the_update(load), *_of_generation(load), *_of_the_weights(asked.shape, load)):
        if applies:
            yield text, asked._replace(load=replace(load, **changes))
    if load.gpu and sharding.shard == "none":
        processes = max(sharding.processes, PIECES)
        text = f"weights in pieces (recr1 cp launch/zero3 .) on {processes} GPUs"
        yield text, asked._replace(sharding=Sharding(processes, "zero3"))


def _of_the_update(load: Load) -> list[Change]:
    half = load.micro // 2
    size, more = f"trainer.trl.per_device_train_batch_size={half}", "trainer.trl.gradient_accumulation_steps"
    halves = load.micro > load.group
    return [
        (not load.recompute, "trainer.trl.gradient_checkpointing=true", {"recompute": True}),
        (halves, f"{size} and twice {more}", {"micro": half, "accumulates": True}),
        (halves, f"{size} alone, and a step of half as many", {"micro": half, "rows": load.rows // 2}),
    ]


def _of_generation(load: Load) -> list[Change]:
    alone = load.gpu and load.rows > 0 and not load.vllm_share
    return [
        (load.validated > 1, f"policy.batch_size={load.validated // 2}", {"validated": load.validated // 2}),
        (load.new > 1, f"policy.max_new_tokens={load.new // 2}", {"new": load.new // 2}),
        (alone, "a vLLM server (trainer.trl.use_vllm=true trainer.trl.vllm_mode=server)", {"rows": 0}),
        (
            load.vllm_share > 0 and not load.vllm_sleeps,
            "trainer.trl.vllm_enable_sleep_mode=true",
            {"vllm_sleeps": True},
        ),
    ]


def _of_the_weights(shape: Shape, load: Load) -> list[Change]:
    adapter = {
        "adapter": True,
        "trained": RANK * sum(shape.linear.values()),
        "trained_bytes": 4,
        "reference": False,
        "weight_bytes": 2 if load.gpu else load.weight_bytes,
    }
    return [
        (not load.adapter, f"policy.lora_rank={RANK}", adapter),
        (load.gpu and not load.in_4bit and load.adapter, "policy.load_in_4bit=true", {"in_4bit": True}),
        (load.gpu and load.moment_bytes > 1, "trainer.trl.optim=paged_adamw_8bit", {"moment_bytes": 1}),
        (load.reference, "trainer.trl.beta=0", {"reference": False}),
        (load.critic, "trainer.critic=head", {"critic": False}),
    ]


def needed(recipe: Recipe, *, gpu: bool, sharding: Sharding | None = None) -> Asked:
    """What an estimate of the recipe's last stage is made of; opens the task and reads no weights."""
    if recipe.trainer is None:
        raise UserError("trainer: missing: --memory is about training, and the recipe only evaluates")
    model = recipe.policy.options.get("model")
    if not isinstance(model, str):
        raise UserError(f"policy.type: {recipe.policy.type!r} has no model whose memory could be estimated")
    trusted = bool(recipe.policy.options.get("trust_remote_code", False))
    shape = shape_of(model, trust_remote_code=trusted)
    task: Task = build("task", recipe.task)
    prompt = _longest_prompt(task, model, trusted=trusted)
    load = load_of(recipe.policy, recipe.trainer, shape, prompt, gpu=gpu, evaluation=recipe.evaluate)
    held = recipe.retriever.type == "bm25"  # others hold theirs elsewhere, or in a size that is theirs to say
    words = sum(len(text.split()) for text in task.catalog.texts) if held else 0
    return Asked(shape, load, sharding or Sharding(), float(PER_WORD * words))


def _longest_prompt(task: Task, model: str, *, trusted: bool) -> int:
    from recr1.policies.prompts import prompt_ids
    from recr1.policies.transformers import load_tokenizer

    tokenizer: Any = load_tokenizer(str(shipped_model(model) or model), trust_remote_code=trusted)
    chats = [task.format.render(need) for need in task.needs("train")[:PROMPTS]]
    return max(map(len, prompt_ids(tokenizer, chats)))


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
