"""Formats of choosing: one of the candidates, or the part of a history that a recommender reads."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Literal

from recr1.formats import SLOT
from recr1.ranking import ITEMS, NO_LIST, OfNeed, chat_of, check_items, numbers_in
from retrievers.analyzer import folded
from retrievers.options import checked
from rewards.base import Action, Invalid, Message, Need, Recommend, Search

NOT_SHOWN, NO_ITEM = "not among the candidates", "no item has this number"
_NUMBERED = re.compile(r"\s*([0-9]{1,9})[.)]?(?:\s+(.*))?", re.DOTALL)


@checked
class PickOne(OfNeed):
    """The policy reads candidates, and answers with one of them: its title, its number, or both ("3. red mug").

    Titles are compared without case and spacing. A title that two candidates have is that of the first one shown; the
    tasks here show no two of the same title. Any other answer is invalid, "not among the candidates".

    Args:
        prompt: the user message, with `{need}` for the need's text and `{candidates}` for the items, one a line.
        system: the system message; none by default.
        answer: what the default prompt and pairs ask for; with "number", items are shown with their numbers.
    """

    def __init__(
        self, *, prompt: str | None = None, system: str | None = None, answer: Literal["title", "number"] = "title"
    ) -> None:
        check_items(prompt)
        self.answer = answer
        super().__init__(prompt=prompt, system=system)

    def _default_prompt(self, syntax: Mapping[str, str]) -> str:
        history = f"A user took these items, the oldest first:\n\n{SLOT}\n\nOne of these is what they take next:"
        return f"{history}\n\n{ITEMS}\n\nAnswer with the {self.answer} of that item alone."

    def render(self, need: Need) -> list[Message]:
        """The prompt with the need's text and a line for each candidate."""
        lines = [" ".join(one.text.split()) for one in need.candidates]
        if self.answer == "number":
            lines = [f"{number}. {line}" for number, line in enumerate(lines, start=1)]
        return chat_of(self.system, self.prompt, {SLOT: need.text, ITEMS: "\n".join(lines)})

    def _read(self, need: Need, completion: str) -> Action:
        """`Recommend` with the one item, or `Invalid`."""
        row_of = {title_key(one.text): one.row for one in reversed(need.candidates)}
        if (row := row_of.get(title_key(completion))) is not None:
            return Recommend((row,))
        match = _NUMBERED.fullmatch(completion)
        if match and 1 <= int(match[1]) <= len(need.candidates):
            row, text = need.candidates[int(match[1]) - 1]
            if title_key(match[2] or "") in ("", title_key(text)):
                return Recommend((row,))
        return Invalid(NOT_SHOWN)

    def write_for(self, need: Need, rows: Sequence[int]) -> str:
        """The completion that names the first of these rows."""
        place = [one.row for one in need.candidates].index(rows[0])
        return str(place + 1) if self.answer == "number" else " ".join(need.candidates[place].text.split())


def title_key(text: str) -> str:
    """What two titles that are read as the same have in common: no case, no spacing."""
    return " ".join(folded(text).split())


@checked
class History(OfNeed):
    """The policy reads the numbered items that a user took, and answers with the numbers that a recommender reads.

    The answer is a search for these items, in the order in which they were taken: "2 5 6". Numbers are as in the format
    `ranking`; one that appears twice counts once. An answer with no number or with one of no item is invalid.

    Args:
        prompt: the user message, with `{need}` for the numbered items, which are the lines of the need's text.
        system: the system message; none by default.
    """

    instruction = "Answer with the numbers of the items that say most about what they take next, like this: 2 5 6"

    def _default_prompt(self, syntax: Mapping[str, str]) -> str:
        what = "A recommender reads what a user took, and finds what they take next. They took, the oldest first:"
        return f"{what}\n\n{SLOT}\n\n{self.instruction}"

    def render(self, need: Need) -> list[Message]:
        """The prompt with a line for each item of the history that the need's text shows, "1. red mug"."""
        lines = [f"{number}. {line}" for number, line in enumerate(need.text.split("\n"), start=1)]
        return chat_of(self.system, self.prompt, {SLOT: "\n".join(lines) if self.rows(need) else need.text})

    def _read(self, need: Need, completion: str) -> Action:
        """A `Search` for the items that the completion names, or `Invalid`."""
        numbers = numbers_in(completion)
        if numbers is None:
            return Invalid(NO_LIST)
        rows = self.rows(need)
        if not all(1 <= number <= len(rows) for number in numbers):
            return Invalid(NO_ITEM)
        return Search(tuple(rows[number - 1] for number in sorted(set(numbers))))

    def write_for(self, need: Need, rows: Sequence[int]) -> str:
        """The completion that names these rows of the history, oldest first."""
        return " ".join(str(number) for number, row in enumerate(self.rows(need), start=1) if row in rows)

    @staticmethod
    def rows(need: Need) -> tuple[int, ...]:
        """The rows that can be named: the last ones of the history, as many as the need's text has lines."""
        lines = need.text.count("\n") + 1  # an item without a title has a line too, though it is empty
        return need.history[-lines:] if lines <= len(need.history) else ()
