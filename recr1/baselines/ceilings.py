"""Ceilings: queries made with the answer key, which no policy has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from recr1.baselines.access import RETRIES, ByNeed, Visible
from recr1.baselines.feedback import words_of
from recr1.baselines.without_model import OneQuery
from recr1.env import Environment
from recr1.errors import UserError
from retrievers.base import Floats
from retrievers.options import PositiveInt, checked
from rewards.base import Graded, Qrels
from rewards.measures import Measure, measure_option

_QUERIES = 8192  # queries in one search


@checked
class BestItem(OneQuery):
    """Searches the text of the need's best item: of the highest grade, the first in catalog order.

    Args:
        words: how many words of the text, from its beginning.
    """

    format = ByNeed()
    sees: tuple[Visible, ...] = ("catalog", "answers")

    def __init__(self, *, words: PositiveInt = 64) -> None:
        self.words = words

    def prepare(self, env: Environment) -> None:
        """Keep catalog and answer keys."""
        self._env = env

    def _queries(self, prompts: Sequence[str]) -> list[str]:
        task = self._env.task
        best = [positive_rows(task.qrels[need])[0] for need in prompts]
        return [" ".join(task.catalog.texts[row].split()[: self.words]) for row in best]


class RaisesMeasure(OneQuery):
    """A policy that chooses queries by what a measure says of their searches."""

    name: ClassVar[str]

    def __init__(self, measure: str) -> None:
        self.measure: Measure = measure_option(measure)

    @staticmethod
    def check_options(options: Mapping[str, Any]) -> list[str]:
        """Whether there is such a measure."""
        try:
            measure_option(options.get("measure", "nDCG@10"))
        except ValueError as error:
            return [str(error)]
        return []

    def prepare(self, env: Environment) -> None:
        """Keep what it searches; raises `UserError` for a measure whose cutoff is above k."""
        try:
            self.measure.check_depth(env.k)
        except ValueError as error:
            raise UserError(f"policy '{self.name}': measure: {error}") from error
        env.refuse_candidates(f"the policy '{self.name}'")
        self._env = env


@checked
class TermOracle(RaisesMeasure):
    """Adds the word of the best items' texts that raises the measure most, until no word raises it.

    A greedy ceiling for queries of words: it knows the answer key, the engine and the measure. A better query may
    exist: two words that help only together are not found.

    Args:
        measure: what is raised, such as nDCG@10; its cutoff is at most the recipe's k.
        terms: words in a query, at most.
        items: items of the highest grade whose words are tried, the first in catalog order.
        tried: words tried in each place, the first of these texts.
    """

    name = "term_oracle"
    format = ByNeed()
    sees: tuple[Visible, ...] = ("catalog", "hits", "answers")

    def __init__(
        self, *, measure: str = "nDCG@10", terms: PositiveInt = 8, items: PositiveInt = 3, tried: PositiveInt = 48
    ) -> None:
        super().__init__(measure)
        self.terms, self.items, self.tried = terms, items, tried

    def _queries(self, prompts: Sequence[str]) -> list[str]:
        queries = []
        for qrels in (self._env.task.qrels[need] for need in prompts):
            best = [self._env.task.catalog.texts[row] for row in positive_rows(qrels)[: self.items]]
            words = dict.fromkeys(word for text in best for word in words_of(text))
            queries.append(_PartialQuery(qrels, [], list(words)[: self.tried], 0.0))
        unfinished = queries
        for _ in range(self.terms):  # one search a word, over all needs
            if not (unfinished := [query for query in unfinished if query.left]):
                break
            unfinished = self._extended(unfinished)
        return [" ".join(query.words) for query in queries]

    def _extended(self, queries: Sequence[_PartialQuery]) -> list[_PartialQuery]:
        """Gives each query its best word, if one raises the measure; returns those that got one."""
        tried = [(query, " ".join([*query.words, word])) for query in queries for word in query.left]
        texts, qrels = [text for _, text in tried], [query.qrels for query, _ in tried]
        values = measure_values(self._env, self.measure, texts, qrels)
        extended, start = [], 0
        for query in queries:
            values_T = values[start : start + len(query.left)]
            start += len(query.left)
            best = int(values_T.argmax())
            if values_T[best] > query.value:
                query.words.append(query.left.pop(best))
                query.value = float(values_T[best])
                extended.append(query)
        return extended


@dataclass
class _PartialQuery:
    """A query of some words, of which the measure is `value`, and the words that are `left` to add."""

    qrels: Qrels
    words: list[str]
    left: list[str]
    value: float


def positive_rows(qrels: Mapping[int, int]) -> list[int]:
    """The rows of the highest grade, in catalog order."""
    top = max(qrels.values())
    return [row for row, grade in qrels.items() if grade == top]


def measure_values(env: Environment, measure: Measure, queries: Sequence[str], qrels: Sequence[Qrels]) -> Floats:
    """(Q,) the measure of each query; a search without an answer is repeated, then raises `MissingAnswers`."""
    parts = [np.zeros(0, np.float32)]
    for start in range(0, len(queries), _QUERIES):
        block = slice(start, start + _QUERIES)
        rows = env.search(queries[block], again=RETRIES).rows_QK[:, : measure.cutoff]
        parts.append(measure.of(Graded.join(rows, qrels[block])))
    return np.concatenate(parts)
