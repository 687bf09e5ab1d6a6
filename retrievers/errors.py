"""Errors: what a user can fix, what goes wrong with an engine, and a search with missing answers.

Messages show a value with `shown`, which cuts it, and what an engine says with `told`, which hides secrets too.
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from retrievers.base import Hits

SHORT = 8
"""Characters below which a hidden value is replaced only where it is a word of its own."""
LONGEST = 500
"""Characters of an engine's text that a message repeats."""

_QUOTED = r"(?:%[0-9A-Fa-f]{2})+|&#?\w+;|\\+[ux][0-9A-Fa-f]+|\+"
"""Other ways to write a character: in addresses, HTML, JSON and Python."""
_hidden: dict[str, tuple[re.Pattern[str], str]] = {}


def hide(value: str, name: str) -> None:
    """From now on, messages of this process show `name` in the place of a value, also where it is quoted or escaped."""
    if value in _hidden:
        return
    signs = (c if c.isascii() and c.isalnum() else rf"(?:\\*{re.escape(c)}|{_QUOTED})" for c in value)
    word = "".join(signs) if len(value) >= SHORT else rf"(?<!\w){''.join(signs)}(?!\w)"
    _hidden[value] = re.compile(word), name


def redacted(text: str) -> str:
    """A text without hidden values."""
    for value in sorted(list(_hidden), key=len, reverse=True):  # a copy: another thread may add one
        pattern, name = _hidden[value]
        text = pattern.sub(name, text)
    return text


class _Cut(reprlib.Repr):
    def repr_str(self, x: str, level: int) -> str:
        return super().repr_str(redacted(x), level)


_cut = _Cut()
_cut.maxstring = _cut.maxother = 80
shown = _cut.repr
"""A value as messages show it, redacted, then cut: to 80 characters of a text, six items of a list."""


def told(text: object, most: int = LONGEST) -> str:
    """What an engine says, as a message repeats it: redacted, then cut, so that no half of a secret is left."""
    whole = redacted(str(text))
    return whole if len(whole) <= most else f"{whole[:most]}..."


class UserError(ValueError):
    """Something the user can fix; the message is all they need to see. `recr1` prints it without a traceback."""


class OptionError(UserError):
    """Options of a part that cannot be used: every problem, one per line, each with its path."""

    def __init__(self, problems: Iterable[object]) -> None:
        self.problems = [str(problem) for problem in problems]
        super().__init__("\n".join(self.problems))


class TransientError(Exception):
    """One attempt failed, and the next may not: no connection, a time-out, 429, 5xx, an incomplete answer.

    `retry_after` is how many seconds the engine asked the client to wait.
    """

    def __init__(self, what: str, retry_after: float = 0.0) -> None:
        super().__init__(told(what))
        self.retry_after = retry_after


class PermanentError(Exception):
    """The engine will answer the same again: a wrong address, token or query, or an answer of another shape."""

    def __init__(self, what: str) -> None:
        super().__init__(told(what))


class EngineError(ConnectionError):
    """An engine gave no usable answer: which engine, where, after how many attempts, and the last cause."""

    def __init__(self, engine: str, address: str, attempts: int, cause: str) -> None:
        tried = "not asked" if attempts == 0 else f"after {attempts} attempt{'s' if attempts > 1 else ''}"
        self.engine, self.address, self.attempts, self.cause = engine, address, attempts, told(cause, 2 * LONGEST)
        super().__init__(f"{engine} at {address}, {tried}: {self.cause}")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.engine, self.address, self.attempts, self.cause)


class MissingAnswers(EngineError):  # noqa: N818 - it carries the answers that there are
    """A search in which some queries, or all, have no answer after the last attempt; `faults` says which and why.

    `hits` are those of the whole search, empty in these places. It is raised, so that a query without an answer is not
    taken for one that found nothing.
    """

    def __init__(self, hits: Hits, faults: Mapping[int, EngineError]) -> None:
        first, queries = next(iter(faults.values())), len(hits.rows_QK)
        share = f" ({len(faults)} of the search's {queries} queries have no answer)" if queries > 1 else ""
        super().__init__(first.engine, first.address, first.attempts, f"{first.cause}{share}")
        self.hits, self.faults = hits, dict(faults)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.hits, self.faults)
