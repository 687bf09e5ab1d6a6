"""The format of re-ranking: a prompt with numbered candidates, and their numbers in order as the answer."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol, Self, runtime_checkable

from recr1.errors import UserError, shown
from recr1.formats import SLOT, ReadsNeed, Templated, between
from retrievers.options import checked
from rewards.base import Action, Invalid, Message, Need, Recommend

ITEMS = "{candidates}"
"""Where the candidates go in a prompt."""

ANSWER = ("<answer>", "</answer>")

FAULTS = {
    "invented": "no candidate has this number",
    "repeated": "a number appears twice",
    "partial": "a candidate is missing",
}
"""What may be wrong with a list of numbers -> the reason of an `Invalid`, and what `Recommend.mended` says."""

NO_LIST = "no list of numbers"
_BETWEEN = str.maketrans(dict.fromkeys(">,;[]()", " "))
_NUMBER = re.compile("[0-9]+")
_DIGITS = 9


@runtime_checkable
class WritesLists(Protocol):
    """A format in which a policy can be shown how to answer with a list."""

    def write_for(self, need: Need, rows: Sequence[int]) -> str:
        """The completion that names candidates of the need in the order of these rows."""
        ...


@runtime_checkable
class MarksPlaces(ReadsNeed, Protocol):
    """A format of lists that says which part of a completion is which place of the list."""

    def ends(self, need: Need, completion: str) -> list[int]:
        """Where in the completion each item that got a place ends, in the order of the places; none where invalid."""
        ...


def chat_of(system: str | None, prompt: str, put: Mapping[str, str]) -> list[Message]:
    """The messages of a prompt with a text in place of each slot."""
    # In one pass: what a need or an item says is not searched for the other slot.
    user = re.sub("|".join(map(re.escape, put)), lambda match: put[match[0]], prompt)
    chat = [Message(role="system", content=system)] if system is not None else []
    return [*chat, Message(role="user", content=user)]


def numbers_in(text: str) -> list[int] | None:
    """The numbers of a list, between which are white space and any of `> , ; [ ] ( )`; None where it has others."""
    words = text.translate(_BETWEEN).split()
    if not words or not all(word.isascii() and word.isdigit() and len(word) <= _DIGITS for word in words):
        return None
    return [int(word) for word in words]


def check_items(prompt: str | None) -> None:
    """Raises `UserError` for a prompt of your own in which candidates have no place."""
    if prompt is not None and ITEMS not in prompt:
        raise UserError(f"prompt: must contain {ITEMS}, where the items go, got {shown(prompt)}")


@checked
class OfNeed(Templated, ABC):
    """A format whose completions mean something for one need alone, such as the numbers of its candidates."""

    def with_syntax(self, syntax: Mapping[str, str]) -> Self:
        """Itself: no words are searched."""
        return self

    def parse(self, completion: str) -> Action:
        """`Invalid`: what a completion means depends on the need; see `parse_for`."""
        return self.parse_for(Need("", ""), completion)

    def parse_for(self, need: Need, completion: Any) -> Action:
        """What a completion means for a need, or `Invalid`."""
        return self._read(need, completion) if isinstance(completion, str) else Invalid("completion is not text")

    @abstractmethod
    def _read(self, need: Need, completion: str) -> Action: ...


class _Listed(NamedTuple):
    """The numbers of candidates that an answer has, each with the place where it ends in the completion."""

    ends: Mapping[int, int]
    faults: tuple[str, ...]


@checked
class Ranking(OfNeed):
    """The policy reads numbered candidates, and answers with their numbers from best to worst: "3 > 1 > 2".

    Between numbers may be white space and any of `> , ; [ ] ( )`; an answer with anything else is invalid. So is one
    that has a number of no candidate, a number twice, or not all numbers. With `mend` the first two are dropped, and
    candidates that are missing follow in the order shown; an answer without the number of a candidate stays invalid.
    Each fault is counted (`list/invented`, `list/repeated`, `list/partial`), mended or not.

    Args:
        prompt: the user message, with `{need}` for the need's text and `{candidates}` for the numbered items; the
            default is for product search.
        system: the system message; none by default.
        mend: mend lists with faults; by default they are invalid.
        tagged: the list is in `<answer>...</answer>`, exactly once; any text is allowed around it, for reasoning.
    """

    instruction = "Answer with the numbers of all items, from the best to the worst, like this: 2 > 3 > 1"

    def __init__(
        self, *, prompt: str | None = None, system: str | None = None, mend: bool = False, tagged: bool = False
    ) -> None:
        check_items(prompt)
        self.mend, self.tagged = mend, tagged
        super().__init__(prompt=prompt, system=system)

    def _default_prompt(self, syntax: Mapping[str, str]) -> str:
        situation = "A shopper tells you what they need. Put the items in order, from the best for this need."
        where = " Write this between <answer> and </answer>." if self.tagged else ""
        return f"{situation}\n\nShopper: {SLOT}\n\n{ITEMS}\n\n{self.instruction}{where}"

    def render(self, need: Need) -> list[Message]:
        """The prompt with the need's text and one line for each candidate, "1. red mug"."""
        lines = [f"{number}. {' '.join(one.text.split())}" for number, one in enumerate(need.candidates, start=1)]
        return chat_of(self.system, self.prompt, {SLOT: need.text, ITEMS: "\n".join(lines)})

    def _read(self, need: Need, completion: str) -> Action:
        found = self._listed(need, completion)
        if isinstance(found, Invalid):
            return found
        numbers = [*found.ends, *(n for n in range(1, len(need.candidates) + 1) if n not in found.ends)]
        return Recommend(tuple(need.candidates[number - 1].row for number in numbers), found.faults)

    def ends(self, need: Need, completion: str) -> list[int]:
        """Where in the completion each candidate's number ends, in the order of their places; none where invalid."""
        found = self._listed(need, completion)
        return [] if isinstance(found, Invalid) else [*found.ends.values()]

    def write_for(self, need: Need, rows: Sequence[int]) -> str:
        """The completion that names candidates in the order of these rows."""
        number_of = {one.row: str(number) for number, one in enumerate(need.candidates, start=1)}
        text = " > ".join(number_of[row] for row in rows)
        return text.join(ANSWER) if self.tagged else text

    def _listed(self, need: Need, completion: str) -> _Listed | Invalid:
        inside = between(completion, ANSWER) if self.tagged else completion
        if isinstance(inside, Invalid):
            return inside
        if numbers_in(inside) is None:
            return Invalid(NO_LIST)
        start = completion.index(ANSWER[0]) + len(ANSWER[0]) if self.tagged else 0
        ends: dict[int, int] = {}
        found = set()
        for match in _NUMBER.finditer(inside):
            number = int(match[0])
            if not 1 <= number <= len(need.candidates):
                found.add("invented")
            elif number in ends:
                found.add("repeated")
            else:
                ends[number] = start + match.end()
        if len(ends) < len(need.candidates):
            found.add("partial")
        faults = tuple(what for name, what in FAULTS.items() if name in found)
        return Invalid(faults[0]) if faults and not (self.mend and ends) else _Listed(ends, faults)
