"""What a tokenizer needs to read chats, and what it gets where it came without: base models, and refused roles."""

from __future__ import annotations

from typing import Any

from recr1.errors import UserError

FALLBACK_CHAT_TEMPLATE = "{% for message in messages %}{{ message.content }}\n{% endfor %}"
"""For tokenizers without a chat template (base models): the messages, one after the other, each with a line end."""

BEGINNING = "{{ bos_token }}"
"""What stands before it where the tokenizer begins every text with a token of its own."""

FOLD_SYSTEM = (
    "{%- if messages[0].role == 'system' and messages|length > 1 -%}"
    "{%- set messages = [{'role': messages[1].role, 'content': messages[0].content + '\\n\\n' + messages[1].content}]"
    " + messages[2:] -%}"
    "{%- endif -%}"
)
"""What stands before a template that refuses system messages: the system's words open the first message."""


def complete(tokenizer: Any, path: str) -> Any:
    """The tokenizer with a pad token and with a chat template that takes every chat of ours.

    Raises `UserError` where there is no token that ends a completion.
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
    return tokenizer


def _refuses_system(tokenizer: Any) -> bool:
    from jinja2.exceptions import TemplateError

    chat = [{"role": "system", "content": "a"}, {"role": "user", "content": "b"}]
    try:
        tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    except TemplateError:
        return True
    return False
