"""The format of answers in text: a rating on a scale, a title, an explanation; nothing is searched."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Protocol, Self, runtime_checkable

from annotated_types import Len

from recr1.errors import shown
from recr1.formats import SLOT, Templated, between, normalized
from retrievers.analyzer import is_blank
from retrievers.options import PositiveInt, checked
from rewards.base import Action, Answer, Invalid

TAGS = ("<answer>", "</answer>")

_NUMBER = re.compile(r"(?<![\w.])-?\d{1,9}(?:\.\d{1,9})?(?!\w|\.\d)", re.ASCII)


@runtime_checkable
class WritesAnswers(Protocol):
    """A format in which a policy can be shown how to answer in text."""

    def write_answer(self, text: str) -> str:
        """The completion that `parse` reads as this answer; raises `ValueError` where there is none."""
        ...


@checked
class TextAnswer(Templated):
    """The completion is the answer: a title, an explanation; or, with `scale`, a number between two bounds.

    White space is collapsed. With `scale` the completion must hold exactly one number, from the lower to the upper
    bound; words around it are dropped: "I would say 4." is "4". No number, several, or one outside of the scale is
    invalid.

    Args:
        prompt: the user message, with `{need}` for the need's text; by default that alone with how to answer.
        system: the system message; none by default.
        max_chars: a longer answer is invalid.
        tagged: the answer is in `<answer>...</answer>`, exactly once; any text is allowed around it, for reasoning.
        scale: lowest and highest number, such as [1, 5]; null for an answer in words.
    """

    def __init__(
        self,
        *,
        prompt: str | None = None,
        system: str | None = None,
        max_chars: PositiveInt = 1000,
        tagged: bool = False,
        scale: Annotated[list[float], Len(2, 2), "lowest and highest"] | None = None,
    ) -> None:
        self.max_chars, self.tagged, self.scale = max_chars, tagged, scale
        super().__init__(prompt=prompt, system=system)

    @staticmethod
    def check_options(options: Mapping[str, Any]) -> list[str]:
        """Whether the scale rises."""
        scale = options.get("scale")
        rises = scale is None or scale[0] < scale[1]
        return [] if rises else [f"scale: the first number must be below the second, got {shown(scale)}"]

    def _default_prompt(self, syntax: Mapping[str, str]) -> str:
        what = f"a number from {self.scale[0]:g} to {self.scale[1]:g} alone" if self.scale else "your answer alone"
        where = " between <answer> and </answer>" if self.tagged else ""
        return f"{SLOT}\n\nAnswer with {what}{where}."

    def with_syntax(self, syntax: Mapping[str, str]) -> Self:
        """Itself: nothing is searched."""
        return self

    def parse(self, completion: str) -> Action:
        """The `Answer`, or `Invalid`."""
        return self._read(completion) if isinstance(completion, str) else Invalid("completion is not text")

    def _read(self, completion: str) -> Action:
        inside = between(completion, TAGS) if self.tagged else completion
        if isinstance(inside, Invalid):
            return inside
        text = normalized(inside)
        if is_blank(text):
            return Invalid("empty answer")
        if len(text) > self.max_chars:
            return Invalid("answer too long")
        return self._number(text) if self.scale else Answer(text)

    def write_answer(self, text: str) -> str:
        """The completion for a normalized answer; raises `ValueError` for one that is no answer here."""
        text = normalized(text)
        completion = text.join(TAGS) if self.tagged else text
        if isinstance(action := self.parse(completion), Invalid):
            raise ValueError(f"no answer in this format says {shown(text)}: {action.reason}")
        return completion

    def _number(self, text: str) -> Action:
        assert self.scale is not None
        found = _NUMBER.findall(text)
        if len(found) != 1:
            return Invalid("more than one number" if found else "no number")
        number = float(found[0])
        return Answer(f"{number:g}") if self.scale[0] <= number <= self.scale[1] else Invalid("number outside of scale")
