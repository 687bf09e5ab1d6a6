"""One policy of a comparison, trained with one seed or several: its evaluations, and what a query costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from recr1.baselines.access import NeedsAccess, Visible, prepare
from recr1.env import Environment
from recr1.evaluate import Evaluation, Evaluator
from recr1.formats import Format
from recr1.judge.stats import Doubles, mean_interval
from recr1.policies import Policy
from recr1.policies.base import Spent, format_of, spent_by
from rewards.base import Chat, Search


class Cost(NamedTuple):
    """What a query costs, and the setup before the first one: finding examples or a prompt, reading the catalog."""

    milliseconds: float
    """Wall time per query, with the searches that the policy itself makes, without the final search."""
    tokens_read: float
    tokens_written: float
    """Per query; 0 if the policy is not a language model."""
    setup_seconds: float
    setup_tokens: int
    """Read and written."""


@dataclass(frozen=True)
class ComparedPolicy:
    """A row of the table: a policy with an evaluation for each of its S seeds, all on the same needs."""

    label: str
    spec: str
    """As given in `--policies`."""
    evaluations: Sequence[Evaluation]
    costs: Sequence[Cost]
    sees: tuple[Visible, ...] = ()
    trained: bool = False
    """Whether it comes from run folders."""
    notes: tuple[str, ...] = ()
    runs: tuple[Mapping[str, Any], ...] = ()
    """The run of each seed (`recr1.runs.policy_of`); empty for a policy without a run."""

    @property
    def bound(self) -> bool:
        """Whether it reads the answers: then it is an upper bound, not a rival."""
        return "answers" in self.sees

    @property
    def first(self) -> Evaluation:
        """The evaluation of the first seed."""
        return self.evaluations[0]

    def by_seed(self, measure: str) -> Doubles:
        """(S, N) the measure for each seed and need."""
        return np.array([evaluation.per_need(measure) for evaluation in self.evaluations])

    def per_need(self, measure: str) -> Doubles:
        """(N,) the mean over the seeds."""
        means: Doubles = self.by_seed(measure).mean(axis=0)
        return means

    def as_mapping(self, seed: int) -> dict[str, Any]:
        """Its part of `compare.json`; cost and behaviour are means over the seeds, queries are of the first seed."""
        actions = [of_need[0] for of_need in self.first.actions]
        *times, tokens = np.mean([list(cost) for cost in self.costs], axis=0).tolist()
        behaviours, names = [evaluation.behaviour() for evaluation in self.evaluations], list(self.first.values)
        return {
            "spec": self.spec,
            "seeds": len(self.evaluations),
            "samples": 0 if self.first.greedy else self.first.samples,
            "sees": list(self.sees),
            "bound": self.bound,
            "trained": self.trained,
            "notes": list(self.notes),
            "runs": [dict(run) for run in self.runs],
            "measures": {name: mean_interval(self.by_seed(name), seed=seed)._asdict() for name in names},
            "cost": dict(zip(Cost._fields, [*times, round(tokens)], strict=True)),
            "behaviour": {
                name: float(np.mean([behaviour[name] for behaviour in behaviours]))
                for name in ("query_words", "invalid", "no_hits")
            },
            "per_seed": {name: self.by_seed(name).mean(axis=1).tolist() for name in names},
            "per_need": {name: self.per_need(name).tolist() for name in names},
            "queries": [str(action.query) if isinstance(action, Search) else None for action in actions],
            "first_relevant": [next(iter(self.first.relevant_ranks(need)), None) for need in range(len(actions))],
        }


class _Metered:
    """A policy with a clock: times its setup and its completions, and declares what the policy declares."""

    def __init__(self, policy: Policy) -> None:
        self._policy, self.writing, self.preparing = policy, 0.0, 0.0
        self.spent_before = Spent()

    def generate(self, chats: Sequence[Chat], n: int) -> list[list[str]]:
        start = perf_counter()
        written = self._policy.generate(chats, n)
        self.writing += perf_counter() - start
        return written

    @property
    def sees(self) -> tuple[Visible, ...]:
        return self._policy.sees if isinstance(self._policy, NeedsAccess) else ()

    @property
    def format(self) -> Format | None:
        return format_of(self._policy)

    def prepare(self, env: Environment) -> None:
        start = perf_counter()
        prepare(self._policy, env)
        self.preparing = perf_counter() - start
        self.spent_before = spent_by(self._policy)

    def cost(self, queries: int) -> Cost:
        """The cost per query."""
        before, after = self.spent_before, spent_by(self._policy)
        return Cost(
            1000 * self.writing / queries,
            (after.read - before.read) / queries,
            (after.written - before.written) / queries,
            self.preparing,
            before.read + before.written,
        )


def measured(
    evaluator: Evaluator,
    policies: Sequence[Callable[[], Policy]],
    label: str,
    spec: str,
    *,
    samples: int = 0,
    trained: bool = False,
    notes: Sequence[str] = (),
    runs: Sequence[Mapping[str, Any]] = (),
) -> ComparedPolicy:
    """Evaluate a policy, or each of its seeds, and measure what it costs.

    Args:
        evaluator: The needs and measures.
        policies: Make the policy of each seed; each is deleted before the next is made.
        label: Its name in tables.
        spec: As given in `--policies`.
        samples: Completions per need, whose measures are averaged; 0 is one greedy completion.
        trained: Whether it comes from run folders.
        notes: What a reader of its numbers must know.
        runs: The run of each seed.
    """
    evaluations, costs = [], []
    sees: tuple[Visible, ...] = ()
    for make in policies:
        metered = _Metered(make())
        evaluations.append(evaluator(metered, samples=samples, name=label))
        costs.append(metered.cost(len(evaluator.needs) * max(samples, 1)))
        sees = metered.sees
        del metered  # it may hold a model
    return ComparedPolicy(label, spec, evaluations, costs, sees, trained, tuple(notes), tuple(runs))
