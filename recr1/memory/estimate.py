"""The estimate: memory that one process always holds, and what each phase of a step adds.

docs/launching.md has the same formulas. Not included: fragmentation, and what frameworks keep for themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil, sqrt
from typing import NamedTuple

from recr1.memory.load import Load, Shape
from recr1.memory.sharding import Sharding
from recr1.policies.cpu import LARGE, SCORED

GB = 1e9
RUNTIME = {"cpu": 0.65e9, "cuda": 1.0e9}
"""Bytes of Python with its libraries, or of a CUDA context with its workspaces."""
TILE_ROWS, TILE_WORDS = 4096, 32768
"""Tokens and words of a tile: TRL computes the logits of an update in tiles and never holds all of them."""
TILE_COPIES = 8.25
"""Copies of a tile, of 4 bytes a number, that the backward pass holds without Triton (which works in place)."""
HEAP, HEAP_OF_ADAPTER = 0.5, 1.0
"""Share of the memory of a pass through the layers that the heap of a CPU keeps after it is freed; measured. An
adapter writes more between its layers."""
FOUR_BITS = 0.5 + 1 / 64 + 4 / (64 * 256)
"""Bytes of a 4-bit weight, with a scale of 1 byte for 64 weights and one of 4 bytes for 256 scales."""
LIVE, BUCKET = 1e9, 5e8
"""DeepSpeed's defaults: weights that ZeRO-3 gathers at a time, and gradients that are sent at a time."""


class Term(NamedTuple):
    """A part of the memory."""

    size: float  # bytes
    note: str


class Estimate(NamedTuple):
    """Terms by name: those that are always held, and those of each phase."""

    always: Mapping[str, Term]
    phases: Mapping[str, Mapping[str, Term]]

    @property
    def peak(self) -> float:
        """Bytes at the peak."""
        return _total(self.always) + _total(self.phases[self.phase])

    @property
    def phase(self) -> str:
        """The phase of the peak."""
        return max(self.phases, key=lambda name: _total(self.phases[name]))


def _total(terms: Mapping[str, Term]) -> float:
    return sum(term.size for term in terms.values())


def estimate(shape: Shape, load: Load, sharding: Sharding | None = None, *, available: float = 0) -> Estimate:
    """The memory of one process, which has `available` bytes: vLLM in it takes its share of them, whatever the model.

    Without `sharding` there is one process.
    """
    launch = sharding or Sharding()
    each = 4 if launch.deepspeed else load.trained_bytes
    gradients_note = f"{load.trained:,} of {each} bytes{_in_shards(launch.of_gradients)}"
    gradients = Term(load.trained * each / launch.of_gradients, gradients_note)
    vllm = {"vLLM": Term(load.vllm_share * available, f"{load.vllm_share:.0%} of the GPU, with its own weights")}
    kept, layer = _activations(shape, load, launch)
    waits = load.accumulates or launch.deepspeed
    whole = Term(2 * shape.parameters, "all of them, for generation")
    gathered = {"weights, gathered": whole} if launch.shard == "zero3" else {}
    in_trainer = load.rows and not load.vllm_share
    generation = gathered | _completing(shape, load, load.rows, load.group, load.sampled) if in_trainer else {}
    rest = shape.parameters * load.weight_bytes * (1 - 1 / launch.of_weights)  # each process loads the whole policy
    phases = {
        "loading": {"weights, whole": Term(rest, "before they are sharded")} if launch.shard != "none" else {},
        "generation": generation | (vllm if load.vllm_sleeps else {}),
        "validation": gathered | _completing(shape, load, load.validated, 1, 2),
        "update, output layer": {
            **({"gradients": gradients} if waits else {}),
            "activations": kept,
            **_output(shape, load),
        },
        "update, layers": {
            "gradients": gradients,
            "activations": kept if waits else Term(kept.size / shape.layers, kept.note),
            "one layer": layer,
        },
    }
    if not load.gpu:
        phases["saving"] = {
            "gradients": gradients._replace(note="freed, but kept by the heap"),
            "policy, written": Term(load.trained * load.trained_bytes, "a copy of the trained weights"),
        }
    if load.vllm_share and not load.vllm_sleeps:
        phases = {name: terms | vllm for name, terms in phases.items()}
    return Estimate(_always(shape, load, launch), phases)


def _always(shape: Shape, load: Load, launch: Sharding) -> dict[str, Term]:
    each = _each(load, launch)
    in_4bit = shape.matrices if load.in_4bit else 0
    whole = in_4bit * FOUR_BITS + (shape.parameters - in_4bit) * each
    kind = "4 bits" if load.in_4bit else f"{each} bytes"
    note = f"{'frozen, ' * load.adapter}{shape.parameters:,} of {kind}{_in_shards(launch.of_weights)}"
    optimizer = load.moments * load.moment_bytes
    if launch.deepspeed:  # moments, and a master copy of the weights
        optimizer = 4 + load.moments * (1 if load.moment_bytes == 1 else 4)
    terms = {
        "runtime": Term(RUNTIME["cuda" if load.gpu else "cpu"], "Python and its libraries, or a CUDA context"),
        "weights": Term(whole / launch.of_weights, note),
        "copy": Term(2 * shape.parameters * load.copied, "in bfloat16, which generates, with policy.compute"),
        "optimizer": Term(load.trained * optimizer / launch.of_gradients, f"{optimizer} bytes for each trained weight"),
    }
    if load.adapter:
        terms["adapter"] = Term(load.trained * load.trained_bytes, f"{load.trained:,} trained weights")
    elif load.compute_bytes < each and launch.shard == "none":  # autocast keeps them during a pass
        terms["weights, cast"] = Term(2 * (shape.trunk - shape.embedding), "copies of 2 bytes for the computation")
    if load.reference:
        terms["reference"] = Term(whole / launch.of_weights, "the starting policy, because beta is not 0")
    if load.critic:
        terms["critic"] = Term(16 * shape.trunk, "a second model with gradients and optimizer, not sharded")
    if not load.gpu:
        share = HEAP_OF_ADAPTER if load.adapter else HEAP
        written = _tokens(load) * saved(shape, load) * shape.layers
        terms["heap"] = Term(share * written, "freed memory that is not returned to the system")
    if launch.processes > 1:
        terms["buckets"] = _buckets(shape, load, launch)
    return terms


