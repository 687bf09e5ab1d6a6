"""Measures of how many kinds of things a ranking shows; the kinds are the values of a catalog field."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from retrievers.base import Catalog
from retrievers.options import Share
from rewards.base import Doubles, Graded, Qrels
from rewards.fields import Labels, labels
from rewards.measures.base import Binary, FieldName, Measure, share


@dataclass(frozen=True)
class Labelled(Measure):
    """A measure that reads the kinds of items from a field of the catalog."""

    field: FieldName = "category"

    def check_data(self, catalog: Catalog, qrels: Mapping[str, Qrels]) -> None:
        """Raises `ValueError` where the catalog has no such field."""
        labels(catalog, self.field, self.name)

    def _labels(self, graded: Graded) -> Labels:
        return labels(graded.catalog, self.field, self.name)


@dataclass(frozen=True)
class AlphaNDCG(Labelled, Binary):
    """nDCG that pays less for each further relevant item of the same kind, as a share of the best ranking's.

    A kind that was seen n times before in the ranking pays (1 - alpha)^n. Only relevant items pay, and those without
    a kind do not. The best ranking is found greedily, from all relevant items of the need (Clarke et al., SIGIR 2008); of
    items that would pay the same, it takes the lower catalog row, ndeval the last id.

    Formula: sum over places i <= k of (sum over the kinds of a relevant item of (1 - alpha)^(times seen above)) / log2(i + 1), divided by the same sum for the best ranking
    Elsewhere: ndeval alpha-nDCG@k, with the kinds of relevant items as subtopics
    """  # noqa: E501 - the documentation prints the formula as one line

    symbol: ClassVar[str] = "alpha_nDCG"

    alpha: Share = 0.5

    def _score(self, graded: Graded) -> Doubles:
        kinds = self._labels(graded).of_N
        relevant_BK = self._relevant(graded)
        found_B, ideal_B = np.zeros(len(relevant_BK)), np.zeros(len(relevant_BK))
        best: dict[int, float] = {}
        for b, (relevant_K, rows_K, key) in enumerate(zip(relevant_BK, graded.rows_BK, graded.qrels_B, strict=True)):
            if id(key) not in best:  # all rollouts of a need share its key
                best[id(key)] = self._ideal([kinds[row] for row in key.rows_J[key.grades_J >= self.rel]])
            seen = Counter[int]()
            for place in np.flatnonzero(relevant_K).tolist():
                of_item = kinds[rows_K[place]]
                found_B[b] += self._gain(of_item, seen) / np.log2(place + 2)
                seen.update(of_item)
            ideal_B[b] = best[id(key)]
        return share(found_B, ideal_B)

    def _gain(self, of_item: Sequence[int], seen: Counter[int]) -> float:
        return sum((1 - self.alpha) ** seen[kind] for kind in of_item)

    def _ideal(self, wanted: Sequence[Sequence[int]]) -> float:
        seen, left, total = Counter[int](), list(wanted), 0.0
        for place in range(min(self.cutoff, len(left))):
            gains = [self._gain(of_item, seen) for of_item in left]
            top = gains.index(max(gains))
            total += gains[top] / np.log2(place + 2)
            seen.update(left.pop(top))
        return float(total)


@dataclass(frozen=True)
class SubtopicRecall(Labelled, Binary):
    """Share of the kinds among the need's relevant items that a relevant item in the first k places has.

    Formula: different kinds of relevant items in the first k places / different kinds of relevant items of the need
    Elsewhere: ndeval strec@k, with the kinds of relevant items as subtopics (Zhai et al., SIGIR 2003)
    """

    symbol: ClassVar[str] = "StRecall"

    def _score(self, graded: Graded) -> Doubles:
        kinds, relevant_BK = self._labels(graded).of_N, self._relevant(graded)
        found_B, wanted_B = np.zeros(len(relevant_BK)), np.zeros(len(relevant_BK))
        for b, (relevant_K, rows_K, key) in enumerate(zip(relevant_BK, graded.rows_BK, graded.qrels_B, strict=True)):
            found_B[b] = len({kind for row in rows_K[relevant_K] for kind in kinds[row]})
            wanted_B[b] = len({kind for row in key.rows_J[key.grades_J >= self.rel] for kind in kinds[row]})
        return share(found_B, wanted_B)


@dataclass(frozen=True)
class Categories(Labelled):
    """How many kinds of items the first k places show, whether relevant or not, as a share of what k places could.

    Formula: different kinds in the first k places / min(k, kinds in the catalog); at most 1
    Elsewhere: category coverage
    """

    symbol: ClassVar[str] = "Categories"

    def _score(self, graded: Graded) -> Doubles:
        known = self._labels(graded)
        shown = [len({kind for row in rows_K[rows_K >= 0] for kind in known.of_N[row]}) for rows_K in graded.rows_BK]
        most = min(self.cutoff, known.different)
        return np.minimum(share(np.array(shown, np.float64), np.full(len(shown), most)), 1.0)


@dataclass(frozen=True)
class Entropy(Labelled):
    """How evenly the first k places are spread over kinds, whether relevant or not: 0 for one kind, 1 for the most even.

    Formula: entropy of the kinds in the first k places, divided by log(min(k, kinds in the catalog)); 0 where that is 0
    Elsewhere: normalised Shannon entropy of categories
    """  # noqa: E501 - the documentation prints the first line as one cell

    symbol: ClassVar[str] = "Entropy"

    def _score(self, graded: Graded) -> Doubles:
        known = self._labels(graded)
        entropy_B = np.array(
            [_entropy(Counter(k for row in rows_K[rows_K >= 0] for k in known.of_N[row])) for rows_K in graded.rows_BK]
        )
        most = np.log(max(1, min(self.cutoff, known.different)))
        return np.minimum(share(entropy_B, np.full(len(graded.rows_BK), most)), 1.0)


def _entropy(counts: Counter[int]) -> float:
    shares = np.fromiter(counts.values(), np.float64, len(counts)) / max(1, counts.total())
    return float(-(shares * np.log(shares)).sum())
