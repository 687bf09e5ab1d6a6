"""The context of a model: whether every prompt fits into it, with the completion that may follow."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from recr1.config.build import Part, find_class
from recr1.errors import MissingLibrary, UserError, shown
from recr1.policies.loading import converted, load_config, load_tokenizer
from recr1.policies.prompts import prompt_ids
from recr1.policies.sources import NotAtHand, find_model
from rewards.base import Chat, Need

ENDLESS = 10**9
"""Tokenizers without a length of their own have one above this."""
INCLUDED = ("longrope", "su", "llama3")
"""Kinds of RoPE scaling whose models write the scaled length into the config; the others write the length before."""
BLOCK = 1000
"""Prompts that are tokenized at a time."""


def context_of(config: Any, tokenizer: Any) -> int | None:
    """The tokens that a model reads and writes at most, as vLLM reads it too; None where nothing says it.

    `max_position_embeddings`, times the factor of the RoPE scaling; without positions, what the tokenizer says. A
    sliding window is no limit: what is beyond it is passed on from layer to layer.
    """
    text = config.get_text_config()
    length = getattr(text, "max_position_embeddings", None) or getattr(text, "max_seq_len", None)
    if length is None:
        length = tokenizer.model_max_length
        return int(length) if length < ENDLESS else None
    scaling = getattr(text, "rope_parameters", None) or getattr(text, "rope_scaling", None) or {}
    if isinstance(next(iter(scaling.values()), None), Mapping):  # one for each kind of layer
        scaling = scaling.get("full_attention") or {}
    if scaling.get("rope_type") in INCLUDED:
        return int(length)
    if scaling.get("rope_type") == "yarn":
        length = scaling.get("original_max_position_embeddings") or length
    return int(length * (scaling.get("factor") or 1))


def prompts_fit(
    policy: Part,
    splits: Mapping[str, Sequence[Need]],
    write: Callable[[Sequence[Need]], Sequence[Chat]],
    *,
    local: bool,
) -> str | None:
    """What `check_prompts` of a policy's class says of the prompts that `write` makes; None for a policy without it."""
    ask = getattr(find_class("policy", policy.type), "check_prompts", None)
    if ask is None:
        return None
    ids = {split: [need.id for need in needs] for split, needs in splits.items()}
    prompts = {split: list(zip(ids[split], write(needs), strict=True)) for split, needs in splits.items()}
    return str(ask(policy.options, prompts, local=local))


def check_prompts(options: Mapping[str, Any], prompts: Mapping[str, Sequence[tuple[str, Chat]]], *, local: bool) -> str:
    """How long the longest prompt is, in words; raises `UserError` where one does not fit. No weights are loaded.

    Args:
        options: those of the policy.
        prompts: split -> id and chat of each need; empty splits are fine.
        local: fetch nothing, and say in place of it that the prompts were not checked.
    """
    trusted, new = bool(options.get("trust_remote_code", False)), int(options.get("max_new_tokens", 128))
    try:
        source = converted(find_model(str(options["model"]), options.get("gguf_file"), local=local), local=local)
        tokenizer = load_tokenizer(source, trust_remote_code=trusted, local=local)
        config = load_config(source, trust_remote_code=trusted, local=local)
    except (MissingLibrary, NotAtHand) as error:
        if not local:
            raise
        return f"not checked, as the tokenizer is not available here: {error}"
    context = context_of(config, tokenizer)
    lengths = {
        (split, need): length
        for split, listed in prompts.items()
        for (need, _), length in zip(listed, lengths_of(tokenizer, [chat for _, chat in listed]), strict=True)
    }
    return check_lengths(lengths, context, new)


def check_lengths(lengths: Mapping[tuple[str, str], int], context: int | None, new: int) -> str:
    """The longest of the prompts, in words; raises `UserError` where one does not fit.

    Args:
        lengths: split and id of a need -> tokens of its prompt.
        context: tokens that the model reads and writes at most; None where it does not say.
        new: tokens of the longest completion.
    """
    if not lengths:
        return "none"
    split, need = longest = max(lengths, key=lengths.__getitem__)
    most, which = lengths[longest], f"{shown(need)} of {split}"
    if context is None:
        return f"{most} tokens at most ({which}); the model does not say how many it can read"
    if most + new <= context:
        return f"{most} tokens at most ({which}), and {new} new ones, of {context}"
    long = sum(length + new > context for length in lengths.values())
    raise UserError(
        f"policy.model: {long} of {len(lengths)} prompts do not fit: the longest, need {which}, has {most} tokens, "
        f"with policy.max_new_tokens ({new}) {most + new}, and the model's context has {context}. Shorten "
        "or leave out such needs, shorten task.format.prompt, lower policy.max_new_tokens, or take another model"
    )


def check_fit(length: int, new: int, context: int | None) -> None:
    """Raise `UserError` where a prompt of so many tokens does not fit into a context with a completion after it."""
    if context is not None and length + new > context:
        raise UserError(
            f"policy.model: a prompt has {length} tokens; with policy.max_new_tokens ({new}) it does not fit into the "
            f"model's context of {context}: shorten the need or the prompt, lower policy.max_new_tokens, or take "
            "another model"
        )


def lengths_of(tokenizer: Any, chats: Sequence[Chat]) -> list[int]:
    """The tokens of each prompt."""
    blocks = (chats[start : start + BLOCK] for start in range(0, len(chats), BLOCK))
    return [len(ids) for block in blocks for ids in prompt_ids(tokenizer, block)]
