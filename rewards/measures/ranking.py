"""The classic measures of a ranking: which relevant items were found, and how far up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from retrievers.base import Catalog
from rewards.base import Doubles, Graded, Qrels
from rewards.measures.base import Binary, Condensable, Indices, Ints, nth, places, share


@dataclass(frozen=True)
class NDCG(Condensable):
    """Gain of the ranked items, discounted by place, as a share of the gain of the best possible ranking.

    `gain=linear` is trec_eval's: an item gains its grade. `gain=exp` gains 2^grade - 1 (Burges et al., ICML 2005).
    `gain=task` gains what the task's `gains` say. The best ranking is made from all judgements of
    the need, not from those found, and is cut at k as well (Jarvelin and Kekalainen, TOIS 2002).

    Formula: sum over places i <= k of gain(i) / log2(i + 1), divided by the same sum for the best ranking
    Elsewhere: trec_eval ndcg_cut_k (for linear gain)
    """

    symbol: ClassVar[str] = "nDCG"

    gain: Literal["linear", "exp", "task"] = "linear"

    def check_data(self, catalog: Catalog, qrels: Mapping[str, Qrels]) -> None:
        """Raises `ValueError` for `gain=task` where the task has no gains."""
        if self.gain == "task":
            for key in qrels.values():
                self._worth(key)

    def _score(self, graded: Graded) -> Doubles:
        qrels_B, lists = graded.qrels_B, len(graded.qrels_B)
        list_F, place_F = places(graded.grades_BK > 0)
        found_F = self._gains(graded.grades_BK[list_F, place_F], list_F, qrels_B)
        best_B = [qrels.ideal_J for qrels in qrels_B]
        sizes_B = np.fromiter(map(len, best_B), np.intp, lists)
        list_J = np.repeat(np.arange(lists), sizes_B)
        best_J = np.concatenate([*best_B, np.empty(0, np.int32)])  # for B = 0, there must be something to concatenate
        gains_J = self._gains(best_J, list_J, qrels_B)
        if self.gain == "task":  # a higher grade may be worth less
            gains_J = gains_J[np.lexsort((-gains_J, list_J))]
        place_J = nth(sizes_B)
        top_J = place_J < self.cutoff
        ideal_B = self._discounted(gains_J[top_J], list_J[top_J], place_J[top_J], lists)
        return share(self._discounted(found_F, list_F, place_F, lists), ideal_B)

    def _gains(self, grades_F: Ints, list_F: Indices, qrels_B: Sequence[Qrels]) -> Doubles:
        if self.gain == "task":
            worth_B = [self._worth(qrels) for qrels in qrels_B]
            paid = (worth_B[b][grade] for b, grade in zip(list_F.tolist(), grades_F.tolist(), strict=True))
            return np.fromiter(paid, np.float64, len(grades_F))
        gains_F = grades_F.astype(np.float64)
        if self.gain == "exp":
            if gains_F.max(initial=0) > 1000:  # beyond that, 2^grade leaves the range of a double
                raise ValueError(f"{self.name}: a grade of {gains_F.max():.0f} is too large; use nDCG@{self.cutoff}")
            gains_F = np.exp2(gains_F) - 1
        return gains_F

    def _worth(self, qrels: Qrels) -> Mapping[int, float]:
        if qrels.gains is None:
            raise ValueError(
                f"{self.name}: this task does not say what a grade is worth; give it gains, such as "
                f"{{3: 1.0, 2: 0.1, 1: 0.01}}, or use nDCG@{self.cutoff}"
            )
        return qrels.gains

    def _discounted(self, gains_F: Doubles, list_F: Indices, place_F: Indices, lists: int) -> Doubles:
        discounts_K = 1 / np.log2(np.arange(2, self.cutoff + 2))
        return np.asarray(np.bincount(list_F, weights=gains_F * discounts_K[place_F], minlength=lists), np.float64)


@dataclass(frozen=True)
class Recall(Binary, Condensable):
    """Share of the relevant items that are in the first k places.

    Whether any of them is there is Success@k, which some recommender papers call recall.

    Formula: relevant items in the first k places / relevant items of the need
    Elsewhere: trec_eval recall_k
    """

    symbol: ClassVar[str] = "R"

    def _score(self, graded: Graded) -> Doubles:
        return share(self._found(graded), self._wanted(graded.qrels_B))


@dataclass(frozen=True)
class ReciprocalRank(Binary, Condensable):
    """One over the place of the first relevant item; 0 where none is in the first k places.

    Formula: 1 / place of the first relevant item
    Elsewhere: trec_eval recip_rank of a run cut at k
    """

    symbol: ClassVar[str] = "RR"

    def _score(self, graded: Graded) -> Doubles:
        relevant_BK = self._relevant(graded)
        return np.asarray(relevant_BK.any(axis=1) / (1 + relevant_BK.argmax(axis=1)), np.float64)


@dataclass(frozen=True)
class AveragePrecision(Binary, Condensable):
    """Precision at the place of each relevant item found, averaged over all relevant items of the need.

    Those not found in the first k places add 0, also where the need has more than k of them.

    Formula: sum over relevant places i <= k of P@i, divided by the relevant items of the need
    Elsewhere: trec_eval map_cut_k
    """

    symbol: ClassVar[str] = "AP"

    def _score(self, graded: Graded) -> Doubles:
        list_F, place_F = places(self._relevant(graded))
        found_B = np.bincount(list_F, minlength=len(graded.qrels_B))
        precisions_F = (1 + nth(found_B)) / (1 + place_F)
        precision_B = np.bincount(list_F, weights=precisions_F, minlength=len(graded.qrels_B))
        return share(precision_B, self._wanted(graded.qrels_B))


@dataclass(frozen=True)
class Precision(Binary, Condensable):
    """Share of the first k places that hold a relevant item.

    Formula: relevant items in the first k places / k
    Elsewhere: trec_eval P_k
    """

    symbol: ClassVar[str] = "P"

    def _score(self, graded: Graded) -> Doubles:
        return self._found(graded) / self.cutoff


@dataclass(frozen=True)
class Success(Binary, Condensable):
    """1 where any relevant item is in the first k places, else 0 (hit rate).

    Formula: 1 if there is a relevant item in the first k places, else 0
    Elsewhere: trec_eval success_k
    """

    symbol: ClassVar[str] = "Success"

    def _score(self, graded: Graded) -> Doubles:
        return (self._found(graded) > 0).astype(np.float64)
