"""What can be learned, before any training: n completions of each need from the starting policy.

Reinforcement learning makes good completions of a policy more frequent. What it never writes in n samples is hardly
learned, what it always writes leaves nothing to learn, and a group whose rewards are all equal has no gradient.

A group of a trainer is G independent completions of one need. The n samples hold C(n, G) such groups; the share of them
with a property is an unbiased estimate of its probability (a U-statistic: Hoeffding 1948), counted here exactly.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from math import comb
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recr1.env import Environment
from recr1.evaluate import Evaluation, Evaluator
from recr1.evaluate.references import AGAIN
from recr1.judge.stats import Doubles, bootstrap_interval
from recr1.policies.base import Policy
from recr1.runs.provenance import surroundings
from retrievers.abilities import max_k_of
from rewards.abilities import cutoff_of
from rewards.base import Graded, Search

GROUPS = (2, 4, 8, 12, 16, 24, 32)
"""Group sizes that are reported, up to the number of samples."""
DEPTHS = (1, 3, 5, 10, 20, 50, 100, 200, 500, 1000)
"""Upper ends of the ranges of ranks, and the reward depths that can be suggested."""
REACH = 0.9
"""The suggested depth rewards at least this share of the groups that the largest depth rewards."""
GROUP = 8
"""The group size for the suggested depth, if the recipe has none."""
SHALLOWEST = 5
"""The smallest depth that is suggested: a measure of fewer items has few values."""
_QUERIES = 1024
"""Queries in one search to the full depth."""


@dataclass(frozen=True, kw_only=True)
class HeadroomOptions:
    """Limits: what counts as solved, equal and deep."""

    solved: float = 0.5
    """A completion solves its need if its measure is at least this share of the need's ceiling."""
    tolerance: float = 1e-6
    """Rewards of a group that differ by at most this are equal."""
    depth: int = 1000
    """Items in which the first relevant one is looked for; at most the catalog's size and the retriever's `max_k`."""
    group: int | None = None
    """The group size of the recipe, if it has one."""


@dataclass(frozen=True)
class Headroom:
    """The completions of N needs, S samples each, and what they found."""

    evaluation: Evaluation
    first_ranks: NDArray[np.int64]
    """(N, S) rank of the first relevant item that each completion found; 0 if there is none in `depth`."""
    depth: int
    options: HeadroomOptions

    @property
    def measure(self) -> str:
        """The first measure, which defines "solved"."""
        return next(iter(self.evaluation.values))

    @cached_property
    def solved(self) -> NDArray[np.bool_]:
        """(N, S) which completions solve their need; none if the ceiling is 0."""
        ceiling = self.evaluation.references.ceiling[self.measure][:, None]
        # Values and ceilings are float32: rounding must not put an equal value below the share.
        enough = self.evaluation.values[self.measure] >= self.options.solved * (1 - 1e-6) * ceiling
        solved: NDArray[np.bool_] = enough & (ceiling > 0)
        return solved

    @cached_property
    def summary(self) -> dict[str, Any]:
        """The content of `headroom.json`."""
        evaluation, samples, times = self.evaluation, self.evaluation.samples, self.solved.sum(axis=1)
        settings = evaluation.settings
        return {
            "policy": evaluation.name,
            "split": evaluation.split,
            "needs": len(evaluation.needs),
            "samples": samples,
            "measures": {name: self._bounds(name) for name in evaluation.values},
            "reward": {
                "mean": self._interval(evaluation.rewards.mean(axis=1)),
                "best": self._interval(evaluation.rewards.max(axis=1)),
            },
            "solved": {
                "at": self.options.solved,
                "always": self._interval(times == samples),
                "sometimes": self._interval((times > 0) & (times < samples)),
                "never": self._interval(times == 0),
                "unsolvable": float((evaluation.references.ceiling[self.measure] == 0).mean()),
            },
            "groups": self._groups(),
            "ranks": self._ranks(),
            "depth": self._depths(),
            **evaluation.behaviour(),
            "settings": {
                **{name: settings[name] for name in ("seed", "level", "resamples", "catalog")},
                "k": evaluation.env.k,
                "group": self.options.group,
                "tolerance": self.options.tolerance,
                "searched": self.depth,
            },
            "versions": surroundings()["versions"],
        }

    def _bounds(self, name: str) -> dict[str, Any]:
        references, values = self.evaluation.references, self.evaluation.values[name]
        return {
            "floor": self._interval(references.floor[name]),
            "mean": self._interval(values.mean(axis=1, dtype=np.float64)),
            "best": self._interval(values.max(axis=1)),
            "ceiling": self._interval(references.ceiling[name]),
        }

    def _groups(self) -> dict[str, Any]:
        rewards, values = self.evaluation.rewards, self.evaluation.values[self.measure]
        sizes = {*GROUPS, self.options.group or GROUPS[0]}
        return {
            str(size): {
                "flat": self._interval(flat_shares(rewards, size, self.options.tolerance)),
                "best": self._interval(best_of(values, size)),
            }
            for size in sorted(sizes)
            if 2 <= size <= self.evaluation.samples
        }

    def _ranks(self) -> list[dict[str, Any]]:
        """Histogram of the first relevant rank: over completions, and over needs by their best completion."""
        nearest = np.where(self.first_ranks > 0, self.first_ranks, self.depth + 1).min(axis=1)
        ranks = {"completions": self.first_ranks, "needs": np.where(nearest > self.depth, 0, nearest)}
        found = [
            {"from": low + 1, "to": high, **{of: float(((r > low) & (r <= high)).mean()) for of, r in ranks.items()}}
            for low, high in pairwise([0, *self._ends])
        ]
        return [*found, {"from": None, "to": None, **{of: float((r == 0).mean()) for of, r in ranks.items()}}]

    @property
    def _ends(self) -> list[int]:
        return [*(depth for depth in DEPTHS if depth < self.depth), self.depth]

    def _depths(self) -> dict[str, Any]:
        """The share of groups that find something relevant within each depth, and the smallest depth for nearly all.

        A group that finds nothing has equal rewards, which a deeper reward can change; but the deeper it is, the less a
        reward says about the first ranks.
        """
        group, ranks = min(self.options.group or GROUP, self.evaluation.samples), self.first_ranks
        cutoffs = [cutoff_of(reward) for reward, _ in self.evaluation.env.rewards]
        now = max((cutoff for cutoff in cutoffs if cutoff is not None), default=self.evaluation.env.k)
        depths = sorted({*self._ends, now})
        paid = {depth: float(best_of((ranks > 0) & (ranks <= depth), group).mean()) for depth in depths}
        enough = [end for end in self._ends if end >= SHALLOWEST and paid[end] >= REACH * paid[self.depth]]
        return {
            "now": now,
            "suggested": enough[0] if paid[self.depth] else None,
            "group": group,
            "groups": {str(depth): share for depth, share in paid.items()},
        }

    def _interval(self, values_N: NDArray[Any]) -> dict[str, float]:
        return bootstrap_interval(values_N.astype(np.float64), seed=self.evaluation.seed)._asdict()

    def per_need(self) -> list[Mapping[str, Any]]:
        """The lines of `per_need.jsonl`, one for each need."""
        evaluation, references = self.evaluation, self.evaluation.references
        return [
            {
                "need": need.id,
                "text": need.text,
                "floor": float(references.floor[self.measure][row]),
                "ceiling": float(references.ceiling[self.measure][row]),
                "solved": int(self.solved[row].sum()),
                "values": evaluation.values[self.measure][row].tolist(),
                "rewards": evaluation.rewards[row].tolist(),
                "first_ranks": [rank or None for rank in self.first_ranks[row].tolist()],
            }
            for row, need in enumerate(evaluation.needs)
        ]


