"""Policies without a language model: the need as it is, queries from a table, and keywords that a library picks."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from recr1.errors import MissingLibrary, UserError, shown
from retrievers.options import PositiveInt, checked
from rewards.base import Action, Chat, Invalid, Need, Recommend, Search

if TYPE_CHECKING:
    from recr1.env import Environment


class Verbatim:
    """The format of policies that are not language models: the prompt is the need, the completion is the query."""

    def render(self, need: Need) -> Chat:
        """A single user message with the need's text, unchanged."""
        return [{"role": "user", "content": need.text}]

    def parse(self, completion: str) -> Action:
        """The completion as the query, unchanged."""
        return Search(completion) if completion.strip() else Invalid("empty query")


class OneQuery(ABC):
    """A policy that always writes the same query for a need."""

    format: Verbatim = Verbatim()

    def generate(self, chats: Sequence[Chat], n: int) -> list[list[str]]:
        """The same query every time: `max(n, 1)` copies a chat."""
        return [[query] * max(n, 1) for query in self._queries([chat[-1]["content"] for chat in chats])]

    @abstractmethod
    def _queries(self, prompts: Sequence[str]) -> list[str]:
        """A query for each prompt, which is what `format` makes of a need: its text, unchanged."""


class AsTaken(Verbatim):
    """The whole history of a need as the query, whatever the completion."""

    def parse_for(self, need: Need, completion: str) -> Action:
        """A search for the history; `Invalid` where there is none."""
        return Search(need.history) if need.history else Invalid("no history")


class Echo(OneQuery):
    """Searches the need as it is: the floor that every other policy has to beat. For a recommender, its history."""

    sees: tuple[()] = ()

    def prepare(self, env: Environment) -> None:
        """Search histories where the retriever reads them."""
        self.format = AsTaken() if env.reads_histories else Verbatim()

    def _queries(self, prompts: Sequence[str]) -> list[str]:
        return list(prompts)


class AsShown:
    """The candidates of a need in the order in which they are shown, which the task `reranking` draws at random.

    Where needs have no candidates, every answer is invalid.
    """

    @property
    def format(self) -> AsShown:
        """Itself: it reads no answer."""
        return self

    def render(self, need: Need) -> Chat:
        """A single user message with the need's text, unchanged."""
        return Verbatim().render(need)

    def parse(self, completion: str) -> Action:
        """`Invalid`: without a need there are no candidates."""
        return Invalid("no candidates")

    def parse_for(self, need: Need, completion: str) -> Action:
        """All candidates, whatever the completion."""
        return Recommend(tuple(one.row for one in need.candidates)) if need.candidates else self.parse(completion)

    def generate(self, chats: Sequence[Chat], n: int) -> list[list[str]]:
        """Nothing to read: `max(n, 1)` times the same."""
        return [["as shown"] * max(n, 1) for _ in chats]


class Scripted(OneQuery):
    """Answers each need with the query that a table has for its text: queries that were written elsewhere, and tests.

    Args:
        answers: need text -> query, both unchanged. An empty query counts as an invalid answer.
        default: the query for a need that is not in the table; null stops with an error there.
    """

    def __init__(self, *, answers: dict[str, str], default: str | None = None) -> None:
        self.answers, self.default = answers, default

    def _queries(self, prompts: Sequence[str]) -> list[str]:
        lacking = [need for need in prompts if need not in self.answers]
        if self.default is None and lacking:
            raise UserError(
                f"policy 'scripted' has no answer to the need {shown(lacking[0])}: add one, or set `default`"
            )
        return [self.answers.get(need, self.default or "") for need in prompts]


@checked
class Keywords(OneQuery):
    """The most important words of the need according to YAKE, in the order of the need; no model, no catalog.

    YAKE (Campos et al. 2020, doi 10.1016/j.ins.2019.09.013) scores the words of a single text by position, case and
    frequency. A need in which it finds no keyword is searched as it is.

    Args:
        top: how many words, at most.
        language: whose stop words are left out, as two letters.
    """

    def __init__(self, *, top: PositiveInt = 6, language: str = "en") -> None:
        if missing := self.missing_libraries({}):
            raise missing[0]
        self.top, self.language = top, language

    @staticmethod
    def check_options(options: Mapping[str, Any]) -> list[str]:
        """Whether the language is two letters."""
        language = options.get("language", "en")
        known = re.fullmatch(r"[a-z]{2}", language)
        return [] if known else [f"language: must be two letters such as en, got {shown(language)}"]

    @staticmethod
    def missing_libraries(_: Mapping[str, Any]) -> list[MissingLibrary]:
        """What is not installed; nothing is imported."""
        return [] if find_spec("yake") else [MissingLibrary("yake", "compare", "the policy 'keywords'")]

    @cached_property
    def _extractor(self) -> Any:
        import yake

        return yake.KeywordExtractor(lan=self.language, n=1, top=self.top)

    def _queries(self, prompts: Sequence[str]) -> list[str]:
        queries = []
        for need in prompts:
            wanted = {word.lower() for word, _ in self._extractor.extract_keywords(need)}
            kept = dict.fromkeys(word for word in re.findall(r"[\w'-]+", need) if word.lower() in wanted)
            queries.append(" ".join(kept) or need)
        return queries
