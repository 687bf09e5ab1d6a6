"""The policy that searches the keywords of a need, as a library picks them: what a team has without a model."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from importlib.util import find_spec
from typing import Any

from recr1.baselines.echo import Verbatim
from recr1.errors import MissingLibrary, UserError
from rewards.base import Chat


class Keywords:
    """The words of the need that YAKE finds most telling, in the order of the need; no model, no catalog.

    YAKE (Campos et al. 2020, doi 10.1016/j.ins.2019.09.013) scores the words of a single text by where and how they
    stand in it. A need in which it finds nothing is searched as it is.

    Args:
        top: how many words, at most.
        language: whose stop words are left out, as two letters.
    """

    format = Verbatim()

    def __init__(self, *, top: int = 6, language: str = "en") -> None:
        if problems := self.check_options({"top": top, "language": language}):
            raise UserError(problems[0])
        if missing := self.missing_libraries({}):
            raise missing[0]
        self.top, self.language = top, language

    @staticmethod
    def check_options(options: Mapping[str, Any]) -> list[str]:
        """Problems that show before anything is loaded."""
        problems = []
        if options.get("top", 1) < 1:
            problems.append(f"top: must be at least 1 word, got {options['top']}")
        language = options.get("language", "en")
        if not re.fullmatch(r"[a-z]{2}", language):
            problems.append(f"language: must be two letters such as en, got {language!r}")
        return problems

    @staticmethod
    def missing_libraries(_: Mapping[str, Any]) -> list[MissingLibrary]:
        """What is not installed; nothing is imported."""
        return [] if find_spec("yake") else [MissingLibrary("yake", "compare", "the policy 'keywords'")]

    @cached_property
    def _extractor(self) -> Any:
        import yake

        return yake.KeywordExtractor(lan=self.language, n=1, top=self.top)

    def generate(self, chats: Sequence[Chat], n: int) -> list[list[str]]:
        """The same query every time: `max(n, 1)` copies a chat."""
        return [[self._keywords(chat[-1]["content"])] * max(n, 1) for chat in chats]

    def _keywords(self, need: str) -> str:
        wanted = {word.lower() for word, _ in self._extractor.extract_keywords(need)}
        kept = dict.fromkeys(word for word in re.findall(r"[\w'-]+", need) if word.lower() in wanted)
        return " ".join(kept) or need
