"""The ceiling that picks its words one by one with the answer key at hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from recr1.baselines.access import AGAIN, Access, ByNeed, Sight, need_of, positive_rows
from recr1.baselines.feedback import words_of
from recr1.errors import UserError
from retrievers.base import Floats
from rewards.base import Chat, Graded, Qrels
from rewards.measures import Measure, parse_measure

_QUERIES = 8192
"""Queries in one search."""


class TermOracle:
    """Adds the word of the best items' texts that raises the measure most, until none does.

    A greedy ceiling for queries of words: it knows the answer key, the engine and the measure. It is no proof either:
    two words that help only together are not found.

    Args:
        measure: what is raised, such as nDCG@10; no deeper than the recipe's k.
        terms: words in a query, at most.
        items: items of the highest grade whose words are tried, the first in catalog order.
        tried: words tried in each place, the first ones of these texts.
    """

    format = ByNeed()
    sees: tuple[Sight, ...] = ("catalog", "hits", "answers")

    def __init__(self, *, measure: str = "nDCG@10", terms: int = 8, items: int = 3, tried: int = 48) -> None:
        if problems := self.check_options({"measure": measure, "terms": terms, "items": items, "tried": tried}):
            raise UserError(problems[0])
        self.measure: Measure = parse_measure(measure)
        self.terms, self.items, self.tried = terms, items, tried
        self._access: Access | None = None

    @staticmethod
    def check_options(options: Mapping[str, Any]) -> list[str]:
        """Problems that show before anything is loaded."""
        problems = [
            f"{name}: must be at least 1, got {options[name]}"
            for name in ("terms", "items", "tried")
            if options.get(name, 1) < 1
        ]
        try:
            parse_measure(options.get("measure", "nDCG@10"))
        except ValueError as error:
            problems.append(f"measure: {error}")
        return problems

    def meet(self, access: Access) -> None:
        """Keeps catalog, answer keys and search; raises `UserError` for a measure that looks deeper than k."""
        try:
            self.measure.check_depth(access.k)
        except ValueError as error:
            raise UserError(f"policy 'term_oracle': measure: {error}") from error
        self._access = access

    def generate(self, chats: Sequence[Chat], n: int) -> list[list[str]]:
        """The same query every time: `max(n, 1)` copies a chat. A search a word, over all chats."""
        assert self._access is not None, "meet() comes first"
        needs = [need_of(chat, self._access) for chat in chats]
        open_ = [self._begin(self._access.task.qrels[need.id]) for need in needs]
        growing = open_
        for _ in range(self.terms):
            growing = [query for query in growing if query.left]
            if not growing:
                break
            growing = self._grown(growing)
        return [[" ".join(query.words)] * max(n, 1) for query in open_]

    def _begin(self, qrels: Qrels) -> _Growing:
        assert self._access is not None
        texts = self._access.task.catalog.texts
        words = dict.fromkeys(word for row in positive_rows(qrels)[: self.items] for word in words_of(texts[row]))
        return _Growing(qrels, [], list(words)[: self.tried], 0.0)

    def _grown(self, queries: Sequence[_Growing]) -> list[_Growing]:
        """Gives each query its best word, if one raises the measure; returns those that grew."""
        tried = [(query, " ".join([*query.words, word])) for query in queries for word in query.left]
        values = self._values([text for _, text in tried], [query.qrels for query, _ in tried])
        grew, start = [], 0
        for query in queries:
            values_T = values[start : start + len(query.left)]
            start += len(query.left)
            best = int(values_T.argmax())
            if values_T[best] > query.value:
                query.take(best, float(values_T[best]))
                grew.append(query)
        return grew

    def _values(self, texts: Sequence[str], qrels: Sequence[Qrels]) -> Floats:
        assert self._access is not None
        parts = []
        for start in range(0, len(texts), _QUERIES):
            block = slice(start, start + _QUERIES)
            rows = self._access.search(texts[block], again=AGAIN).rows_QK[:, : self.measure.cutoff]
            parts.append(self.measure.of(Graded.join(rows, qrels[block])))
        return np.concatenate(parts)


@dataclass
class _Growing:
    """A query that is being made."""

    qrels: Qrels
    words: list[str]
    left: list[str]
    value: float

    def take(self, place: int, value: float) -> None:
        """Move a word from those that are left to those of the query."""
        self.words.append(self.left.pop(place))
        self.value = value
