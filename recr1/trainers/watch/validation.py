"""Validation while a policy trains: true measures, their slices, and what it writes for the same few needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from recr1.config.build import EvaluationSpec
from recr1.env import Environment, words
from recr1.errors import UserError
from recr1.evaluate import Evaluation, Evaluator
from recr1.evaluate.report import titles_of
from recr1.evaluate.slices import RELEVANT, WORDS, span
from recr1.policies import Policy
from rewards.base import Search

FOLLOWED = 16
"""Needs whose queries are shown after each validation, at even distances in the split: always the same ones."""
TITLES = 3


@dataclass(frozen=True)
class Validation:
    """What one validation found."""

    numbers: Mapping[str, float]
    """By the names of the log."""
    queries: Sequence[Mapping[str, Any]]
    """What the policy wrote for the needs that are followed; the keys are those of `queries.jsonl`."""
    histograms: Mapping[str, Sequence[float]]


class Validator:
    """Evaluates the policy in training on the recipe's validation needs, with the code that `recr1 eval` runs."""

    def __init__(self, policy: Policy, env: Environment, spec: EvaluationSpec, seed: int) -> None:
        if problem := spec.training_problem():
            raise UserError(f"evaluate.{problem}")
        self.policy, self.spec, self.every, self.split = policy, spec, spec.every, spec.split
        self._evaluator = Evaluator(env, spec.split, spec.measures, limit=spec.needs, seed=seed)

    @property
    def measure(self) -> str:
        """The name of the measure that decides: the first."""
        return self._evaluator.measures[0].name

    def due(self, step: int, last: int) -> bool:
        """Whether to validate after this step: before the first, every `evaluate.every`, and after the last."""
        return step % self.every == 0 or step == last

    def __call__(self) -> Validation:
        """Validate the greedy policy: its measures under stable names, `eval/<split>/<measure>` and the rest."""
        evaluation = self._evaluator(self.policy)
        return Validation(
            {**evaluation.metrics(), **slices(evaluation)}, followed(evaluation, FOLLOWED), histograms(evaluation)
        )


def slices(evaluation: Evaluation) -> dict[str, float]:
    """The first measure on each slice that has needs: `eval/<split>/<measure>/slice/<name>`."""
    measure = next(iter(evaluation.values))
    values_N = evaluation.per_need(measure)
    words_N = np.array([len(need.text.split()) for need in evaluation.needs])
    relevant_N = np.array([evaluation.env.task.qrels[need.id].positives for need in evaluation.needs])
    logged = {}
    for kind, numbers_N, bounds in (("words", words_N, WORDS), ("relevant", relevant_N, RELEVANT)):
        for low, high in bounds:
            inside_N = (numbers_N >= low) & (numbers_N <= (high or np.inf))
            if inside_N.any():
                logged[f"eval/{evaluation.split}/{measure}/slice/{kind}_{span(low, high)}"] = float(
                    values_N[inside_N].mean()
                )
    return logged


def followed(evaluation: Evaluation, count: int) -> list[dict[str, Any]]:
    """What was written for `count` needs, and the rank of the first relevant item by the raw need and by the query."""
    size = len(evaluation.needs)
    places = np.linspace(0, size - 1, min(count, size)).round().astype(int)
    return [_query(evaluation, int(place)) for place in places]


def _query(evaluation: Evaluation, place: int) -> dict[str, Any]:
    action = evaluation.actions[place][0]
    measure = next(iter(evaluation.values))
    found = evaluation.hits.rows_QK[place * evaluation.samples, 0] >= 0
    valid = isinstance(action, Search)
    return {
        "need": evaluation.needs[place].id,
        "text": evaluation.needs[place].text,
        "query": str(action.query) if isinstance(action, Search) else None,
        "rank_before": _raw_rank(evaluation, place),
        "rank_after": next(iter(evaluation.relevant_ranks(place)), None),
        "outcome": ("ok" if found else "no_hits") if valid else "invalid",
        "value": float(evaluation.values[measure][place, 0]),
        "reward": float(evaluation.rewards[place, 0]),
        "parts": {f"reward/{name}": float(values[place, 0]) for name, values in evaluation.parts.items()},
        "titles": titles_of(evaluation, place, TITLES),
    }


def _raw_rank(evaluation: Evaluation, place: int) -> int | None:
    qrels = evaluation.env.task.qrels[evaluation.needs[place].id]
    found = evaluation.references.floor_rows_NK[place]
    return next((rank for rank, row in enumerate(found.tolist(), start=1) if qrels.get(row, 0) > 0), None)


def histograms(evaluation: Evaluation) -> dict[str, list[float]]:
    """Ranks of the first relevant items that were found, and words of valid queries."""
    rows = range(len(evaluation.needs))
    ranks = [next(iter(evaluation.relevant_ranks(row)), None) for row in rows]
    actions = [action for of_need in evaluation.actions for action in of_need]
    lengths = [words(action.query) for action in actions if isinstance(action, Search)]
    under = f"eval/{evaluation.split}/histogram"
    return {f"{under}/rank": [rank for rank in ranks if rank], f"{under}/words": [float(length) for length in lengths]}
