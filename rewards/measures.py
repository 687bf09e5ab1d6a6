"""Measures of a ranking: a number between 0 and 1 with a name, `nDCG@10`, that is its identity everywhere.

Every setting stands in the name, and the cutoff always does. The definitions are trec_eval's, and these hold for all:

- An item is relevant when its grade is at least `rel` (1 unless the name says otherwise).
- An item that nobody judged counts as grade 0, and so does a negative grade: neither relevant nor a gain or a loss.
- A need without any relevant item measures 0. Tasks refuse or leave out such needs, so that no mean is diluted by them.
- A ranking with fewer items than the cutoff is measured as it stands; the places without an item are not relevant. P@k
  still divides by k.
- A ranking that was not searched down to the cutoff is refused: nDCG@100 of ten items would be nDCG@10 by a false name.
- Equal scores are in an order already (the lower catalog row first): a measure reads places and never scores.
- Each item is judged once (loaders merge repeated judgements) and ranked once (retrievers promise it).
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from difflib import get_close_matches
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from retrievers.base import Floats, Rows
from rewards.base import Graded, Qrels

Ints = NDArray[np.int32]
Indices = NDArray[np.int_]
Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class Measure(ABC):
    """A number for each of B rankings. Its fields are its settings; `name` prints those that are not at their default.

    A subclass is a frozen dataclass with a `symbol`, a docstring that ends in the lines `Formula: ...` and
    `trec_eval: ...` (the documentation prints them), a `_score`, and a place in `MEASURES`.
    """

    cutoff: int

    symbol: ClassVar[str]

    def __post_init__(self) -> None:
        if not isinstance(self.cutoff, int) or self.cutoff < 1:
            raise ValueError(f"{self.symbol}@{self.cutoff}: the cutoff must be a whole number of at least 1")

    @property
    def name(self) -> str:
        """The name that `parse_measure` turns back into an equal measure."""
        settings = [f"{f.name}={getattr(self, f.name)}" for f in fields(self)[1:] if getattr(self, f.name) != f.default]
        return f"{self.symbol}{'(' + ','.join(settings) + ')' if settings else ''}@{self.cutoff}"

    def __str__(self) -> str:
        return self.name

    def __call__(self, rows_BK: Rows, qrels_B: Sequence[Qrels]) -> Floats:
        """(B,) float32: this measure of each ranking against its own answer key. Raises as `of` does."""
        return self.of(Graded.join(rows_BK[..., : self.cutoff], qrels_B))

    def of(self, graded: Graded) -> Floats:
        """(B,) float32 from rankings that are joined already; raises `ValueError` where K is below the cutoff."""
        self.check_depth(graded.grades_BK.shape[1])
        return self._score(graded.grades_BK[:, : self.cutoff], graded.qrels_B).astype(np.float32)

    def check_depth(self, k: int) -> None:
        """Raises `ValueError` where `k` items per search are too few for the cutoff."""
        if k < self.cutoff:
            raise ValueError(f"{self.name} needs k >= {self.cutoff}, and k is {k}: search deeper or measure less deep")

    @abstractmethod
    def _score(self, grades_BK: Ints, qrels_B: Sequence[Qrels]) -> Doubles:
        """(B,) float64 from grades that are cut at the cutoff; UNJUDGED is below any grade."""


@dataclass(frozen=True)
class NDCG(Measure):
    """Gain of the ranked items, less the lower they stand, as a share of what the best possible ranking gains.

    `gain=linear` is trec_eval's: an item gains its grade. `gain=exp` gains 2^grade - 1 (Burges et al., ICML 2005). The
    best ranking is made from all judgements of the need, not from those found, and is cut at k as well (Jarvelin and
    Kekalainen, TOIS 2002).

    Formula: sum over places i <= k of gain(i) / log2(i + 1), divided by the same sum for the best ranking
    trec_eval: ndcg_cut_k (for linear gain)
    """

    symbol: ClassVar[str] = "nDCG"

    gain: Literal["linear", "exp"] = "linear"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.gain not in ("linear", "exp"):
            raise ValueError(f"nDCG: gain must be linear or exp, not {self.gain!r}")

    def _score(self, grades_BK: Ints, qrels_B: Sequence[Qrels]) -> Doubles:
        list_F, place_F = _places(grades_BK > 0)
        found_B = self._discounted(grades_BK[list_F, place_F], list_F, place_F, len(qrels_B))
        best_B = [qrels.ideal_J[: self.cutoff] for qrels in qrels_B]
        sizes_B = np.fromiter(map(len, best_B), np.intp, len(best_B))
        list_J = np.repeat(np.arange(len(best_B)), sizes_B)
        best_J = np.concatenate([*best_B, np.empty(0, np.int32)])  # for B = 0, there must be something to concatenate
        ideal_B = self._discounted(best_J, list_J, _nth(sizes_B), len(qrels_B))
        return _share(found_B, ideal_B)

    def _discounted(self, grades_F: Ints, list_F: Indices, place_F: Indices, lists: int) -> Doubles:
        gains_F = grades_F.astype(np.float64)
        if self.gain == "exp":
            if gains_F.max(initial=0) > 1000:  # beyond that, 2^grade leaves the range of a double
                raise ValueError(f"{self.name}: a grade of {gains_F.max():.0f} is too large; use nDCG@{self.cutoff}")
            gains_F = np.exp2(gains_F) - 1
        discounts_K = 1 / np.log2(np.arange(2, self.cutoff + 2))
        return np.asarray(np.bincount(list_F, weights=gains_F * discounts_K[place_F], minlength=lists), np.float64)


@dataclass(frozen=True)
class Binary(Measure):
    """A measure that asks of an item only whether it is relevant: whether its grade is at least `rel`."""

    rel: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.rel, int) or self.rel < 1:
            raise ValueError(f"{self.symbol}: rel must be a whole number of at least 1, not {self.rel!r}")

    def _relevant(self, grades_BK: Ints) -> NDArray[np.bool_]:
        return grades_BK >= self.rel

    def _found(self, grades_BK: Ints) -> Indices:
        """(B,) how many relevant items stand in the first k places."""
        return np.asarray(np.count_nonzero(self._relevant(grades_BK), axis=1))

    def _wanted(self, qrels_B: Sequence[Qrels]) -> Ints:
        """(B,) how many relevant items each need has."""
        counts = (q.positives if self.rel == 1 else np.count_nonzero(q.ideal_J >= self.rel) for q in qrels_B)
        return np.fromiter(counts, np.int32, len(qrels_B))


@dataclass(frozen=True)
class Recall(Binary):
    """Share of the relevant items that stand in the first k places.

    Whether any of them does is Success@k, which some recommender papers call recall.

    Formula: relevant items in the first k places / relevant items of the need
    trec_eval: recall_k
    """

    symbol: ClassVar[str] = "R"

    def _score(self, grades_BK: Ints, qrels_B: Sequence[Qrels]) -> Doubles:
        return _share(self._found(grades_BK), self._wanted(qrels_B))


@dataclass(frozen=True)
class ReciprocalRank(Binary):
    """One over the place of the first relevant item; 0 where none stands in the first k places.

    Formula: 1 / place of the first relevant item
    trec_eval: recip_rank of a run cut at k
    """

    symbol: ClassVar[str] = "RR"

    def _score(self, grades_BK: Ints, qrels_B: Sequence[Qrels]) -> Doubles:
        relevant_BK = self._relevant(grades_BK)
        return np.asarray(relevant_BK.any(axis=1) / (1 + relevant_BK.argmax(axis=1)), np.float64)


@dataclass(frozen=True)
class AveragePrecision(Binary):
    """Precision at the place of each relevant item found, averaged over all relevant items of the need.

    Those not found in the first k places add 0, also where the need has more than k of them.

    Formula: sum over relevant places i <= k of P@i, divided by the relevant items of the need
    trec_eval: map_cut_k
    """

    symbol: ClassVar[str] = "AP"

    def _score(self, grades_BK: Ints, qrels_B: Sequence[Qrels]) -> Doubles:
        list_F, place_F = _places(self._relevant(grades_BK))
        found_B = np.bincount(list_F, minlength=len(grades_BK))
        precisions_F = (1 + _nth(found_B)) / (1 + place_F)
        precision_B = np.bincount(list_F, weights=precisions_F, minlength=len(grades_BK))
        return _share(precision_B, self._wanted(qrels_B))


@dataclass(frozen=True)
class Precision(Binary):
    """Share of the first k places that hold a relevant item.

    Formula: relevant items in the first k places / k
    trec_eval: P_k
    """

    symbol: ClassVar[str] = "P"

    def _score(self, grades_BK: Ints, qrels_B: Sequence[Qrels]) -> Doubles:
        return self._found(grades_BK) / self.cutoff


@dataclass(frozen=True)
class Success(Binary):
    """1 where any relevant item stands in the first k places, else 0 (hit rate).

    Formula: 1 if there is a relevant item in the first k places, else 0
    trec_eval: success_k
    """

    symbol: ClassVar[str] = "Success"

    def _score(self, grades_BK: Ints, qrels_B: Sequence[Qrels]) -> Doubles:
        return (self._found(grades_BK) > 0).astype(np.float64)


MEASURES: Mapping[str, type[Measure]] = {
    m.symbol: m for m in (NDCG, Recall, ReciprocalRank, AveragePrecision, Precision, Success)
}
"""Measures by their symbol, in the order of the documentation."""

_OTHER_NAMES = {
    "nDCG(gain=exp)": ("ndcgexp", "expndcg", "ndcgburges"),
    "nDCG": ("ndcgcut", "ndcgat", "dcg"),
    "R": ("recall", "recallat"),
    "RR": ("mrr", "reciprank", "reciprocalrank"),
    "AP": ("map", "mapcut", "averageprecision"),
    "P": ("precision", "precisionat"),
    "Success": ("hit", "hits", "hr", "hitrate", "hitratio"),
}
"""What other tools call them, lower case and letters only: for "did you mean" alone."""


def parse_measure(name: str) -> Measure:
    """The measure of a name such as nDCG@10, nDCG(gain=exp)@10 or R(rel=2)@100.

    Raises `ValueError` for any other spelling, with the nearest right one and all that there are.
    """
    match = re.fullmatch(r"([A-Za-z]+)(?:\(([^()]*)\))?@([1-9][0-9]*)", name)
    kind = MEASURES.get(match[1]) if match else None
    if match is None or kind is None:
        known = f"The measures are {'@k, '.join(MEASURES)}@k, for any whole k >= 1"
        raise ValueError(f"no measure {name!r}{_suggestion(name)} {known}; as in nDCG(gain=exp)@10 or R(rel=2)@10")
    return kind(int(match[3]), **_settings(kind, match[2]))


def measure_all(measures: Iterable[Measure], rows_BK: Rows, qrels_B: Sequence[Qrels]) -> dict[str, Floats]:
    """Each measure's name with its (B,) numbers; the rankings are joined with their answer keys once for all."""
    measures = list(measures)
    depth = max((m.cutoff for m in measures), default=0)
    graded = Graded.join(rows_BK[:, :depth], qrels_B)
    return {m.name: m.of(graded) for m in measures}


