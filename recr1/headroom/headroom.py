"""What can be learned, before any training: n completions of each need from the starting policy, looked at.

Reinforcement learning makes what a policy writes now and then what it writes mostly. What it never writes in n samples
is hardly learned, what it always writes leaves nothing to learn, and a group whose rewards are all the same moves no
weight.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recr1.env import Environment
from recr1.evaluate import Evaluation, Evaluator, bootstrap_interval
from recr1.evaluate.references import AGAIN
from recr1.headroom.counting import best_of, flat_shares
from recr1.policies.base import Policy
from retrievers.abilities import max_k_of
from rewards.abilities import cutoff_of
from rewards.base import Graded, Search

GROUPS = (2, 4, 8, 12, 16, 24, 32)
"""Group sizes that are reported, as far as there are samples for them."""
DEPTHS = (1, 3, 5, 10, 20, 50, 100, 200, 500, 1000)
"""Upper ends of the ranks that are counted together, and the reward depths among which one is suggested."""
REACH = 0.9
"""The suggested depth pays this share of the groups that any depth pays."""
GROUP = 8
"""The group size that the depth is suggested for, where the recipe says none."""
SHALLOWEST = 5
"""No shallower one is suggested: a measure of fewer items has few values."""
_QUERIES = 1024
"""Queries in one search to the full depth."""


@dataclass(frozen=True, kw_only=True)
class HeadroomOptions:
    """What counts as what."""

    solved: float = 0.5
    """A completion solves its need where its measure is at least this share of the need's ceiling."""
    tolerance: float = 1e-6
    """Spread of a group's rewards up to which they are the same."""
    depth: int = 1000
    """How deep the first relevant item is looked for; no deeper than the catalog or the retriever goes."""
    group: int | None = None
    """The group size that the recipe trains with, where it says."""


