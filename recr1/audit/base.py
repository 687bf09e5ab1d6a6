"""What the parts of an audit get (`Seen`), and what each of them returns (`Part`): numbers with limits, and tables."""

from __future__ import annotations

import math
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
from retrievers.base import Hits
from rewards.audit.lists import there
from rewards.base import Batch, Need
from rewards.measures.ranking import NDCG

SIGNIFICANCE = 0.01
"""The risk that an unbiased policy fails by chance: p is corrected for the number of limits (Holm)."""
DRAWS = 10_000
"""Of tests that simulate."""


class NotAudited(Exception):  # noqa: N818 - no error: what is said of a part that does not apply
    """Why a part says nothing of this policy and these needs."""


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
        """Its place in `audit.json`; None is a number that is not finite, which JSON does not have."""
        return {**{name: finite(of) for name, of in vars(self).items()}, "fails": self.fails}


@dataclass(frozen=True)
class Part:
    """One bias."""

    numbers: Sequence[Number] = ()
    tables: Sequence[Table] = ()
    remarks: Sequence[str] = ()
    shares: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """A picture: label -> mean, low and high."""
    picture: str = ""
    """What the picture shows."""
    title: str = ""


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

    @cached_property
    def relevance(self) -> Doubles:
        """(B,) the relevance of the needs as they are."""
        return self.ndcg.of(self.plain.graded).astype(np.float64)

    def rng(self) -> np.random.Generator:
        """Random numbers that depend on the seed alone."""
        return np.random.default_rng(self.seed)

    def drawn(self, rng: np.random.Generator) -> Batch:
        """Lists at random, `cutoff` items for each need: of its candidates, or of the catalog."""
        rows_BK, size = np.full((len(self.needs), self.cutoff), -1, np.int32), len(self.env.task.catalog)
        for rows_K, need in zip(rows_BK, self.needs, strict=True):
            shown = [one.row for one in need.candidates]
            own = rng.permutation(shown) if shown else rng.choice(size, min(self.cutoff, size), replace=False)
            rows_K[: len(own)] = own[: self.cutoff]
        hits = Hits(rows_BK, np.zeros(rows_BK.shape, np.float32))
        return Batch(self.plain.rollouts, hits, self.plain.qrels, catalog=self.env.task.catalog)

    def mean(
        self,
        name: str,
        values_B: NDArray[np.floating],
        says: str,
        null: float | Doubles = 0.0,
        *,
        tested: bool = True,
        sized: bool = False,
        **more: Any,
    ) -> Number:
        """The mean of values, one a need, without NaN; p is that of a mean of `null`.

        Not `tested`: no test is about it, as neither end is wrong. `sized`: its limit is one of its size.
        """
        kept_B = np.isfinite(values_B) & np.isfinite(null)
        values = np.asarray(values_B, np.float64)[kept_B]
        if not len(values):
            return Number(name, float("nan"), says)
        mean, low, high = bootstrap_interval(values, seed=self.seed)
        p = randomisation_test(values - np.broadcast_to(null, kept_B.shape)[kept_B], seed=self.seed) if tested else None
        return Number(name, mean, says, low, high, p, **({"excess": abs(mean)} if sized else {}), **more)


def finite(value: Any) -> Any:
    """None for a number that is not finite."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def lists(batch: Batch, cutoff: int | None = None) -> list[list[int]]:
    """(B,) the rows of each list, best first."""
    return [there(rows_K[:cutoff]) for rows_K in batch.hits.rows_QK]


def together(batches: Sequence[Batch]) -> Batch:
    """One batch of several, one after the other."""
    hits = Hits(*(np.concatenate(arrays) for arrays in zip(*(one.hits for one in batches), strict=True)))
    rollouts = [rollout for one in batches for rollout in one.rollouts]
    return Batch(rollouts, hits, [key for one in batches for key in one.qrels], catalog=batches[0].catalog)


def mean_of(values: NDArray[np.floating]) -> float:
    """The mean without NaN; NaN without any."""
    kept = values[np.isfinite(values)]
    return float(kept.mean()) if len(kept) else float("nan")


def means_of(values_JB: Doubles) -> Doubles:
    """(B,) `mean_of` each column."""
    return np.array([mean_of(values_J) for values_J in values_JB.T])


def chance_of(found: float, drawn: Doubles) -> float:
    """The p of a test that draws: the share of draws that are as large as what was found, which counts as one draw."""
    return (1 + int((drawn >= found - 1e-12).sum())) / (1 + len(drawn))


def spread_test(values_NV: Doubles, rng: np.random.Generator) -> float:
    """The p of the difference of the largest and the smallest of V means, by exchanging the values of each need."""
    needs, words = values_NV.shape
    if words == 2:  # exchanging two values turns the sign of their difference
        return randomisation_test(values_NV[:, 0] - values_NV[:, 1], seed=int(rng.integers(2**31)))
    blocks = [
        np.ptp(rng.permuted(np.broadcast_to(values_NV, (DRAWS // 20, needs, words)), axis=2).mean(axis=1), axis=1)
        for _ in range(20)
    ]
    return chance_of(float(np.ptp(values_NV.mean(axis=0))), np.concatenate(blocks))


def corrected(parts: Sequence[Part]) -> list[Part]:
    """The parts, with p corrected for the numbers that have a limit (Holm 1979)."""
    tested = [one for part in parts for one in part.numbers if one.limit is not None and one.p is not None]
    p_of = dict(zip((one.name for one in tested), holm([one.p or 0.0 for one in tested]).tolist(), strict=True))
    return [
        replace(part, numbers=[replace(one, corrected=p_of.get(one.name)) for one in part.numbers]) for part in parts
    ]