def find_headroom(
    evaluator: Evaluator, policy: Policy, samples: int, options: HeadroomOptions, name: str = "policy"
) -> Headroom:
    """Sample, reward and search deeper; raises `MissingAnswers` if the retriever does not answer some query."""
    evaluation = evaluator(policy, samples=samples, name=name)
    env = evaluation.env
    depth = max(env.k, min(options.depth, len(env.task.catalog), max_k_of(env.retriever) or options.depth))
    deep = Environment(env.task, env.retriever, (), depth)
    actions = [action for of_need in evaluation.actions for action in of_need]
    queries = [action.query if isinstance(action, Search) else None for action in actions]
    qrels = [key for key in evaluation.qrels for _ in range(evaluation.samples)]
    needs = [need for need in evaluation.needs for _ in range(evaluation.samples)]
    ranks: list[int] = []
    for start in range(0, len(queries), _QUERIES):
        part = slice(start, start + _QUERIES)
        found = Graded.join(deep.search(queries[part], again=AGAIN, needs=needs[part]).rows_QK, qrels[part])
        ranks += found.first_relevant.tolist()
    # Nothing is searched where a completion is a list.
    ranks_B = np.where([query is None for query in queries], evaluation.graded.first_relevant, ranks)
    return Headroom(evaluation, ranks_B.reshape(-1, evaluation.samples), depth, options)


def flat_shares(rewards_NS: NDArray[np.floating], group: int, tolerance: float) -> Doubles:
    """(N,) for each need, the probability that the rewards of a group of its completions are all equal.

    They are equal if the largest exceeds the smallest by at most the tolerance. Each such group is counted once, at its
    smallest member: if c rewards are within the tolerance above it (equal ones come later in the order), C(c, G - 1)
    groups begin with it.

    Raises `ValueError` for groups below 2 or above the number of samples.
    """
    beginning = _weights(rewards_NS.shape[1], group, least=2)
    within = (rewards - rewards[:, None] <= tolerance for rewards in np.sort(rewards_NS.astype(np.float64), axis=1))
    return np.array([beginning[np.triu(within_SS, 1).sum(axis=1)].sum() for within_SS in within])


def best_of(values_NS: NDArray[Any], group: int) -> Doubles:
    """(N,) for each need, the expected best of a group of its completions.

    In rising order, the value at place i (from 0) is the best of C(i, G - 1) groups.

    Raises `ValueError` for groups below 1 or above the number of samples.
    """
    best: Doubles = np.sort(values_NS.astype(np.float64), axis=1) @ _weights(values_NS.shape[1], group, least=1)
    return best


def _weights(samples: int, group: int, *, least: int) -> Doubles:
    """(samples,) the share of groups whose other members are chosen from the first i samples."""
    if not least <= group <= samples:
        raise ValueError(f"the group size must be from {least} to {samples} (the samples), got {group}")
    # Integers until the division: C(1000, 32) is beyond what a float holds exactly.
    return np.array([comb(place, group - 1) / comb(samples, group) for place in range(samples)])
