"""Formats: how a need becomes a prompt, and what a completion means. Both change together, so they are one object.

A format cannot see the catalog: `render` gets a `Need`, which holds nothing that the policy may not see, and `parse`
gets only the completion (`ReadsNeed`: and the need). Model output is data: `parse` returns a `Search`, or an `Invalid`
with one of `REASONS`, in time linear in the length, and never raises.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, Self, runtime_checkable

from recr1.errors import UserError, shown
from retrievers.analyzer import is_blank
from retrievers.options import PositiveInt, checked
from rewards.base import Action, Chat, Invalid, Message, Need, Search

BUILTIN = {
    "plain": "recr1.formats:Plain",
    "tag": "recr1.formats:Tag",
    "json_answer": "recr1.formats:JsonAnswer",
    "ranking": "recr1.ranking:Ranking",
    "answer": "recr1.answers:TextAnswer",
    "pick_one": "recr1.choosing:PickOne",
    "history": "recr1.choosing:History",
}
"""Formats by the name that a recipe uses."""

SLOT = "{need}"
"""Where the text of the need goes in a prompt."""

QUERY_TAGS = ("<query>", "</query>")
ANSWER_TAGS = ("<think>", "</think>", "<answer>", "</answer>")

REASONS = frozenset(
    [
        "completion is not text",
        "empty query",
        "query too long",
        "tags out of order",
        "answer is not JSON",
        "answer is not a JSON object",
        "no key 'query'",
        "more than one key 'query'",
        "query is not text",
        *(f"{count} {tag} tag" for tag in (*QUERY_TAGS, *ANSWER_TAGS) for count in ("no", "more than one")),
    ]
)
"""Every reason of the formats here, so that a log can count them."""

_SITUATION = "A shopper tells you what they need. Write the query for a product search engine that finds it."
# Only for a retriever that declares more than words: an operator that the engine ignores must not be offered.
_SYNTAX = "Beside plain words, the engine understands:"

# Not in any query: control characters count as white space, and half of a surrogate pair cannot be encoded.
_STRAY = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]+")

_MOST_BRACKETS = 1000
"""An answer with more opening brackets is not read as JSON."""


@runtime_checkable
class Format(Protocol):
    """Prompt and parser. Built as `cls(*, options)`."""

    def render(self, need: Need) -> Chat:
        """The messages that ask the policy for a query: at least one, the last of them from the user."""
        ...

    def parse(self, completion: str) -> Action:
        """What a completion means: `Search` or `Invalid`. Never raises."""
        ...


@runtime_checkable
class ReadsNeed(Protocol):
    """A format whose completions mean something for one need alone, such as numbers of its candidates."""

    def parse_for(self, need: Need, completion: str) -> Action:
        """What a completion means for a need: `Recommend`, `Search` or `Invalid`. Never raises."""
        ...


def parsed(answer_format: Format, need: Need, completion: str) -> Action:
    """What a completion for a need means."""
    if isinstance(answer_format, ReadsNeed):
        return answer_format.parse_for(need, completion)
    return answer_format.parse(completion)


@runtime_checkable
class FitsEngine(Protocol):
    """A format whose prompt depends on what the engine understands."""

    def with_syntax(self, syntax: Mapping[str, str]) -> Format:
        """The format for an engine: capability -> how to write it, empty for words alone (`retrievers.abilities`)."""
        ...


@runtime_checkable
class WritesQueries(Protocol):
    """A format in which a policy can be shown how to answer."""

    def write(self, query: str) -> str:
        """The completion that `parse` reads as a search for the query; raises `ValueError` where there is none."""
        ...


@checked
class Templated:
    """A format whose prompt is a template; a subclass says what to answer and reads the answer."""

    instruction = ""
    """How to answer: the last part of the default prompt."""

    def __init__(self, *, prompt: str | None = None, system: str | None = None) -> None:
        if prompt is not None and SLOT not in prompt:
            raise UserError(f"prompt: must contain {SLOT}, where the text of the need goes, got {shown(prompt)}")
        self._own_prompt, self.system = prompt, system
        self.prompt = self._default_prompt({}) if prompt is None else prompt

    def _default_prompt(self, syntax: Mapping[str, str]) -> str:
        offered = "\n- ".join([f" {_SYNTAX}", *syntax.values()]) if syntax else ""
        return f"{_SITUATION}{offered}\n\nShopper: {SLOT}\n\n{self.instruction}"

    def with_syntax(self, syntax: Mapping[str, str]) -> Self:
        """The format with a default prompt for an engine that understands this; your own prompt is not changed."""
        if self._own_prompt is not None:
            return self
        fitted = copy.copy(self)
        fitted.prompt = self._default_prompt(syntax)
        return fitted

    def render(self, need: Need) -> list[Message]:
        """The system message, if there is one, and the prompt with the need's text instead of `{need}`."""
        # Replaced, not formatted: braces in a shopper's words or in a JSON example are ordinary characters.
        user = Message(role="user", content=self.prompt.replace(SLOT, need.text))
        return [user] if self.system is None else [Message(role="system", content=self.system), user]


