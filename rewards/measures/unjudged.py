"""Measures for incomplete answer keys: how much of a ranking was judged, and what can be said nevertheless."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from rewards.base import EMPTY, UNJUDGED, Doubles, Graded
from rewards.measures.base import Binary, InnerShare, Measure, places, share


@dataclass(frozen=True)
class Judged(Measure):
    """Share of the items in the first k places that were judged, whatever the grade.

    It says nothing about quality: where it is low, the other measures of the need know little.

    Formula: judged items in the first k places / items in the first k places
    Elsewhere: ir_measures Judged@k
    """

    symbol: ClassVar[str] = "Judged"

    def _score(self, graded: Graded) -> Doubles:
        judged_B = np.count_nonzero(graded.grades_BK > UNJUDGED, axis=1)
        return share(judged_B, np.count_nonzero(graded.grades_BK != EMPTY, axis=1))


@dataclass(frozen=True)
class Bpref(Binary):
    """How seldom items judged irrelevant are above those judged relevant; unjudged items do not count.

    An item with a negative grade counts as not judged. Relevant items that were not found add 0
    (Buckley and Voorhees, SIGIR 2004).

    Formula: sum over the R relevant items r found in the first k places of 1 - min(irrelevant items above r, R) / min(R, irrelevant items of the need), divided by R
    Elsewhere: trec_eval bpref of a run cut at k
    """  # noqa: E501 - the documentation prints the formula as one line

    symbol: ClassVar[str] = "Bpref"

    def _score(self, graded: Graded) -> Doubles:
        grades_BK = graded.grades_BK
        wanted_B = self._wanted(graded.qrels_B)
        counts = (np.count_nonzero((q.grades_J >= 0) & (q.grades_J < self.rel)) for q in graded.qrels_B)
        bound_B = np.minimum(np.fromiter(counts, np.intp, len(wanted_B)), wanted_B)
        above_BK = np.cumsum((grades_BK >= 0) & (grades_BK < self.rel), axis=1)
        list_F, place_F = places(self._relevant(graded))
        above_F = np.minimum(above_BK[list_F, place_F], wanted_B[list_F])
        paid_F = 1 - share(above_F, bound_B[list_F])
        return share(np.bincount(list_F, weights=paid_F, minlength=len(wanted_B)), wanted_B)


@dataclass(frozen=True)
class RBP(Binary):
    """Rank-biased precision: what a shopper sees who continues to the next place with probability p.

    It needs no count of all relevant items, so unjudged items can only add to it: at most RBPResidual@k (Moffat and
    Zobel, TOIS 2008). A ranking of k relevant items measures 1 - p^k; the rest is below place k.

    Formula: (1 - p) times the sum over relevant places i <= k of p^(i - 1)
    Elsewhere: ir_measures RBP(rel=1) of a run cut at k
    """

    symbol: ClassVar[str] = "RBP"

    p: InnerShare = 0.8

    def _score(self, graded: Graded) -> Doubles:
        list_F, place_F = places(self._relevant(graded))
        seen_B = np.bincount(list_F, weights=self.p**place_F, minlength=len(graded.qrels_B))
        return np.asarray((1 - self.p) * seen_B, np.float64)


@dataclass(frozen=True)
class RBPResidual(Measure):
    """How much RBP@k could rise if everything unknown were relevant: RBP is between RBP@k and RBP@k plus this.

    Unknown are unjudged items, and all below place k of a ranking that is longer. A shorter ranking is known to its
    end. As a reward beside `RBP@k`, a weight w from 0 to 1 pays unjudged items as if they were relevant with
    probability w.

    Formula: (1 - p) times the sum over unjudged places i <= k of p^(i - 1), plus p^k where place k holds an item
    Elsewhere: cwl_eval, residual of RBP
    """

    symbol: ClassVar[str] = "RBPResidual"

    p: InnerShare = 0.8

    def _score(self, graded: Graded) -> Doubles:
        list_F, place_F = places(graded.grades_BK == UNJUDGED)
        open_B = np.bincount(list_F, weights=self.p**place_F, minlength=len(graded.qrels_B))
        below_B = np.where(graded.grades_BK[:, -1] != EMPTY, self.p**self.cutoff, 0.0)
        return np.asarray((1 - self.p) * open_B + below_B, np.float64)
