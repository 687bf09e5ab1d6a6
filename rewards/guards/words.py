"""What a query says, read the same way by all that guard it: its words, and runs of them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from retrievers.analyzer import Analyzer
from rewards.base import Rollout, Search

_ANALYZER = Analyzer()


def text_of(rollout: Rollout) -> str | None:
    """The query of a rollout; None where it has none, or one that is no text."""
    query = rollout.action.query if isinstance(rollout.action, Search) else None
    return query if isinstance(query, str) else None


def words_of(text: str) -> list[str]:
    """The words of a text in their order, lower case, cut as the lexical retrievers cut them."""
    return _ANALYZER.words(text)


def runs_of(words: Sequence[str], length: int) -> list[tuple[str, ...]]:
    """The runs of so many words that stand together, in their order: as many as there are places for one."""
    return [tuple(words[at : at + length]) for at in range(len(words) - length + 1)]


def says(words: Sequence[str], phrase: Sequence[str]) -> bool:
    """Whether the words of a phrase stand together, in its order; never for a phrase without words."""
    if not phrase or phrase[0] not in words:
        return False
    wanted, size = tuple(phrase), len(phrase)
    return any(tuple(words[at : at + size]) == wanted for at in range(len(words) - size + 1))


_SIGNS = re.compile(r"\b(?:AND|OR|NOT)\b|&&|\|\||(?<!\S)[-+!](?=\S)|[(\[{~^*]|\w:(?=\S)")


def operators_in(text: str) -> int:
    """How many operators of a search syntax a text holds.

    Counted are AND, OR and NOT in capital letters, `&&`, `||`, a `+`, `-` or `!` before a word, each bracket that
    opens, `~`, `^` and `*`, a name with a colon before a word, and each pair of quotation marks. A hyphen within a word
    is none.
    """
    return len(_SIGNS.findall(text)) + (text.count('"') + 1) // 2
