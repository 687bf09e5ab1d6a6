"""What became of a batch of completions, and how that looks in the log."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, TypeAlias

import numpy as np

from recr1.env.guards import guard_metrics
from recr1.env.unjudged import hole_metrics
from retrievers.base import Floats, Query
from retrievers.errors import EngineError
from rewards.base import Batch, Invalid, Search

Outcome: TypeAlias = Literal["ok", "no_hits", "invalid", "retriever_error"]
"""How a rollout ended: its query found something; it matched nothing; there was no query; there was no answer."""


@dataclass(frozen=True)
class Step:
    """What became of B completions."""

    batch: Batch
    parts: Mapping[str, Floats]
    """Reward name -> (B,), before weights; NaN where the reward is absent."""
    rewards: Floats
    """(B,): the weighted sum of the parts, which the trainer maximises; NaN where it is absent, see `faults`."""
    seconds: Mapping[str, float]
    """Wall time of "search", "rewards" and "total"."""
    retriever: Mapping[str, float] = field(default_factory=dict)
    """What the retriever counts itself: its attribute `stats` after the search, where it has one."""
    faults: Mapping[int, EngineError] = field(default_factory=dict)
    """The rollouts that have no reward, because the retriever had no answer for them, and why."""

    @cached_property
    def outcomes(self) -> list[Outcome]:
        """(B,) how each rollout ended."""
        found_B = self.batch.hits.rows_QK[:, 0] >= 0
        ended: list[Outcome] = ["ok" if found else "no_hits" for found in found_B]
        for row, rollout in enumerate(self.batch.rollouts):
            if row in self.faults:
                ended[row] = "retriever_error"
            elif isinstance(rollout.action, Invalid):
                ended[row] = "invalid"
        return ended


def metrics(step: Step) -> dict[str, float]:
    """What a step looks like in the log; the names are stable.

    - `reward`: mean weighted reward, which is shaped by the recipe's weights; `reward/<name>`: mean of each part alone.
      Both are over the rollouts that have a reward, and NaN where none has.
    - `query/words`: mean words per valid query; `query/unique`: distinct valid queries per valid query;
      `query/repeated`: share of their words that stood in the same query before. 0 without any. `query/...` beside
      these: see `guard_metrics`.
    - `outcome/ok`, `outcome/no_hits`, `outcome/invalid`, `outcome/retriever_error`: shares of completions that found
      something, were a query that matched nothing, were no query, and have no reward because the retriever gave no
      answer; they add up to 1. `invalid/<reason>`: share of each reason that occurred.
    - `hits/...`: see `hole_metrics`.
    - `retriever/<name>`: what the retriever counts itself, such as the `hit_rate` of `cached`.
    - `time/search`, `time/rewards`: seconds of wall time; `time/environment`: of the whole step, with parsing;
      `time/query`: seconds of the search for each different query, 0 without any.
    """
    size = max(len(step.batch), 1)
    queries = [r.action.query for r in step.batch.rollouts if isinstance(r.action, Search)]
    reasons = Counter(r.action.reason for r in step.batch.rollouts if isinstance(r.action, Invalid))
    ended: Counter[Outcome] = Counter(step.outcomes)
    shares = {f"outcome/{name}": ended[name] / size for name in ("ok", "no_hits", "invalid", "retriever_error")}
    return {
        "reward": _mean(step.rewards),
        **{f"reward/{name}": _mean(values) for name, values in step.parts.items()},
        "query/words": sum(map(words, queries)) / max(len(queries), 1),
        "query/unique": len(set(queries)) / max(len(queries), 1),
        "query/repeated": sum(map(repeated, queries)) / max(sum(map(words, queries)), 1),
        **guard_metrics(step.batch),
        **shares,
        **{f"invalid/{reason}": count / size for reason, count in sorted(reasons.items())},
        **hole_metrics(step.batch),
        **{f"retriever/{name}": float(value) for name, value in step.retriever.items()},
        "time/search": step.seconds["search"],
        "time/rewards": step.seconds["rewards"],
        "time/environment": step.seconds["total"],
        "time/query": step.seconds["search"] / len(set(queries)) if queries else 0.0,
    }


def words(query: Query) -> int:
    """How long a query is: words of a text, items of a history."""
    if isinstance(query, str):
        return len(query.split())
    return len(query) if isinstance(query, tuple) else 1


def repeated(query: Query) -> int:
    """How many of its words a query has said before: 2 of "red red red lamp"; of a history, its items."""
    if isinstance(query, str):
        return words(query) - len(set(query.lower().split()))
    return len(query) - len(set(query)) if isinstance(query, tuple) else 0


def _mean(values_B: Floats) -> float:
    """The mean of the numbers that are there; 0 of an empty batch, NaN of one in which all are absent."""
    there = values_B[~np.isnan(values_B)]
    if len(there):
        return float(there.sum()) / len(there)
    return float("nan") if len(values_B) else 0.0
