"""From chats to token ids: the one place where a prompt becomes what a model reads, to generate and to train."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from recr1.errors import UserError
from rewards.base import Chat

if TYPE_CHECKING:
    from torch import Tensor

FALLBACK_CHAT_TEMPLATE = "{% for message in messages %}{{ message.content }}\n{% endfor %}"
"""For tokenizers without a chat template (base models): the messages, one after the other, each with a line end."""

BEGINNING = "{{ bos_token }}"
"""Comes before that template where the tokenizer begins every text with a token of its own."""

FOLD_SYSTEM = (
    "{%- if messages[0].role == 'system' and messages|length > 1 -%}"
    "{%- set messages = [{'role': messages[1].role, 'content': messages[0].content + '\\n\\n' + messages[1].content}]"
    " + messages[2:] -%}"
    "{%- endif -%}"
)
"""Comes before a template that refuses system messages: it puts their text at the start of the first user message."""


def complete_tokenizer(tokenizer: Any, path: str) -> Any:
    """The tokenizer with a pad token and with a chat template that takes all chats of ours.

    Raises `UserError` where it has no end token, or a template that does not work.
    """
    if tokenizer.eos_token is None:
        raise UserError(
            f"policy.model: the tokenizer of {path!r} has no end token, so no completion could end; set eos_token in "
            "its tokenizer_config.json"
        )
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if tokenizer.chat_template is None:
        begins = tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id]
        tokenizer.chat_template = (BEGINNING if begins else "") + FALLBACK_CHAT_TEMPLATE
    elif isinstance(tokenizer.chat_template, str) and _refuses_system(tokenizer):
        tokenizer.chat_template = FOLD_SYSTEM + tokenizer.chat_template
    _check_template(tokenizer, path)
    return tokenizer


def _check_template(tokenizer: Any, path: str) -> None:
    """Raise `UserError` for a chat template that cannot be rendered, or that leaves out what a user says."""
    from jinja2.exceptions import TemplateError

    said = "a green tent"
    try:
        shown = tokenizer.apply_chat_template([{"role": "user", "content": said}], tokenize=False)
    except (TemplateError, ValueError) as error:
        raise UserError(f"policy.model: the chat template of {path!r} cannot be used: {error}") from error
    if said not in shown:
        raise UserError(
            f"policy.model: the chat template of {path!r} leaves out what the user says: correct or remove it"
        )


def _refuses_system(tokenizer: Any) -> bool:
    from jinja2.exceptions import TemplateError

    chat = [{"role": "system", "content": "a"}, {"role": "user", "content": "b"}]
    try:
        tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    except TemplateError:
        return True
    return False


def prompt_ids(tokenizer: Any, chats: Sequence[Chat]) -> list[list[int]]:
    """The token ids of each chat by the tokenizer's chat template, up to where the answer begins; not padded."""
    listed = [[dict(message) for message in chat] for chat in chats]
    read = tokenizer.apply_chat_template(listed, add_generation_prompt=True, tokenize=True, return_dict=True)
    ids: list[list[int]] = read["input_ids"]
    return ids


def prompt_tensors(tokenizer: Any, chats: Sequence[Chat], device: Any) -> tuple[Tensor, Tensor]:
    """Token ids and mask (both (B, P)) of a batch of chats, padded on the left: generation continues the last column.

    The tokenizer does not choose the side: most pad on the right, and transformers 5.23 ignores
    `apply_chat_template(padding_side="left")`, so that shorter prompts would be continued from padding.
    """
    import torch

    ids = prompt_ids(tokenizer, chats)
    width = max(map(len, ids))
    padded = [[tokenizer.pad_token_id] * (width - len(row)) + row for row in ids]
    mask = [[0] * (width - len(row)) + [1] * len(row) for row in ids]
    return torch.tensor(padded, device=device), torch.tensor(mask, device=device)
