"""Parts as the command line writes them: a type, with options in brackets.

`bm25`, `bm25(k1=0.9, stemmer=english)`, `my_package.engines:Mine(depth=3)`. Values are YAML, so that they can hold
parts: `hybrid(parts=[{type: bm25}, {type: rank_bm25}])`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from recr1.config import yaml12
from recr1.config.build import Part, check_part
from recr1.errors import RecipeError, UserError, shown

_CLOSING = {"(": ")", "[": "]", "{": "}"}


def read_retrievers(texts: Sequence[str], own: Part) -> dict[str, Part]:
    """The retrievers of `--retrievers` by their names, without the run's own; raises `UserError` with all mistakes."""
    parts = {text: read_part(text) for text in texts}
    problems = [str(p) for text, part in parts.items() for p in check_part("retriever", part.to_dict(), text)]
    if problems:
        raise RecipeError(problems, "--retrievers")
    return {spell_part(part): part for part in parts.values() if part != own}


def read_part(text: str) -> Part:
    """The part that `type(option=value, ...)` spells; raises `UserError`."""
    match = re.fullmatch(r"\s*([\w.:]+)\s*(?:\((.*)\))?\s*", text, re.DOTALL)
    if match is None:
        raise UserError(f"must be a type, with options in brackets, such as bm25(k1=0.9), got {shown(text)}")
    options: dict[str, Any] = {}
    for entry in split_outside_brackets(match[2] or ""):
        name, equals, value = entry.partition("=")
        document = yaml12.read(value)
        if not equals or document.problems:
            why = document.problems[0][1] if equals else "an option is name=value"
            raise UserError(f"{shown(text)}: {shown(entry.strip())}: {why}")
        options[name.strip()] = document.value
    return Part(match[1], options)


def spell_part(part: Part) -> str:
    """A part as `read_part` reads it; equal parts are spelled alike."""
    options = ", ".join(f"{name}={_spell(value)}" for name, value in part.options.items())
    return f"{part.type}({options})" if options else part.type


def split_outside_brackets(text: str) -> list[str]:
    """A text split at its commas, except inside brackets or quotation marks; `UserError` for an open bracket."""
    pieces, closing, quote, start = [], [], "", 0
    for place, char in enumerate(text):
        if quote:
            quote = "" if char == quote else quote
        elif char in "\"'":
            quote = char
        elif char in _CLOSING:
            closing.append(_CLOSING[char])
        elif closing and char == closing[-1]:
            closing.pop()
        elif char == "," and not closing:
            pieces.append(text[start:place])
            start = place + 1
    if closing or quote:
        raise UserError(f"{shown(text)}: the closing {(quote or closing[-1])!r} is missing")
    return [piece.strip() for piece in [*pieces, text[start:]] if piece.strip()]


def _spell(value: object) -> str:
    """A value in the shortest YAML that reads back."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_spell(name)}: {_spell(inner)}" for name, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_spell, value)) + "]"
    if isinstance(value, str) and re.fullmatch(r"[A-Za-z][\w./:-]*\w", value) and yaml12.read(value).value == value:
        return value
    return json.dumps(value)
