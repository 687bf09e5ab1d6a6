"""One line of a comparison: a policy, or the same one under several seeds, with what it did and what that cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from recr1.baselines.access import NeedsAccess, Visible, prepare
from recr1.env import Environment
from recr1.evaluate import Evaluation, Evaluator, bootstrap_interval
from recr1.formats import Format
from recr1.judge.seeds import pooled
from recr1.judge.stats import Doubles, Interval
from recr1.policies import Policy
from recr1.policies.base import Spent, format_of, spent_by
from rewards.base import Chat, Search


class Cost(NamedTuple):
    """What a query costs, and what was paid before the first one."""

    milliseconds: float
    """Wall time of writing, a query; searches that are part of writing included, the final search not."""
    tokens_read: float
    """Tokens of prompts, a query; 0 of what is no language model."""
    tokens_written: float
    """Tokens of completions, a query."""
    setup_seconds: float
    """Before the first query: finding examples or a prompt, reading the catalog."""
    setup_tokens: int
    """Read and written in that time."""


@dataclass(frozen=True)
class Entry:
    """A policy of the table, with an evaluation for each of its S seeds, all on the same needs."""

    label: str
    spec: str
    """How it was asked for."""
    evaluations: Sequence[Evaluation]
    costs: Sequence[Cost]
    sees: tuple[Visible, ...] = ()
    trained: bool = False
    """Whether it comes from run folders."""
    notes: tuple[str, ...] = ()
    runs: tuple[Mapping[str, Any], ...] = ()
    """Of which run's policy each seed is, as `recr1.runs.policy_of` says; none of a policy without a run."""

    @property
    def bound(self) -> bool:
        """Whether it reads the answers, so that it is a bound and no rival."""
        return "answers" in self.sees

    @property
    def first(self) -> Evaluation:
        """Of the first seed."""
        return self.evaluations[0]

    def by_seed(self, measure: str) -> Doubles:
        """(S, N) the measure for each seed and need."""
        return np.array([evaluation.per_need(measure) for evaluation in self.evaluations])

    def per_need(self, measure: str) -> Doubles:
        """(N,) the mean over the seeds."""
        means: Doubles = self.by_seed(measure).mean(axis=0)
        return means

    def interval(self, measure: str, seed: int) -> Interval:
        """The mean with its interval: over needs, and over seeds too where there are several."""
        if len(self.evaluations) == 1:
            return bootstrap_interval(self.per_need(measure), seed=seed)
        found = pooled(self.by_seed(measure))
        return Interval(found.difference, found.low, found.high)

    @property
    def cost(self) -> Cost:
        """The mean over the seeds."""
        means = [float(value) for value in np.mean([list(cost) for cost in self.costs], axis=0)]
        return Cost(means[0], means[1], means[2], means[3], round(means[4]))

    @cached_property
    def behaviour(self) -> dict[str, float]:
        """Words per valid query, and the shares of invalid completions and of queries without hits, over the seeds."""
        names = ("query_words", "invalid", "no_hits")
        each = [evaluation.behaviour() for evaluation in self.evaluations]
        return {name: float(np.mean([behaviour[name] for behaviour in each])) for name in names}

    def queries(self) -> list[str | None]:
        """(N,) the first query of the first seed; None where the completion was none."""
        actions = [of_need[0] for of_need in self.first.actions]
        return [str(action.query) if isinstance(action, Search) else None for action in actions]

    def first_ranks(self) -> list[int | None]:
        """(N,) the place where that query found the first relevant item; None where it found none."""
        return [next(iter(self.first.relevant_ranks(need)), None) for need in range(len(self.first.needs))]


class _Metered:
    """A policy whose writing and preparing is timed; what it declares shines through."""

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
        """Of so many queries."""
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
) -> Entry:
    """Evaluate a policy, or each of its seeds, with what it costs.

    Args:
        evaluator: The split that is ready for policies.
        policies: Each makes the policy of one seed; it is let go before the next is made.
        label: What it is called.
        spec: How it was asked for.
        samples: Completions per need whose measures are averaged; 0 is greedy. The cost is that of one.
        trained: Whether it comes from run folders.
        notes: What a reader of its numbers must know.
        runs: Of which run's policy each seed is.
    """
    evaluations, costs = [], []
    sees: tuple[Visible, ...] = ()
    for make in policies:
        metered = _Metered(make())
        evaluations.append(evaluator(metered, samples=samples, name=label))
        costs.append(metered.cost(len(evaluator.needs) * max(samples, 1)))
        sees = metered.sees
        del metered  # before the next is made: it may hold a model
    return Entry(label, spec, evaluations, costs, sees, trained, tuple(notes), tuple(runs))


def as_mapping(entry: Entry, seed: int) -> Mapping[str, Any]:
    """What `compare.json` holds of it."""
    return {
        "spec": entry.spec,
        "seeds": len(entry.evaluations),
        "samples": 0 if entry.first.greedy else entry.first.samples,
        "sees": list(entry.sees),
        "bound": entry.bound,
        "trained": entry.trained,
        "notes": list(entry.notes),
        "runs": [dict(run) for run in entry.runs],
        "measures": {name: entry.interval(name, seed)._asdict() for name in entry.first.values},
        "cost": entry.cost._asdict(),
        "behaviour": entry.behaviour,
        "per_seed": {name: entry.by_seed(name).mean(axis=1).tolist() for name in entry.first.values},
        "per_need": {name: entry.per_need(name).tolist() for name in entry.first.values},
        "queries": entry.queries(),
        "first_relevant": entry.first_ranks(),
    }
