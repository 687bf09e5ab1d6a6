"""What the parts of an audit get (`Seen`), and what each of them returns (`Part`): numbers with limits, and tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recr1.config.build import AuditSpec
from recr1.env import Environment
from recr1.judge.stats import Doubles, bootstrap_interval, holm, randomisation_test
from recr1.judge.table import Table
from recr1.policies.base import Policy
from retrievers.base import Rows
from rewards.audit.lists import there
from rewards.base import Batch, Need
from rewards.measures.ranking import NDCG

SIGNIFICANCE = 0.01
"""The risk that an unbiased policy fails by chance: p is corrected for the number of limits (Holm)."""
DRAWS = 10_000
"""Of tests that simulate."""


@dataclass(frozen=True)
class Number:
    """A number of an audit. `name` follows `audit/` in logs."""

    name: str
    value: float
    says: str
    """What it is, in a phrase."""
    low: float | None = None
    high: float | None = None
    p: float | None = None
    """How often chance alone gives as much."""
    corrected: float | None = None
    """The same, corrected for all numbers with a limit."""
    chance: float | None = None
    """The number of answers that are drawn at random."""
    limit: float | None = None
    excess: float | None = None
    """What the limit is compared with, where that is not the value: its size, or what it has beyond chance."""

    @property
    def fails(self) -> bool:
        """Whether it is above its limit, and that is not chance."""
        size = self.value if self.excess is None else self.excess
        return self.limit is not None and size > self.limit and (self.p is None or (self.corrected or 0) < SIGNIFICANCE)

    def to_dict(self) -> dict[str, Any]:
        """Its place in `audit.json`."""
        return {**vars(self), "fails": self.fails}


@dataclass(frozen=True)
class Part:
    """One bias."""

    title: str
    numbers: Sequence[Number] = ()
    tables: Sequence[Table] = ()
    remarks: Sequence[str] = ()
    shares: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """A picture: label -> mean, low and high."""
    picture: str = ""
    """What the picture shows."""


@dataclass(frozen=True)
class Seen:
    """The answers of a policy: to each need as it is, in other orders, and with a word about the person."""

    env: Environment
    policy: Policy
    spec: AuditSpec
    cutoff: int
    seed: int
    plain: Batch
    orders: Sequence[Batch] = ()
    """Of each other order, in the order of `plain`."""
    words: Mapping[str, Mapping[str, Batch]] = field(default_factory=dict)
    """Attribute -> word -> the answers to all needs."""

    @cached_property
    def needs(self) -> list[Need]:
        """(B,) the needs as they are."""
        return [rollout.need for rollout in self.plain.rollouts]

    @property
    def ndcg(self) -> NDCG:
        """The measure of relevance."""
        return NDCG(self.cutoff)

    def rng(self) -> np.random.Generator:
        """Random numbers that depend on the seed alone."""
        return np.random.default_rng(self.seed)

    def drawn(self, rng: np.random.Generator) -> Rows:
        """(B, cutoff) lists at random: of the candidates of each need, or of the catalog."""
        rows_BK = np.full((len(self.needs), self.cutoff), -1, np.int32)
        for rows_K, need in zip(rows_BK, self.needs, strict=True):
            shown = [one.row for one in need.candidates]
            own = rng.permutation(shown) if shown else rng.choice(len(self.env.task.catalog), self.cutoff)
            rows_K[: len(own)] = own[: self.cutoff]
        return rows_BK

    def mean(
        self, name: str, values_B: NDArray[np.floating], says: str, null: float | Doubles = 0.0, **more: Any
    ) -> Number:
        """The mean of values, one a need, without NaN; p is that of a mean of `null`."""
        kept_B = np.isfinite(values_B)
        values = np.asarray(values_B, np.float64)[kept_B]
        if not len(values):
            return Number(name, float("nan"), says)
        interval = bootstrap_interval(values, seed=self.seed)
        away = values - (null[kept_B] if isinstance(null, np.ndarray) else null)
        p = randomisation_test(away, seed=self.seed)
        return Number(name, interval.mean, says, interval.low, interval.high, p, **more)


def lists(batch: Batch, cutoff: int | None = None) -> list[list[int]]:
    """(B,) the rows of each list, best first."""
    return [there(rows_K[:cutoff]) for rows_K in batch.hits.rows_QK]


def together(batches: Sequence[Batch]) -> Batch:
    """One batch of several, one after the other."""
    first = batches[0]
    hits = type(first.hits)(*(np.concatenate(arrays) for arrays in zip(*(one.hits for one in batches), strict=True)))
    rollouts = [rollout for one in batches for rollout in one.rollouts]
    return Batch(rollouts, hits, [key for one in batches for key in one.qrels], catalog=first.catalog)


def spread_test(values_NV: Doubles, rng: np.random.Generator) -> float:
    """The p of the difference of the largest and the smallest of V means, by exchanging the values of each need."""
    needs, words = values_NV.shape
    if words == 2:  # exchanging two values turns the sign of their difference
        return randomisation_test(values_NV[:, 0] - values_NV[:, 1], seed=int(rng.integers(2**31)))
    observed, as_large, block = np.ptp(values_NV.mean(axis=0)), 0, DRAWS // 20
    for _ in range(20):
        drawn_RNV = rng.permuted(np.broadcast_to(values_NV, (block, needs, words)), axis=2)
        as_large += int((np.ptp(drawn_RNV.mean(axis=1), axis=1) >= observed - 1e-12).sum())
    return (1 + as_large) / (1 + DRAWS)


def corrected(parts: Sequence[Part]) -> list[Part]:
    """The parts, with p corrected for the numbers that have a limit (Holm 1979)."""
    tested = [one for part in parts for one in part.numbers if one.limit is not None and one.p is not None]
    p_of = dict(zip((one.name for one in tested), holm([one.p or 0.0 for one in tested]).tolist(), strict=True))
    return [
        replace(part, numbers=[replace(one, corrected=p_of.get(one.name)) for one in part.numbers]) for part in parts
    ]


def interval(values: NDArray[np.floating], seed: int) -> dict[str, float]:
    """Mean, low and high, for a picture."""
    return bootstrap_interval(np.asarray(values, np.float64), seed=seed)._asdict()
