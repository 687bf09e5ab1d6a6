"""What a recipe writes about requests: templates with places for the query, addresses, and headers with secrets."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

PLACES = re.compile(r"\{(query|k)\}")
VARIABLE = re.compile(r"\$\{(\w+)\}")
SECRET = re.compile(r"auth|cookie|token|secret|key|password", re.IGNORECASE)


def filled(template: Any, text: str, k: int, *, as_text: bool = False) -> Any:
    """A template with its places filled in, so that nothing in the query can be taken for a place or for JSON."""
    if isinstance(template, dict):
        return {name: filled(value, text, k, as_text=as_text) for name, value in template.items()}
    if isinstance(template, list):
        return [filled(value, text, k, as_text=as_text) for value in template]
    if template == "{k}" and not as_text:
        return k
    if isinstance(template, str):
        return PLACES.sub(lambda place: text if place[1] == "query" else str(k), template)
    return template


def has_query(template: Any) -> bool:
    """Whether a text of a template has a place for the query."""
    if isinstance(template, dict):
        return any(map(has_query, template.values()))
    if isinstance(template, list):
        return any(map(has_query, template))
    return isinstance(template, str) and "{query}" in template


def address_problems(option: str, url: str) -> list[str]:
    """What is wrong with the address of an engine, under the name of its option."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return [f"{option}: must be a whole address, as http://host:9200/search, got {url!r}"]
    if parts.username or parts.password:
        return [
            f"{option}: holds a user or password, which would stand in the run folder; send a header with ${{NAME}}"
        ]
    if PLACES.search(url):
        return [f"{option}: {{query}} and {{k}} belong into params or body, where they are quoted"]
    return []


class Headers:
    """Headers whose secrets stay in the environment: `${NAME}` in a value is read when they are sent.

    A pickled copy holds the names alone.
    """

    def __init__(self, templates: Mapping[str, str] | None) -> None:
        self._templates = dict(templates or {})

    def problems(self) -> list[str]:
        """What is wrong with them here: a variable that is not set, or a secret that would be written to disk."""
        problems = []
        for name, value in self._templates.items():
            missing = [variable for variable in VARIABLE.findall(value) if variable not in os.environ]
            if missing:
                problems.append(f"headers: '{name}' needs the environment variable {missing[0]}, which is not set")
            elif SECRET.search(name) and not VARIABLE.search(value):
                problems.append(
                    f"headers: '{name}' would stand in the run folder; write it as ${{NAME}}, out of the environment"
                )
        return problems

    def sent(self) -> dict[str, str]:
        """Them with their secrets; raises `ValueError` where a variable is not set."""
        problems = self.problems()
        if problems:  # an unpickled one may have come to where the environment is another
            raise ValueError(problems[0])
        return {
            name: VARIABLE.sub(lambda found: os.environ[found[1]], value) for name, value in self._templates.items()
        }

    def without_secrets(self, text: str) -> str:
        """A text for messages: some engines repeat the token that they refuse."""
        for value in self._templates.values():
            for name in VARIABLE.findall(value):
                secret = os.environ.get(name)
                text = text.replace(secret, f"${{{name}}}") if secret else text
        return text
