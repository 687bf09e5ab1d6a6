"""What a measure is, and what every one of them does with its name and its cutoff."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from typing import Annotated, ClassVar, TypeAlias, get_type_hints

import numpy as np
from annotated_types import Gt, Lt, MinLen
from numpy.typing import NDArray

from retrievers.base import Catalog, Floats, Rows
from retrievers.options import Option, PositiveInt, convert, option_problems
from rewards.abilities import check_cutoff
from rewards.base import Doubles, Graded, Qrels

Ints: TypeAlias = NDArray[np.int32]
Indices: TypeAlias = NDArray[np.int_]
InnerShare: TypeAlias = Annotated[float, Gt(0), Lt(1)]
FieldName: TypeAlias = Annotated[str, MinLen(1), "the name of a catalog field"]


@dataclass(frozen=True)
class Measure(ABC):
    """A number for each of B rankings. Its fields are its settings; `name` prints those that are not the default.

    A subclass is a frozen dataclass with a `symbol`, a docstring that ends in the lines `Formula: ...` and
    `Elsewhere: ...` (the documentation prints them), a `_score`, and a place in `MEASURES`. Raises `ValueError` for a
    setting that does not fit its annotation.
    """

    cutoff: PositiveInt

    symbol: ClassVar[str]

    def __post_init__(self) -> None:
        known = _settings_of(type(self))
        given = {name: getattr(self, name) for name in known}
        for problem in option_problems(known, given):
            raise ValueError(f"{self.symbol}: {problem.path} {problem.what}")
        for name, value in convert(known, given).items():
            object.__setattr__(self, name, value)

    @property
    def name(self) -> str:
        """The name that `parse_measure` turns back into an equal measure."""
        settings = [f"{f.name}={getattr(self, f.name)}" for f in fields(self)[1:] if getattr(self, f.name) != f.default]
        return f"{self.symbol}{'(' + ','.join(settings) + ')' if settings else ''}@{self.cutoff}"

    def __str__(self) -> str:
        return self.name

    @property
    def depth(self) -> int | None:
        """How many places it reads: its cutoff, or None for all that a search returned."""
        return self.cutoff

    def __call__(self, rows_BK: Rows, qrels_B: Sequence[Qrels], catalog: Catalog | None = None) -> Floats:
        """(B,) float32: this measure of each ranking against its own answer key. Raises as `of` does."""
        return self.of(Graded.join(rows_BK[..., : self.depth], qrels_B, catalog))

    def of(self, graded: Graded) -> Floats:
        """(B,) float32 from rankings that are joined with their answer keys.

        Raises `ValueError` where K is below the cutoff, and where the answer keys or the catalog do not have what the
        measure reads.
        """
        self.check_depth(graded.grades_BK.shape[1])
        return self._score(self._seen(graded).cut(self.cutoff)).astype(np.float32)

    def check_depth(self, k: int) -> None:
        """Raises `ValueError` where `k` items per search are too few for the cutoff."""
        check_cutoff(self.name, self.cutoff, k)

    def check_data(self, catalog: Catalog, qrels: Mapping[str, Qrels]) -> None:  # noqa: B027 - most measures read grades alone
        """Raises `ValueError` where a task's catalog or answer keys do not have what the measure reads."""

    def _seen(self, graded: Graded) -> Graded:
        return graded

    @abstractmethod
    def _score(self, graded: Graded) -> Doubles:
        """(B,) float64 from rankings that are cut at the cutoff; UNJUDGED and EMPTY are below any grade."""


@dataclass(frozen=True)
class Condensable(Measure):
    """A measure that can leave out unjudged items before it cuts at k (Sakai, SIGIR 2007).

    A negative grade is then unjudged, as in trec_eval.
    """

    judged_only: Annotated[bool, "written True or False"] = False

    @property
    def depth(self) -> int | None:
        """Its cutoff; None for a condensed ranking, which is filled up from below."""
        return None if self.judged_only else self.cutoff

    def _seen(self, graded: Graded) -> Graded:
        return graded.condensed() if self.judged_only else graded


@dataclass(frozen=True)
class Binary(Measure):
    """A measure for which an item is relevant, or not: relevant is a grade of at least `rel`."""

    rel: PositiveInt = 1

    def _relevant(self, graded: Graded) -> NDArray[np.bool_]:
        return graded.grades_BK >= self.rel

    def _found(self, graded: Graded) -> Indices:
        """(B,) how many relevant items are in the first k places."""
        return np.asarray(np.count_nonzero(self._relevant(graded), axis=1))

    def _wanted(self, qrels_B: Sequence[Qrels]) -> Ints:
        """(B,) how many relevant items each need has."""
        counts = (q.positives if self.rel == 1 else np.count_nonzero(q.ideal_J >= self.rel) for q in qrels_B)
        return np.fromiter(counts, np.int32, len(qrels_B))


@cache
def _settings_of(kind: type[Measure]) -> dict[str, Option]:
    hints = get_type_hints(kind, include_extras=True)
    return {field.name: Option(hints[field.name], field.default) for field in fields(kind)}


def share(part_B: Doubles | Indices, whole_B: Doubles | Ints | Indices) -> Doubles:
    """`part_B / whole_B`, and 0 where the whole is 0."""
    return np.divide(part_B, whole_B, out=np.zeros(len(part_B)), where=whole_B > 0)


def places(found_BK: NDArray[np.bool_]) -> tuple[Indices, Indices]:
    """The list and the place (from 0) of each of the F marked items: list by list, best first.

    They are far fewer than the places, and a sum in this order gives a list the same number in any batch.
    """
    return np.divmod(np.flatnonzero(found_BK), max(1, found_BK.shape[1]))


def nth(sizes_B: Indices) -> Indices:
    """0, 1, 2 ... up to the size of each list: the places of items that are ordered list by list."""
    return np.arange(sizes_B.sum()) - np.repeat(np.cumsum(sizes_B) - sizes_B, sizes_B)
