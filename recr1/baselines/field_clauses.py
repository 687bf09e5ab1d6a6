"""A rival without a language model, for engines whose queries can name fields: the need, and clauses about fields."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

import numpy as np

from recr1.baselines.access import Visible
from recr1.baselines.ceilings import RaisesMeasure, measure_values
from recr1.baselines.feedback import words_of
from recr1.env import Environment
from recr1.errors import UserError, shown
from recr1.tasks.base import HasTextFields
from recr1.terminal import note
from retrievers.abilities import capabilities_of
from retrievers.options import NonNegativeFloat, PositiveInt, checked, did_you_mean
from rewards.base import Qrels

FORMS = ("any word", "every word", "phrase")
"""What a field must hold to count: any word of the need, every one, or all of them one after another."""
WEIGHTS = (0.3, 1.0, 3.0)


class Clause(NamedTuple):
    """A clause about a field, for any need."""

    field: str
    form: str
    weight: float

    def of(self, words: Sequence[str]) -> str:
        """The clause for the words of a need: `title:(+laptop +bag)^3`."""
        sign, (left, right) = "+" if self.form == "every word" else "", ('""' if self.form == "phrase" else "()")
        return f"{self.field}:{left}{' '.join(sign + word for word in words)}{right}^{self.weight:g}"


@checked
class FieldClauses(RaisesMeasure):
    """Writes the need and, after it, clauses about fields: `laptop bag title:(+laptop +bag)^3`.

    It is what an engineer does first with an engine whose queries can name fields. Clauses are chosen one by one, once
    for all needs: each field is tried with each form and weight, and the one that raises the mean of the training needs
    most is added. It has no language model: what a trained policy gains beyond it, it gains by reading.

    Args:
        measure: what is raised, such as nDCG@10; its cutoff is at most the recipe's k.
        clauses: how many are added, at most.
        at_least: how much each must add to the mean.
        fields: the fields that are tried; null for those that together are an item's text.
    """

    name = "field_clauses"
    sees: tuple[Visible, ...] = ("training rewards",)

    def __init__(
        self,
        *,
        measure: str = "nDCG@10",
        clauses: PositiveInt = 2,
        at_least: NonNegativeFloat = 0.002,
        fields: list[str] | None = None,
    ) -> None:
        super().__init__(measure)
        self.clauses, self.at_least, self.fields = clauses, at_least, fields

    def prepare(self, env: Environment) -> None:
        """Choose the clauses; raises `UserError` where queries cannot name fields, or the catalog has not these."""
        super().prepare(env)
        if "fields" not in capabilities_of(env.retriever):
            remedy = "take an engine whose queries can, such as lucene with syntax: lucene"
            raise UserError(f"policy '{self.name}': queries of this engine cannot name fields: {remedy}")
        own = env.task.text_fields if isinstance(env.task, HasTextFields) else list(env.task.catalog.fields)
        for name in self.fields or ():
            if name not in env.task.catalog.fields:
                hint = did_you_mean(name, env.task.catalog.fields)
                raise UserError(f"policy '{self.name}': fields: the catalog has no field {shown(name)}{hint}")
        needs = env.task.needs("train")
        note(f"{self.name} learns from searches of {len(needs)} training needs; many take minutes")
        texts, qrels = [need.text for need in needs], [env.task.qrels[need.id] for need in needs]
        tried = [Clause(*one) for one in product(self.fields or own, FORMS, WEIGHTS)]
        self.chosen: list[Clause] = []
        best = self._mean(texts, qrels, [])
        for _ in range(self.clauses):
            means = [self._mean(texts, qrels, [*self.chosen, clause]) for clause in tried]
            top = int(np.argmax(means))
            if means[top] - best < max(self.at_least, 1e-9):
                break
            self.chosen.append(tried[top])
            best = means[top]

    def _mean(self, texts: Sequence[str], qrels: Sequence[Qrels], clauses: Sequence[Clause]) -> float:
        queries = [written(text, clauses) for text in texts]
        return float(measure_values(self._env, self.measure, queries, qrels).mean(dtype=np.float64))

    def _queries(self, prompts: Sequence[str]) -> list[str]:
        return [written(text, self.chosen) for text in prompts]


def written(text: str, clauses: Sequence[Clause]) -> str:
    """The text and clauses about its words; the text alone where it has no word."""
    return " ".join([text, *(clause.of(words) for clause in clauses)]) if (words := words_of(text)) else text
