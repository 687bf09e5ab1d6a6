"""One reward on several retrievers, for policies that must survive a change of engine."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import MinLen

from retrievers.base import Catalog, Floats
from retrievers.options import checked
from rewards.abilities import check_data, cutoff_of, needs_groups, needs_raw_hits, retrievers_of
from rewards.base import Batch, Qrels, Reward


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
