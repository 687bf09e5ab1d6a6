"""Fusion: the rankings of several retrievers made into one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

import numpy as np
from annotated_types import MinLen
from numpy.typing import NDArray

from retrievers import PARTS
from retrievers.abilities import matches_everything, max_k_of, shared_syntax
from retrievers.base import Catalog, Floats, Hits, Query, Retriever
from retrievers.errors import EngineError, MissingAnswers
from retrievers.options import NonNegativeFloat, PositiveFloat, PositiveInt, checked
from retrievers.topk import check_k, topk_of

Doubles: TypeAlias = NDArray[np.float64]


@checked
class Hybrid:
    """Several retrievers fused, by the places or by the scores that they give an item.

    Each part is asked for its first `depth` items, whatever k is. An item that any part found is found, and its score
    is the sum over the parts that found it of

        rrf:            weight / (rrf_k + place),  where the best item has place 1
        sum, minmax:    weight * (score - lowest) / (highest - lowest)
        sum, zscore:    weight * (score - lowest) / (standard deviation)

    where lowest, highest and deviation are those of the part's items for this query. So with "sum", the last item of a
    part counts there as one that it did not find; where all its items have one score, each counts as its weight. Sums
    are made in 64 bits, in an order that does not depend on the order of the parts, and rounded to 32.

    Reciprocal rank fusion needs no comparable scores: Cormack, Clarke and Buettcher, SIGIR 2009. Sums keep how far
    apart items are: Fox and Shaw, "Combination of Multiple Searches", TREC-2, 1994.

    Args:
        catalog: What is searched.
        parts: At least two retrievers, each as a recipe writes it: `{type: bm25, k1: 0.9}`.
        method: "rrf" fuses places, "sum" fuses scores.
        weights: One positive number for each part; None weighs all 1.
        rrf_k: Of "rrf": a larger value gives the first places less weight; 60 is the paper's.
        normalise: What makes scores comparable, of "sum".
        depth: How many items of each part are fused. A search for more items is an error, because a ranking must not
            depend on k.
    """

    nested: ClassVar[Mapping[str, str]] = {"parts": "retriever"}

    def __init__(
        self,
        catalog: Catalog,
        *,
        parts: Annotated[list[dict[str, Any]], MinLen(2)],
        method: Literal["rrf", "sum"] = "rrf",
        weights: list[PositiveFloat] | None = None,
        rrf_k: NonNegativeFloat = 60.0,
        normalise: Literal["minmax", "zscore"] = "minmax",
        depth: PositiveInt = 1000,
    ) -> None:
        self._parts: list[Retriever] = [
            PARTS.build("retriever", part, catalog, path=f"parts.{place}") for place, part in enumerate(parts)
        ]
        self._weights = [1.0] * len(parts) if weights is None else weights
        self._method, self._rrf_k, self._normalise = method, rrf_k, normalise
        self._depth = min(depth, len(catalog))
        self.max_k = None if self._depth == len(catalog) else self._depth
        self.matches_everything = any(map(matches_everything, self._parts))
        self.syntax = shared_syntax(self._parts)  # a part that took operators for words would spoil the fusion
        self.capabilities = frozenset(self.syntax)
        for place, part in enumerate(self._parts):
            deepest = max_k_of(part)
            if deepest is not None and deepest < self._depth:
                raise ValueError(f"depth: parts.{place} finds at most {deepest} items; set depth to {deepest} or less")

    @staticmethod
    def check_options(options: Mapping[str, Any]) -> list[str]:
        """Whether each part has a weight."""
        parts, weights = options.get("parts", []), options.get("weights")
        if weights is None or len(weights) == len(parts):
            return []
        return [f"weights: must be one number per part, got {len(weights)} for {len(parts)} parts"]

    def search(self, queries: Sequence[Query], k: int) -> Hits:
        """Hits of shape (len(queries), k).

        Raises `ValueError` for a k below 1 or above `depth`, and `MissingAnswers` if a part has no answer to a query.
        """
        check_k(k)
        if self.max_k is not None and k > self.max_k:
            raise ValueError(
                f"k is {k}, and depth={self._depth} items of each part are fused: set depth to {k} or more"
            )
        found: list[Hits] = []
        faults: dict[int, EngineError] = {}
        for part in self._parts:
            try:
                found.append(part.search(queries, self._depth))
            except MissingAnswers as error:
                found.append(error.hits)
                faults |= error.faults
        worth = [weight * self._worth(hits) for weight, hits in zip(self._weights, found, strict=True)]
        hits = _fused(np.concatenate([hits.rows_QK for hits in found], axis=1), np.concatenate(worth, axis=1), k)
        if faults:  # what one part found alone is not a fusion
            raise MissingAnswers(hits.without(list(faults)), dict(sorted(faults.items())))
        return hits

    def _worth(self, hits: Hits) -> Doubles:
        """What a part's hits (Q, D) count before its weight; 0 in empty places."""
        found_QD = hits.rows_QK >= 0
        if self._method == "rrf":
            return np.where(found_QD, 1 / (self._rrf_k + 1 + np.arange(self._depth)), 0.0)
        return _normalised(hits.scores_QK, found_QD, self._normalise)


def _normalised(scores_QD: Floats, found_QD: NDArray[np.bool_], how: str) -> Doubles:
    """Scores from 0 (the lowest of its query) on, in units of their range or deviation; 1 where they have none."""
    scores = np.where(found_QD, scores_QD, 0).astype(np.float64)
    lowest = scores.min(axis=1, initial=np.inf, where=found_QD, keepdims=True)
    above = np.where(found_QD, scores - lowest, 0)
    if how == "minmax":
        unit = above.max(axis=1, initial=0, keepdims=True)
    else:
        count = np.maximum(found_QD.sum(axis=1, keepdims=True), 1)
        mean = above.sum(axis=1, keepdims=True) / count
        unit = np.sqrt((np.where(found_QD, above - mean, 0) ** 2).sum(axis=1, keepdims=True) / count)
    alike = above.max(axis=1, initial=0, keepdims=True) == 0
    return np.where(alike, found_QD, above / np.where(alike, 1, unit))


def _fused(rows_QM: NDArray[np.int32], worth_QM: Doubles, k: int) -> Hits:
    """The k items of each query with the highest sums, from M places in which an item may appear several times."""
    order_QM = np.lexsort((worth_QM, rows_QM), axis=1)
    rows_QM = np.take_along_axis(rows_QM, order_QM, axis=1)
    worth_QM = np.take_along_axis(worth_QM, order_QM, axis=1)
    # Places of one item are neighbours now, the least first, so that equal items get equal sums to the last bit.
    sums_QM = worth_QM.copy()
    for step in range(1, rows_QM.shape[1]):
        again = rows_QM[:, step:] == rows_QM[:, :-step]
        again &= rows_QM[:, step:] >= 0
        if not again.any():
            break
        sums_QM[:, :-step] += np.where(again, worth_QM[:, step:], 0)
    first_QM = rows_QM >= 0
    first_QM[:, 1:] &= rows_QM[:, 1:] != rows_QM[:, :-1]
    return topk_of(np.where(first_QM, rows_QM, -1), sums_QM, k)
