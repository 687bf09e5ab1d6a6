"""What a pair looks like in tokens: the prompt as generation reads it, the answer as generation would write it."""

from __future__ import annotations

from typing import Any

from recr1.policies.prompts import prompt_ids
from rewards.base import Chat

IGNORED = -100
"""The label of a token that no loss is computed for."""


def answer_ids(tokenizer: Any, completion: str) -> list[int]:
    """The tokens of a completion and its end: what a policy that writes it generates."""
    ids: list[int] = tokenizer(completion, add_special_tokens=False)["input_ids"]
    return [*ids, tokenizer.eos_token_id]


def example(tokenizer: Any, prompt: Chat, completion: str) -> dict[str, list[int]]:
    """Token ids of prompt and answer, and labels that leave the prompt out."""
    (read,) = prompt_ids(tokenizer, [prompt])
    answer = answer_ids(tokenizer, completion)
    return {"input_ids": [*read, *answer], "labels": [*[IGNORED] * len(read), *answer]}
