"""Rewards by the place of the first relevant item, and one reward on several retrievers."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import MinLen
from numpy.typing import NDArray

from retrievers.base import Catalog, Floats
from retrievers.options import NonNegativeFloat, PositiveInt, checked
from rewards.abilities import check_cutoff, check_data, cutoff_of, needs_groups, needs_raw_hits, retrievers_of
from rewards.base import Batch, Qrels, Reward


@checked
class LogRankReward:
    """1 where the first relevant item is at place 1, less by the logarithm of its place, 0 where there is none.

    At place r it is 1 - ln(r) / ln(cutoff + 1): from place 50 to 25 is worth as much as from 2 to 1, so that a policy
    is paid for climbing long before nDCG@10 changes. The name is "log_rank@100", or "log_rank(rel=2)@100".

    Args:
        cutoff: How many hits are read.
        rel: The lowest grade that is relevant.
    """

    def __init__(self, *, cutoff: PositiveInt = 100, rel: PositiveInt = 1) -> None:
        self.cutoff, self.rel = cutoff, rel
        self.name = f"log_rank{'' if rel == 1 else f'(rel={rel})'}@{cutoff}"

    def __call__(self, batch: Batch) -> Floats:
        """(B,) from 0 to 1; raises `ValueError` where the hits are not as deep as the cutoff."""
        place_B = _first_place(batch, self.cutoff, self.rel, self.name)
        rewards_B: Floats = (1 - np.log(place_B) / math.log(self.cutoff + 1)).astype(np.float32)
        return np.maximum(rewards_B, 0)


@checked
class RankTiersReward:
    """What the first relevant item earns by its place: `pays[i]` down to `places[i]`, and 0 below the last.

    One pay for the first screen, another for the first page. The name holds the tiers:
    "rank_tiers(1:1.0,10:0.5)@10".

    Args:
        places: The last place of each tier, from the top down.
        pays: What a place of that tier earns; never more than the tier above.
        rel: The lowest grade that is relevant.

    Raises:
        ValueError: For places that do not rise, pays that rise, or lists of different lengths.
    """

    def __init__(
        self,
        *,
        places: Annotated[list[PositiveInt], MinLen(1)],
        pays: list[NonNegativeFloat],
        rel: PositiveInt = 1,
    ) -> None:
        if len(places) != len(pays):
            raise ValueError(f"pays: must be one for each of the {len(places)} places, got {len(pays)}")
        if any(lower <= upper for upper, lower in pairwise(places)):
            raise ValueError(f"places: must rise, got {places}")
        if any(lower > upper for upper, lower in pairwise(pays)):
            raise ValueError(f"pays: a lower place must not earn more, got {pays}")
        self.cutoff, self.rel = places[-1], rel
        self._places, self._pays = places, pays
        tiers = [f"{place}:{pay}" for place, pay in zip(places, pays, strict=True)]
        others = [f"rel={rel}"] if rel > 1 else []
        self.name = f"rank_tiers({','.join(tiers + others)})@{self.cutoff}"

    def __call__(self, batch: Batch) -> Floats:
        """(B,) of the pays and 0; raises `ValueError` where the hits are not as deep as the last place."""
        place_B = _first_place(batch, self.cutoff, self.rel, self.name)
        tier_B = np.searchsorted(np.array(self._places), place_B)
        return np.array([*self._pays, 0.0], np.float32)[tier_B]


def _first_place(batch: Batch, cutoff: int, rel: int, name: str) -> NDArray[np.int_]:
    """(B,) the place, from 1 on, of the first item of grade `rel` or more; `cutoff` + 1 where there is none."""
    grades_BK = batch.graded.grades_BK
    check_cutoff(name, cutoff, grades_BK.shape[1])
    relevant_BK = grades_BK[:, :cutoff] >= rel
    return np.where(relevant_BK.any(axis=1), relevant_BK.argmax(axis=1), cutoff) + 1


@checked
class AcrossReward:
    """The mean, or the worst, of what a reward pays for the hits of the recipe's retriever and of each other one.

    A step searches each other retriever once, with the queries of the batch. If one of them has no answer to a query,
    its rollout has no reward, because the mean of the others would be another number. Prompts offer the operators that
    all of these retrievers understand alike. The measures of an evaluation are those of the recipe's retriever alone;
    `recr1 eval --retrievers` compares several.

    The name is "worst(nDCG@10;bm25)" or "mean(nDCG@10;bm25,lucene)", with the other retrievers as the recipe has them.

    Args:
        reward: What is paid, as a recipe writes it: `{type: measure, measure: nDCG@10}`.
        retrievers: The other retrievers, as a recipe writes them.
        how: "mean" of all, or "worst", the least of them.

    Raises:
        ValueError: For the same retriever twice, or a reward that cannot be built.
    """

    nested: ClassVar[Mapping[str, str]] = {"retrievers": "retriever"}

    def __init__(
        self,
        *,
        reward: dict[str, Any],
        retrievers: Annotated[list[dict[str, Any]], MinLen(1), "others than the recipe's"],
        how: Literal["mean", "worst"] = "mean",
    ) -> None:
        from rewards import PARTS

        self.elsewhere: Mapping[str, Mapping[str, Any]] = {_shown(spec): spec for spec in retrievers}
        if len(self.elsewhere) < len(retrievers):
            raise ValueError("retrievers: one of them is listed twice")
        self._reward: Reward = PARTS.build("reward", reward)
        if retrievers_of(self._reward):
            raise ValueError("reward: must not be `across` itself; list all retrievers in one")
        self.cutoff = cutoff_of(self._reward)
        self.needs_raw_hits = needs_raw_hits(self._reward)
        self.needs_groups = needs_groups(self._reward)
        self._how = how
        self.name = f"{how}({self._reward.name};{','.join(self.elsewhere)})"

    def check_data(self, catalog: Catalog, qrels: Mapping[str, Qrels]) -> None:
        """Raises `ValueError` where the reward reads something that the data does not have."""
        check_data(self._reward, catalog, qrels)

    def __call__(self, batch: Batch) -> Floats:
        """(B,); raises `ValueError` where the hits of a retriever are missing."""
        paid = [self._reward(batch)]
        for who in self.elsewhere:
            if who not in batch.elsewhere:
                raise ValueError(f"{self.name} reads the hits of {who}, and this batch has none: set elsewhere")
            hits, raw_hits = batch.elsewhere[who]
            paid.append(self._reward(replace(batch, hits=hits, raw_hits=raw_hits)))
        paid_RB = np.stack(paid)
        rewards_B: Floats = paid_RB.mean(axis=0) if self._how == "mean" else paid_RB.min(axis=0)
        return rewards_B


def _shown(spec: Mapping[str, Any]) -> str:
    """A retriever in a name: its type, and its options if there are any."""
    options = {name: value for name, value in spec.items() if name != "type"}
    return f"{spec.get('type')}{json.dumps(options, sort_keys=True) if options else ''}"


@checked
class OfFamilyReward:
    """What a reward pays for the needs of one family of a task `mixed`, and 0 for all others.

    The reward sees the rollouts of its family alone, whole groups of them, as if they were the batch. The name is that
    of the reward with the family before it: "rating:RatingCloseness".

    Args:
        family: the name of the task in `mixed`.
        reward: what is paid, as a recipe writes it: `{type: measure, measure: RatingCloseness}`.

    Raises:
        ValueError: For a reward that cannot be built.
    """

    def __init__(self, *, family: Annotated[str, MinLen(1)], reward: dict[str, Any]) -> None:
        from rewards import PARTS

        self._family = family
        self._reward: Reward = PARTS.build("reward", reward)
        self.cutoff = cutoff_of(self._reward)
        self.needs_raw_hits = needs_raw_hits(self._reward)
        self.needs_groups = needs_groups(self._reward)
        self.elsewhere = retrievers_of(self._reward)
        self.name = f"{family}:{self._reward.name}"

    def check_data(self, catalog: Catalog, qrels: Mapping[str, Qrels]) -> None:
        """Raises `ValueError` for a family that the task does not have, or without the data that the reward reads."""
        own = {need: key for need, key in qrels.items() if need.startswith(f"{self._family}/")}
        if not own:
            known = sorted({need.split("/")[0] for need in qrels if "/" in need})
            raise ValueError(f"the task has no family '{self._family}' (families: {', '.join(known) or 'none'})")
        check_data(self._reward, catalog, own)

    def __call__(self, batch: Batch) -> Floats:
        """(B,); raises what the reward raises."""
        if self.cutoff is not None:
            check_cutoff(self.name, self.cutoff, batch.hits.rows_QK.shape[1])
        own = np.flatnonzero([rollout.need.family == self._family for rollout in batch.rollouts])
        rewards_B = np.zeros(len(batch), np.float32)
        if len(own):
            rewards_B[own] = self._reward(batch.of(own))
        return rewards_B
