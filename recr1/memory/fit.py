"""`recr1 check --memory`: what training needs, term by term, whether it fits, and which options would lower it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from recr1.config.build import build
from recr1.errors import UserError
from recr1.memory.estimate import GB, Estimate, Term, estimate
from recr1.memory.load import Load, Shape, load_of, shape_of
from recr1.memory.sharding import Sharding
from recr1.policies.loading import converted, load_tokenizer
from recr1.policies.prompts import prompt_ids
from recr1.policies.sources import Source, find_model
from recr1.recipe import Recipe

if TYPE_CHECKING:
    from recr1.tasks.base import Task

PROMPTS = 256
"""Prompts that are tokenized to find the longest."""
BYTES_PER_WORD = 8
"""Upper bound for a word of the catalog in the index of `bm25`: a row and a weight."""
TIGHT = 0.85
"""Above this share of the memory a run may fail: allocators lose some, and the estimate has errors."""
SHARDED_PROCESSES = 8
"""Number of processes in the advice to shard the weights."""
LORA_RANK = 16
"""Rank in the advice to train an adapter."""


class Requirements(NamedTuple):
    """The inputs of an estimate, and the size of the index in the same process."""

    shape: Shape
    load: Load
    sharding: Sharding
    index_bytes: float

    def estimate(self, available: float) -> Estimate:
        """The memory of one process that has `available` bytes."""
        return estimate(self.shape, self.load, self.sharding, available=available)


def memory_report(recipe: Recipe, gpu_gb: float | None = None, sharding: Sharding | None = None) -> str:
    """A line for each term, the peak, whether it fits (the GPU, or RAM without one), and what would lower it."""
    gpu, place, available = _available_memory(gpu_gb)
    needed = requirements(recipe, gpu=gpu, sharding=sharding)
    found = needed.estimate(available)
    lines = [f"always{_lines(found.always)}"]
    lines += [f"{phase}{_lines(terms)}" for phase, terms in found.phases.items() if _lines(terms)]
    processes = f"each of {needed.sharding.processes} processes" if needed.sharding.processes > 1 else "one process"
    lines.append(f"{'peak':<20} {_size(found.peak)} in {processes} ({found.phase})")
    lines.append(f"{'available':<20} {_size(available)} ({place})")
    if needed.index_bytes:
        lines.append(f"{'index of bm25':<20} {_size(needed.index_bytes)} of RAM at most")
    room = available if gpu else available - needed.index_bytes
    lines.append(_verdict(needed, found.peak, room, available))
    if found.peak > TIGHT * room:
        lines += [f"  {text}" for text in _advice(needed, available, found.peak, room)]
    return "\n".join(lines) + "\n"


def _verdict(needed: Requirements, peak: float, room: float, available: float) -> str:
    if peak > room:
        return "it will not fit"
    weights, share = 2 * needed.shape.parameters, needed.load.vllm_share * available
    if 0 < share <= weights:  # vLLM holds the weights in half precision too
        sizes = _size(share).strip(), _size(weights).strip()
        return "vLLM will not fit: its share is {}, and the weights alone need {}".format(*sizes)
    if peak > TIGHT * room:
        return f"it may fit: the estimate is above {TIGHT:.0%} of the available memory"
    return "it fits"


def _lines(terms: Mapping[str, Term]) -> str:
    rows = [f"  {name:<17} {_size(term.size)}  {term.note}" for name, term in terms.items() if term.size]
    return "\n".join(["", *rows])


def _size(size: float) -> str:
    return f"{size / GB:8.2f} GB" if size >= GB / 100 else f"{size / 1e6:8.2f} MB"


def _advice(needed: Requirements, available: float, peak: float, room: float) -> Iterator[str]:
    """Changes that lower the peak, each by itself, the most effective first."""
    found = [(changed.estimate(available).peak, text) for text, changed in _changes(needed)]
    for now, text in sorted((now, text) for now, text in found if now < 0.98 * peak):
        yield f"{text}: {_size(now).strip()}{', which fits' if now <= TIGHT * room else ''}"


def _changes(needed: Requirements) -> Iterator[tuple[str, Requirements]]:
    """Each change that applies: what to write in the recipe, and what is needed then."""
    load, sharding, in_recipe = needed.load, needed.sharding, "trainer.trl."
    half, halves = load.micro // 2, load.micro > load.group
    size, more = f"{in_recipe}per_device_train_batch_size={half}", f"{in_recipe}gradient_accumulation_steps"
    server = f"a vLLM server ({in_recipe}use_vllm=true {in_recipe}vllm_mode=server)"
    adapter = {
        "adapter": True,
        "trained": LORA_RANK * sum(needed.shape.linear.values()),
        "trained_bytes": 4,
        "reference": False,
        "weight_bytes": 2 if load.gpu else load.weight_bytes,
    }
    changes: list[tuple[bool, str, dict[str, Any]]] = [
        (not load.recompute, f"{in_recipe}gradient_checkpointing=true", {"recompute": True}),
        (halves, f"{size} with twice the {more}", {"micro": half, "accumulates": True}),
        (halves, f"{size} alone, which halves the step", {"micro": half, "rows": load.rows // 2}),
        (load.validated > 1, f"policy.batch_size={load.validated // 2}", {"validated": load.validated // 2}),
        (load.new > 1, f"policy.max_new_tokens={load.new // 2}", {"new": load.new // 2}),
        (load.gpu and load.rows > 0 and not load.vllm_share, server, {"rows": 0}),
        (
            load.vllm_share > 0 and not load.vllm_sleeps,
            f"{in_recipe}vllm_enable_sleep_mode=true",
            {"vllm_sleeps": True},
        ),
        (not load.adapter, f"policy.lora_rank={LORA_RANK}", adapter),
        (load.gpu and not load.in_4bit and load.adapter, "policy.load_in_4bit=true", {"in_4bit": True}),
        (load.gpu and load.moment_bytes > 1, f"{in_recipe}optim=paged_adamw_8bit", {"moment_bytes": 1}),
        (load.reference, f"{in_recipe}beta=0", {"reference": False}),
        (load.critic, "trainer.critic=head", {"critic": False}),
    ]
    for applies, text, changed in changes:
        if applies:
            yield text, needed._replace(load=replace(load, **changed))
    if load.gpu and sharding.shard == "none":
        processes = max(sharding.processes, SHARDED_PROCESSES)
        text = f"sharded weights (recr1 cp launch/zero3 .) on {processes} GPUs"
        yield text, needed._replace(sharding=Sharding(processes, "zero3"))


def requirements(recipe: Recipe, *, gpu: bool, sharding: Sharding | None = None) -> Requirements:
    """The inputs of an estimate for the recipe's last stage. Opens the task and reads no weights."""
    if recipe.trainer is None:
        raise UserError("trainer: missing: --memory estimates training, and this recipe only evaluates")
    model = recipe.policy.options.get("model")
    if not isinstance(model, str):
        raise UserError(f"policy.type: {recipe.policy.type!r} has no model, so there is no memory to estimate")
    trusted = bool(recipe.policy.options.get("trust_remote_code", False))
    source = converted(find_model(model, recipe.policy.options.get("gguf_file")))
    shape = shape_of(source, trust_remote_code=trusted)
    task: Task = build("task", recipe.task)
    prompt = _longest_prompt(task, source, trusted=trusted)
    load = load_of(recipe.policy, recipe.trainer, shape, prompt, gpu=gpu, evaluation=recipe.evaluate)
    in_process = recipe.retriever.type == "bm25"  # the index of any other retriever is elsewhere, or of unknown size
    words = sum(len(text.split()) for text in task.catalog.texts) if in_process else 0
    return Requirements(shape, load, sharding or Sharding(), float(BYTES_PER_WORD * words))


def _longest_prompt(task: Task, source: Source, *, trusted: bool) -> int:
    tokenizer = load_tokenizer(source, trust_remote_code=trusted)
    chats = [task.format.render(need) for need in task.needs("train")[:PROMPTS]]
    return max(map(len, prompt_ids(tokenizer, chats)))


def _available_memory(gpu_gb: float | None) -> tuple[bool, str, float]:
    """Whether there is a GPU, where the memory is, and its bytes: of --gpu-gb, of the smallest GPU, or RAM."""
    import torch

    if gpu_gb is not None:
        return True, "--gpu-gb", gpu_gb * GB
    if torch.cuda.is_available():
        devices = map(torch.cuda.get_device_properties, range(torch.cuda.device_count()))
        smallest = min(devices, key=lambda device: device.total_memory)
        return True, smallest.name, float(smallest.total_memory)
    return False, "RAM of this machine", float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