@dataclass(frozen=True)
class Headroom:
    """What N needs gave in S samples each."""

    evaluation: Evaluation
    first_ranks: NDArray[np.int64]
    """(N, S) place, from 1 on, of the first relevant item that each completion found; 0 for none in `depth`."""
    depth: int
    """How deep was looked."""
    options: HeadroomOptions

    @property
    def measure(self) -> str:
        """The main measure: what "solved" is about."""
        return next(iter(self.evaluation.values))

    @cached_property
    def solved(self) -> NDArray[np.bool_]:
        """(N, S) which completions solve their need; none where the ceiling is 0."""
        ceiling = self.evaluation.references.ceiling[self.measure][:, None]
        # Values and ceilings are float32: what equals the share must not fall below it by rounding.
        enough: NDArray[np.bool_] = self.evaluation.values[self.measure] >= self.options.solved * (1 - 1e-6) * ceiling
        return enough & (ceiling > 0)

    @cached_property
    def summary(self) -> dict[str, Any]:
        """Every number that `headroom.json` holds."""
        evaluation, samples = self.evaluation, self.evaluation.samples
        times = self.solved.sum(axis=1)
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
            "groups": {str(size): self._group(size) for size in self._sizes()},
            "ranks": self._ranks(),
            "depth": self._depths(),
            **evaluation.behaviour(),
            "settings": {
                **{name: evaluation.summary["settings"][name] for name in ("seed", "level", "resamples", "catalog")},
                "k": evaluation.env.k,
                "group": self.options.group,
                "tolerance": self.options.tolerance,
                "searched": self.depth,
            },
            "versions": evaluation.summary["versions"],
        }

    def _bounds(self, name: str) -> dict[str, Any]:
        references, values = self.evaluation.references, self.evaluation.values[name]
        return {
            "floor": self._interval(references.floor[name]),
            "mean": self._interval(values.mean(axis=1, dtype=np.float64)),
            "best": self._interval(values.max(axis=1)),
            "ceiling": self._interval(references.ceiling[name]),
        }

    def _sizes(self) -> list[int]:
        own = {self.options.group} if self.options.group else set()
        return sorted(size for size in {*GROUPS, *own} if 2 <= size <= self.evaluation.samples)

    def _group(self, size: int) -> dict[str, Any]:
        rewards, values = self.evaluation.rewards, self.evaluation.values[self.measure]
        return {
            "flat": self._interval(flat_shares(rewards, size, self.options.tolerance)),
            "best": self._interval(best_of(values, size)),
        }

    def _ranks(self) -> list[dict[str, Any]]:
        """The histogram of the first relevant item: of all completions, and of the best completion of each need."""
        ranks = self.first_ranks
        nearest = np.where(ranks > 0, ranks, self.depth + 1).min(axis=1)
        best = np.where(nearest > self.depth, 0, nearest)
        ends = self._ends()
        lows = [0, *ends[:-1]]
        found = [
            {
                "from": low + 1,
                "to": high,
                "completions": float(((ranks > low) & (ranks <= high)).mean()),
                "needs": float(((best > low) & (best <= high)).mean()),
            }
            for low, high in zip(lows, ends, strict=True)
        ]
        none = {"from": None, "to": None, "completions": float((ranks == 0).mean()), "needs": float((best == 0).mean())}
        return [*found, none]

    def _ends(self) -> list[int]:
        return [*(depth for depth in DEPTHS if depth < self.depth), self.depth]

    def _depths(self) -> dict[str, Any]:
        """How many groups have something relevant within each depth, and the shallowest that pays nearly all of them.

        A group without one has nothing to prefer, so that a deeper reward may make it teach; but the deeper, the less
        the reward says about the first places.
        """
        group = min(self.options.group or GROUP, self.evaluation.samples)
        now = self._reward_depth
        paid = {end: self._paid(end, group) for end in sorted({*self._ends(), now})}
        enough = [end for end in self._ends() if end >= SHALLOWEST and paid[end] >= REACH * paid[self.depth]]
        return {
            "now": now,
            "suggested": enough[0] if paid[self.depth] else None,
            "group": group,
            "groups": {str(end): share for end, share in paid.items()},
        }

    def _paid(self, depth: int, group: int) -> float:
        """The expected share of groups in which some completion finds something relevant within the depth."""
        within = (self.first_ranks > 0) & (self.first_ranks <= depth)
        return float(best_of(within.astype(np.float64), group).mean())

    @property
    def _reward_depth(self) -> int:
        """How many items the rewards look at: the deepest cutoff, or k where none declares one."""
        cutoffs = [cutoff_of(reward) for reward, _ in self.evaluation.env.rewards]
        return max((cutoff for cutoff in cutoffs if cutoff is not None), default=self.evaluation.env.k)

    def _interval(self, values_N: NDArray[Any]) -> dict[str, float]:
        return bootstrap_interval(values_N.astype(np.float64), seed=self.evaluation.seed)._asdict()

    def per_need(self) -> list[Mapping[str, Any]]:
        """What `per_need.jsonl` holds: a line a need."""
        evaluation = self.evaluation
        references = evaluation.references
        return [
            {
                "need": need.id,
                "text": need.text,
                "floor": float(references.floor[self.measure][row]),
                "ceiling": float(references.ceiling[self.measure][row]),
                "solved": int(self.solved[row].sum()),
                "values": [float(value) for value in evaluation.values[self.measure][row]],
                "rewards": [float(value) for value in evaluation.rewards[row]],
                "first_ranks": [int(rank) or None for rank in self.first_ranks[row]],
            }
            for row, need in enumerate(evaluation.needs)
        ]


def find_headroom(
    evaluator: Evaluator, policy: Policy, samples: int, options: HeadroomOptions, name: str = "policy"
) -> Headroom:
    """Sample, reward and look.

    Raises:
        MissingAnswers: When the retriever has no answer to some query, though it was asked again.
    """
    evaluation = evaluator(policy, samples=samples, name=name)
    env = evaluation.env
    deepest = [options.depth, len(env.task.catalog), max_k_of(env.retriever) or options.depth]
    depth = max(env.k, min(deepest))
    return Headroom(evaluation, _first_ranks(evaluation, depth), depth, options)


def _first_ranks(evaluation: Evaluation, depth: int) -> NDArray[np.int64]:
    deep = Environment(evaluation.env.task, evaluation.env.retriever, (), depth)
    actions = [action for of_need in evaluation.actions for action in of_need]
    queries = [action.query if isinstance(action, Search) else None for action in actions]
    qrels = [deep.task.qrels[need.id] for need in evaluation.needs for _ in range(evaluation.samples)]
    ranks = []
    for start in range(0, len(queries), _QUERIES):
        part = slice(start, start + _QUERIES)
        graded = Graded.join(deep.search(queries[part], again=AGAIN).rows_QK, qrels[part])
        relevant = graded.grades_BK > 0
        ranks.append(np.where(relevant.any(axis=1), relevant.argmax(axis=1) + 1, 0))
    return np.concatenate(ranks).reshape(len(evaluation.needs), evaluation.samples)