@checked
class _Query(Templated):
    """A format whose answer is a query."""

    def __init__(self, *, prompt: str | None = None, system: str | None = None, max_chars: PositiveInt = 1000) -> None:
        super().__init__(prompt=prompt, system=system)
        self.max_chars = max_chars

    def parse(self, completion: str) -> Action:
        """The `Search` that the completion asks for, or `Invalid`."""
        return self._read(completion) if isinstance(completion, str) else Invalid("completion is not text")

    def write(self, query: str) -> str:
        """The completion that asks for the normalized query; raises `ValueError` where none does."""
        completion = self._written(normalized(query))
        action = self.parse(completion)
        if isinstance(action, Invalid):
            raise ValueError(f"no answer in this format asks for {shown(query)}: {action.reason}")
        return completion

    def _read(self, completion: str) -> Action:
        raise NotImplementedError

    def _written(self, query: str) -> str:
        raise NotImplementedError

    def _search(self, query: str) -> Action:
        """A search for the normalized query, if anything is left of it."""
        query = normalized(query)
        if is_blank(query):
            return Invalid("empty query")
        return Search(query) if len(query) <= self.max_chars else Invalid("query too long")


class Plain(_Query):
    """The whole completion is the query.

    White space is collapsed and nothing else is changed: quotation marks stay (a retriever may have phrases), and a
    second line is part of the query.

    Args:
        prompt: the user message, with `{need}` for the need's text; the default is for product search.
        system: the system message; none by default.
        max_chars: a longer query is invalid. The default stays below the 1,024 terms that Lucene accepts.
    """

    instruction = "Answer with the query alone, on one line."

    def _read(self, completion: str) -> Action:
        return self._search(completion)

    def _written(self, query: str) -> str:
        return query


class Tag(_Query):
    """The query is in `<query>...</query>`, exactly once; any text is allowed before and after, for reasoning.

    Args:
        prompt: the user message, with `{need}` for the need's text; the default is for product search.
        system: the system message; none by default.
        max_chars: a longer query is invalid. The default stays below the 1,024 terms that Lucene accepts.
    """

    instruction = "Write the query between <query> and </query>."

    def _read(self, completion: str) -> Action:
        inside = between(completion, QUERY_TAGS)
        return inside if isinstance(inside, Invalid) else self._search(inside)

    def _written(self, query: str) -> str:
        return query.join(QUERY_TAGS)


@checked
class JsonAnswer(_Query):
    """Reasoning in `<think>`, then `<answer>{"query": "..."}</answer>`: the answer format of Rec-R1 (arXiv:2503.24289).

    Each of the four tags must appear once, in order. The answer is strict JSON: one object with one key `query` and
    a string as its value; other keys are allowed. An answer with more than 1,000 opening brackets is invalid.

    Args:
        prompt: the user message, with `{need}` for the need's text; the default is for product search.
        system: the system message; none by default.
        max_chars: a longer query is invalid. The default stays below the 1,024 terms that Lucene accepts.
        think_opened: the chat template ends with `<think>`, so that completions begin inside it.
    """

    instruction = (
        "First think about what would find it, inside <think> </think> tags. Then give the query as JSON inside "
        '<answer> </answer> tags, like this:\n<think>your reasoning</think>\n<answer>{"query": "your query"}</answer>'
    )

    def __init__(
        self,
        *,
        prompt: str | None = None,
        system: str | None = None,
        max_chars: PositiveInt = 1000,
        think_opened: bool = False,
    ) -> None:
        super().__init__(prompt=prompt, system=system, max_chars=max_chars)
        self.think_opened = think_opened

    def _read(self, completion: str) -> Action:
        answer = between("<think>" + completion if self.think_opened else completion, ANSWER_TAGS)
        query = answer if isinstance(answer, Invalid) else _query_of(answer)
        return query if isinstance(query, Invalid) else self._search(query)

    def _written(self, query: str) -> str:
        # No reasoning: pairs have none.
        answer = json.dumps({"query": query}, ensure_ascii=False)
        return f"{'' if self.think_opened else '<think>'}</think>\n<answer>{answer}</answer>"


def normalized(query: str) -> str:
    """The normalized query: single blanks, and nothing that cannot be encoded."""
    return " ".join(_STRAY.sub(" ", query).split())


def between(text: str, tags: Sequence[str]) -> str | Invalid:
    """The text between the last two tags, if each tag appears exactly once and in this order."""
    for tag in tags:
        count = text.count(tag)
        if count != 1:
            return Invalid(f"{'more than one' if count else 'no'} {tag} tag")
    places = [text.index(tag) for tag in tags]
    if places != sorted(places):
        return Invalid("tags out of order")
    return text[places[-2] + len(tags[-2]) : places[-1]]


class _Members(list[tuple[str, Any]]):
    """A JSON object with its repeated keys (a `dict` would silently keep the last one)."""


def _query_of(answer: str) -> str | Invalid:
    """The value of the key `query`."""
    # If a program has raised Python's recursion limit, deep nesting overflows the C stack and ends the process.
    if answer.count("[") + answer.count("{") > _MOST_BRACKETS:
        return Invalid("answer is not JSON")
    try:
        # Numbers are never used, and Python makes no int of more than 4,300 digits: a float takes any.
        found = json.loads(answer, object_pairs_hook=_Members, parse_int=float, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return Invalid("answer is not JSON")
    if not isinstance(found, _Members):
        return Invalid("answer is not a JSON object")
    queries = [value for key, value in found if key == "query"]
    if len(queries) != 1:
        return Invalid("more than one key 'query'" if queries else "no key 'query'")
    return queries[0] if isinstance(queries[0], str) else Invalid("query is not text")


def _refuse(constant: str) -> None:
    """Python reads NaN and Infinity, but JSON does not have them."""
    raise ValueError(f"{constant} is not JSON")
