"""Validation while a policy trains: true measures, their slices, and what it writes for the same few needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from recr1.config.build import EvaluationSpec
from recr1.env import Environment, written
from recr1.errors import UserError
from recr1.evaluate import Evaluation, Evaluator
from recr1.evaluate.report import titles_of
from recr1.evaluate.slices import by_length, by_relevant
from recr1.policies import Policy
from recr1.trainers.trl.reward import histograms
from rewards.base import Answer

FOLLOWED = 16
"""Needs whose queries are shown after each validation, at even distances in the split: always the same ones."""
TITLES = 3


class Validation(NamedTuple):
    """What one validation found, by the names of the log."""

    numbers: Mapping[str, float]
    queries: Sequence[Mapping[str, Any]]
    """What the policy wrote for the needs that are followed; the keys are those of `queries.jsonl`."""
    histograms: Mapping[str, Sequence[float]]


class Validator:
    """Evaluates the policy in training on the recipe's validation needs, with the code that `recr1 eval` runs."""

    def __init__(self, policy: Policy, env: Environment, spec: EvaluationSpec, seed: int) -> None:
        if problem := spec.training_problem():
            raise UserError(f"evaluate.{problem}")
        self.policy, self.spec = policy, spec
        self._evaluator = Evaluator(env, spec.split, spec.measures, limit=spec.needs, seed=seed)

    @property
    def measure(self) -> str:
        """The name of the measure that decides: the first."""
        return self._evaluator.measures[0].name

    def due(self, step: int, last: int) -> bool:
        """Whether to validate after this step: before the first, every `evaluate.every`, and after the last."""
        return step % self.spec.every == 0 or step == last

    def __call__(self) -> Validation:
        """Validate the greedy policy: one completion for each need."""
        found = self._evaluator(self.policy)
        actions = [action for of_need in found.actions for action in of_need]
        places = np.linspace(0, len(found.needs) - 1, min(FOLLOWED, len(found.needs))).round().astype(int)
        return Validation(
            {**found.metrics(), **slices(found)},
            [_query(found, place) for place in places.tolist()],
            histograms(f"eval/{found.split}", found.graded, actions),
        )


def slices(evaluation: Evaluation) -> dict[str, float]:
    """The first measure on each slice that has needs: `eval/<split>/<measure>/slice/<name>`."""
    measure, qrels = next(iter(evaluation.values)), evaluation.env.task.qrels
    values_N = evaluation.per_need(measure)
    by_words = by_length([need.text for need in evaluation.needs])[1]
    by_positives = by_relevant([qrels[need.id].positives for need in evaluation.needs])[1]
    logged = {}
    for kind, names in (("words", by_words), ("relevant", by_positives)):
        for name in dict.fromkeys(names):
            rows = [row for row, other in enumerate(names) if other == name]
            under = f"eval/{evaluation.split}/{measure}/slice/{kind}_{name.split()[0]}"
            logged[under] = float(values_N[rows].mean())
    return logged


def _query(evaluation: Evaluation, place: int) -> dict[str, Any]:
    """What was written for a need, with the rank of the first relevant item by the raw need and by the query."""
    need, action = evaluation.needs[place], evaluation.actions[place][0]
    qrels, raw_K = evaluation.env.task.qrels[need.id], evaluation.references.floor_rows_NK[place].tolist()
    query = written(action, evaluation.completions[place][0])
    found = "ok" if evaluation.hits.rows_QK[place, 0] >= 0 or isinstance(action, Answer) else "no_hits"
    return {
        "need": need.id,
        "text": need.text,
        "query": query,
        "rank_before": next((rank for rank, row in enumerate(raw_K, start=1) if qrels.get(row, 0) > 0), None),
        "rank_after": int(evaluation.graded.first_relevant[place]) or None,
        "outcome": "invalid" if query is None else found,
        "value": float(next(iter(evaluation.values.values()))[place, 0]),
        "reward": float(evaluation.rewards[place, 0]),
        "parts": {f"reward/{name}": float(values[place, 0]) for name, values in evaluation.parts.items()},
        "titles": titles_of(evaluation, place, TITLES),
    }