def _each(load: Load, launch: Sharding) -> int:
    """Bytes of a weight that is not stored in 4 bits."""
    return 2 if launch.deepspeed else load.weight_bytes


def _in_shards(count: int) -> str:
    return f" in {count} shards" if count > 1 else ""


def _buckets(shape: Shape, load: Load, launch: Sharding) -> Term:
    """Communication buffers, and weights that are gathered."""
    sent = min(load.trained, BUCKET)
    if launch.shard == "none":
        return Term(load.trained * load.trained_bytes, "gradients being sent (DDP)")
    if launch.shard == "zero2":
        return Term(2 * 2 * sent, "gradients being sent")
    if launch.shard == "zero3":
        return Term(2 * min(shape.parameters, LIVE) + 2 * sent, "gathered weights, gradients being sent")
    ends = shape.parameters - shape.trunk + shape.embedding
    layers = 2 * (shape.trunk - shape.embedding) / shape.layers
    return Term(2 * load.compute_bytes * (ends + layers), "gathered layers, gradients being sent")


def _completing(shape: Shape, load: Load, rows: int, group: int, copies: int) -> dict[str, Term]:
    length, prompts = load.prompt + load.new, -(-rows // group)
    cache = rows * length * 2 * (shape.layers + 1) * shape.keys * load.compute_bytes
    read = prompts * load.prompt * _passing(shape, load)
    return {
        "KV cache": Term(cache, f"{rows} completions of {length} tokens, with prompts"),
        "prompts": Term(read, f"{prompts} prompts of {load.prompt} tokens, read at once"),
        "logits of a token": Term(copies * rows * shape.vocabulary * 4, f"{copies} numbers for each word and row"),
    }


def _passing(shape: Shape, load: Load) -> int:
    """Bytes of a token inside a layer that are not kept for the backward pass."""
    return 2 * load.weight_bytes * shape.hidden + (3 * shape.inner + shape.hidden) * load.compute_bytes


def _activations(shape: Shape, load: Load, launch: Sharding) -> tuple[Term, Term]:
    """What all layers keep for the backward pass, and what that needs inside one layer."""
    tokens = _tokens(load)
    layer, residual = tokens * saved(shape, load), tokens * shape.hidden * _each(load, launch)
    through = tokens * _passing(shape, load)
    how = f"{tokens} tokens of {load.micro} completions"
    times = 2 if load.critic else 1
    if load.recompute:
        inputs = Term(times * residual * shape.layers, f"{how}, the input of each layer")
        return inputs, Term(layer + through, "recomputed for its gradients")
    return Term(times * layer * shape.layers, f"{how}, in all layers"), Term(through, "temporary, for its gradients")


def _tokens(load: Load) -> int:
    """Tokens that an update reads at a time, with padding."""
    if load.group == 1:
        return load.micro * (load.prompt + load.new)
    if load.rows <= load.micro:
        return load.micro // load.group * (load.prompt - 1) + load.micro * (load.new + 1)
    # TRL shuffles the completions of a batch over its micro-batches, which splits groups, and all rows are padded to
    # the longest. The estimate is two standard deviations above the mean number of a prompt's completions.
    prompts = min(load.rows // load.group, load.micro)
    each = load.micro / prompts
    return prompts * (load.prompt - 1 + min(load.group, ceil(each + 2 * sqrt(each))) * (load.new + 1))


def saved(shape: Shape, load: Load) -> int:
    """Bytes that autograd keeps of a token in one layer: two norms, attention without stored weights, a gated block.

    Inputs of norms are kept in full precision. With cast weights or an adapter each linear layer keeps a copy of its
    input; else layers with the same input share it.
    """
    c, hidden = load.compute_bytes, shape.hidden
    copies = 5 if c < load.weight_bytes or (load.adapter and c == 2) else 2
    norms = 2 * 4 * hidden + (0 if load.adapter else 2 * load.weight_bytes * hidden)
    output = shape.queries * c if load.adapter and c == 2 else 0
    return norms + copies * c * hidden + 4 * c * shape.queries + output + 4 * c * shape.inner


def _output(shape: Shape, load: Load) -> dict[str, Term]:
    """Logits and their gradients, a tile at a time."""
    own = not load.gpu and shape.vocabulary >= LARGE  # recr1's own head
    tokens = load.micro * load.new if load.gpu or own else _tokens(load)
    rows = min(tokens, SCORED if own else TILE_ROWS)
    # Without Triton the part of a tile beyond the vocabulary is never touched.
    words = shape.vocabulary if own else TILE_WORDS if load.gpu else min(shape.vocabulary, TILE_WORDS)
    tile = rows * words * (load.compute_bytes if load.gpu else 4 * (2 if own else TILE_COPIES))
    states = tokens * shape.hidden * (4 + 2 * load.compute_bytes) + words * shape.hidden * load.compute_bytes
    terms = {"logits": Term(tile + states, f"a tile of {rows} tokens by {words:,} words, and its gradients")}
    if not load.adapter:
        note = f"gradients of {shape.vocabulary:,} words, before they are added"
        terms["output layer"] = Term(4 * shape.embedding, note)
    return terms
