"""One reward on several retrievers: for policies that are to survive a change of engine."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, Literal

import numpy as np

from retrievers.base import Catalog, Floats
from rewards.abilities import check_data, cutoff_of, needs_groups, needs_raw_hits, retrievers_of
from rewards.base import Batch, Qrels, Reward


class AcrossReward:
    """The mean, or the worst, of what a reward pays for the hits of the recipe's retriever and of each other one.

    A step searches each other retriever once, with the queries of the batch. Where one of them has no answer to a
    query, its rollout has no reward: what is left would be a mean of other things. Prompts offer the operators that all
    of these retrievers understand alike. The measures of an evaluation are those of the recipe's retriever alone;
    `recr1 eval --retrievers` compares several.

    The name is "worst(nDCG@10;bm25)" or "mean(nDCG@10;bm25,lucene)", with the other retrievers as the recipe has them.

    Args:
        reward: What is paid, as a recipe writes it: `{type: measure, measure: nDCG@10}`.
        retrievers: The other retrievers, as a recipe writes them.
        how: "mean" of all, or "worst", the least of them.

    Raises:
        ValueError: For no other retriever, the same one twice, or a reward that cannot be built.
    """

    nested: ClassVar[Mapping[str, str]] = {"retrievers": "retriever"}

    def __init__(
        self, *, reward: dict[str, Any], retrievers: list[dict[str, Any]], how: Literal["mean", "worst"] = "mean"
    ) -> None:
        from rewards import PARTS

        if how not in ("mean", "worst"):
            raise ValueError(f"how: must be mean or worst, got {how!r}")
        if not retrievers:
            raise ValueError(
                "retrievers: name at least one other than the recipe's; for that alone, leave `across` out"
            )
        self.elsewhere: Mapping[str, Mapping[str, Any]] = {_shown(spec): spec for spec in retrievers}
        if len(self.elsewhere) < len(retrievers):
            raise ValueError("retrievers: one of them stands there twice")
        self._reward: Reward = PARTS.build("reward", reward)
        if retrievers_of(self._reward):
            raise ValueError("reward: is of several retrievers itself; name them all in one entry")
        self.cutoff = cutoff_of(self._reward)
        self.needs_raw_hits = needs_raw_hits(self._reward)
        self.needs_groups = needs_groups(self._reward)
        self._how = how
        self.name = f"{how}({self._reward.name};{','.join(self.elsewhere)})"

    def check_data(self, catalog: Catalog, qrels: Mapping[str, Qrels]) -> None:
        """Raises `ValueError` where the reward reads what the data does not have."""
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
    """A retriever in a name: its type, and its options where there are some."""
    options = {name: value for name, value in spec.items() if name != "type"}
    return f"{spec.get('type')}{json.dumps(options, sort_keys=True) if options else ''}"