def _settings(kind: type[Measure], text: str | None) -> dict[str, int | str]:
    settings, known = dict[str, int | str](), [field.name for field in fields(kind)[1:]]
    for part in text.split(",") if text is not None else ():
        option, _, value = (side.strip() for side in part.partition("="))
        if option not in known or option in settings:
            problem = "is given twice" if option in settings else f"is unknown; it has: {', '.join(known)}"
            raise ValueError(f"{kind.symbol}({text}): setting {option!r} {problem}")
        settings[option] = int(value) if re.fullmatch("[0-9]+", value) else value
    return settings


def _suggestion(name: str) -> str:
    spellings = {"".join(re.findall("[a-z]", s.lower())): s for s in MEASURES}
    spellings |= {other: symbol for symbol, others in _OTHER_NAMES.items() for other in others}
    head, brackets, digits = re.match(r"([^(@0-9]*)(\([^()]*\))?[^0-9]*([0-9]*)", name).groups("")  # type: ignore[union-attr]
    near = get_close_matches("".join(re.findall("[a-z]", head.lower())), spellings, n=1, cutoff=0.7)
    if not near:
        return "."
    symbol, cutoff = spellings[near[0]], int(digits or 0)
    why = "" if cutoff else " A cutoff of at least 1 is part of the name."
    return f"; did you mean '{symbol}{'' if symbol.endswith(')') else brackets}@{cutoff or 10}'?{why}"


def _share(part_B: Doubles | Indices, whole_B: Doubles | Ints) -> Doubles:
    """`part_B / whole_B`, and 0 where there is nothing to have a share of."""
    return np.divide(part_B, whole_B, out=np.zeros(len(part_B)), where=whole_B > 0)


def _places(found_BK: NDArray[np.bool_]) -> tuple[Indices, Indices]:
    """The list and the place (from 0) of each of the F items that are marked: list by list, best first.

    They are far fewer than the places, and summing them in this order gives a list the same number in any batch.
    """
    return np.divmod(np.flatnonzero(found_BK), max(1, found_BK.shape[1]))


def _nth(sizes_B: Indices) -> Indices:
    """0, 1, 2 ... for each list in turn, as many as its size: the places of items that stand list by list."""
    return np.arange(sizes_B.sum()) - np.repeat(np.cumsum(sizes_B) - sizes_B, sizes_B)
