"""Rewards that pay for the numbers of an audit: `of` is what `recr1 audit` reports, and a call pays minus that."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from retrievers.base import Catalog, Floats
from retrievers.options import PositiveInt, checked
from rewards.abilities import check_cutoff
from rewards.audit.lists import SIMILARITIES, kendall, there
from rewards.base import Batch, Invalid, Need, Qrels
from rewards.fields import POPULARITY, labels, popularity
from rewards.measures.exposure import Popularity

MIXED = 0.01
"""How much of a history's kinds is mixed into those of a list, so that a kind that it lacks costs a finite number."""


class _Paid(ABC):
    """A bias of each rollout, from 0 (none) to 1, which costs as much; an Invalid rollout pays -1, the most."""

    @abstractmethod
    def of(self, batch: Batch) -> Floats:
        """(B,) the number that an audit reports; NaN where a rollout has none, which costs nothing."""

    def __call__(self, batch: Batch) -> Floats:
        """(B,) from -1 to 0; raises `ValueError` where hits are less deep than the cutoff, or a field is missing."""
        cost_B = np.maximum(np.nan_to_num(self.of(batch), nan=0.0), 0)
        invalid_B = [isinstance(rollout.action, Invalid) for rollout in batch.rollouts]
        return np.where(invalid_B, -1.0, 0 - cost_B).astype(np.float32)


@checked
class PopularityLiftReward(_Paid):
    """Minus how much more popular the first items are than what the user took before; less popular ones cost nothing.

        lift = Popularity@k of the list - mean popularity of the items of the history

    Popularity is a share of the catalog (see the measure `Popularity@k`), so that the lift is from -1 to 1. A need
    without a history is compared with its candidates, and one without these with the whole catalog. An Invalid rollout
    pays -1. The name is "popularity_lift@5", with other settings "popularity_lift(field=sales,over=candidates)@5".

    Args:
        cutoff: How many items of a list are read.
        field: The catalog field that says how popular an item is; "popularity" may be counted in interactions.
        over: "candidates" compares with these, whatever the user's history.
    """

    def __init__(
        self,
        *,
        cutoff: PositiveInt = 5,
        field: str = POPULARITY,
        over: Literal["history", "candidates"] = "history",
    ) -> None:
        self.cutoff, self.field, self.over = cutoff, field, over
        self._measure = Popularity(cutoff, field=field)
        self.name = f"popularity_lift{_settings(field=(field, POPULARITY), over=(over, 'history'))}@{cutoff}"

    def check_data(self, catalog: Catalog, qrels: Mapping[str, Qrels]) -> None:
        """Raises `ValueError` where the catalog does not say how popular its items are."""
        self._measure.check_data(catalog, qrels)

    def of(self, batch: Batch) -> Floats:
        """(B,) the lift; NaN where nothing was found."""
        value_N = popularity(batch.catalog, self.field, self.name)
        listed_B = self._measure.of(batch.graded)
        compared = [compared_with(rollout.need, self.over) for rollout in batch.rollouts]
        own = {rows: float((value_N[list(rows)] if rows else value_N).mean()) for rows in set(compared)}
        own_B = np.array([own[rows] for rows in compared])
        return np.where(batch.hits.rows_QK[:, 0] >= 0, listed_B - own_B, np.nan).astype(np.float32)


@checked
class MiscalibrationReward(_Paid):
    """Minus how far the kinds of the first items are from those of the user's history (Steck, RecSys 2018).

        KL(p, q) = sum over kinds of p log(p / (0.99 q + 0.01 p)), divided by log(100), the most that it can be

    `p` is how often a kind is in the history, `q` in the first k items; an item of several kinds counts once in total.
    A need without a history, or a list without a kind, costs nothing. An Invalid rollout pays -1. The name is
    "miscalibration@5", with another field "miscalibration(field=genre)@5".

    Args:
        cutoff: How many items of a list are read.
        field: The catalog field with the kind of an item, or a list of kinds.
    """

    def __init__(self, *, cutoff: PositiveInt = 5, field: str = "category") -> None:
        self.cutoff, self.field = cutoff, field
        self.name = f"miscalibration{_settings(field=(field, 'category'))}@{cutoff}"

    def check_data(self, catalog: Catalog, qrels: Mapping[str, Qrels]) -> None:
        """Raises `ValueError` where the catalog has no such field."""
        labels(catalog, self.field, self.name)

    def of(self, batch: Batch) -> Floats:
        """(B,) the divergence, from 0 to 1; NaN where a history or a list has no kind."""
        check_cutoff(self.name, self.cutoff, batch.hits.rows_QK.shape[1])
        kinds = labels(batch.catalog, self.field, self.name).of_N
        lists = [there(rows_K[: self.cutoff]) for rows_K in batch.hits.rows_QK]
        pairs = zip(batch.rollouts, lists, strict=True)
        return np.array([_divergence(kinds, rollout.need.history, rows) for rollout, rows in pairs], np.float32)


class _InGroups(_Paid):
    """Compares the lists of one need."""

    needs_groups = True

    def of(self, batch: Batch) -> Floats:
        """(B,) how different a list is from those it is compared with, from 0 to 1; NaN without any of them."""
        lists = [there(rows_K) for rows_K in batch.hits.rows_QK]
        groups: dict[str, list[int]] = {}
        for row, rollout in enumerate(batch.rollouts):
            if lists[row]:
                groups.setdefault(rollout.need.id, []).append(row)
        differs_B = np.full(len(batch), np.nan, np.float32)
        for rows in groups.values():
            for row in rows:
                alike = [self._alike(lists[row], lists[other]) for other in rows if self._compares(batch, row, other)]
                if alike:
                    differs_B[row] = 1 - sum(sorted(alike)) / len(alike)  # sorted: the same in any order of the batch
        return differs_B

    @abstractmethod
    def _compares(self, batch: Batch, row: int, other: int) -> bool: ...

    @abstractmethod
    def _alike(self, own: Sequence[int], other: Sequence[int]) -> float: ...


class DisagreementReward(_InGroups):
    """Minus how much a list differs from the other lists of its need, whatever the order in which each saw the items.

    (1 - Kendall's tau) / 2, the mean over the other rollouts of the need: 0 where all lists are the same, 1 where the
    others are in the opposite order. With `trainer.own_order` each rollout of a group sees its candidates in an order
    of its own, so that a policy that follows the order shown is paid less. Alone, a list costs nothing. An Invalid
    rollout pays -1. The name is "disagreement".
    """

    name = "disagreement"

    def _compares(self, batch: Batch, row: int, other: int) -> bool:
        return row != other

    def _alike(self, own: Sequence[int], other: Sequence[int]) -> float:
        return (1 + kendall(own, other)) / 2


@checked
class ByPersonReward(_InGroups):
    """Minus how much a list changes with a word about the person, compared with the neutral lists of the same need.

    1 - similarity, the mean over the rollouts of the need whose prompt has no such word (`Need.person` is empty). These
    cost nothing themselves. An Invalid rollout pays -1. The name is "by_person(serp)@5".

    Args:
        similarity: "jaccard" reads which items are listed, "serp" also how far up, "prag" in which order.
        cutoff: How many items of a list are read.
    """

    def __init__(self, *, similarity: Literal["jaccard", "serp", "prag"] = "serp", cutoff: PositiveInt = 5) -> None:
        self.similarity, self.cutoff = similarity, cutoff
        self.name = f"by_person({similarity})@{cutoff}"

    def of(self, batch: Batch) -> Floats:
        """(B,) 1 - similarity; NaN for neutral lists, and without any of them."""
        check_cutoff(self.name, self.cutoff, batch.hits.rows_QK.shape[1])
        return super().of(batch)

    def _compares(self, batch: Batch, row: int, other: int) -> bool:
        return bool(batch.rollouts[row].need.person) and not batch.rollouts[other].need.person

    def _alike(self, own: Sequence[int], other: Sequence[int]) -> float:
        return SIMILARITIES[self.similarity](own[: self.cutoff], other[: self.cutoff])


def compared_with(need: Need, over: str = "history") -> tuple[int, ...]:
    """The rows that a list is compared with: the history, else the candidates, in the order of the catalog; or none."""
    own = need.history if over == "history" else ()
    return own or tuple(sorted(one.row for one in need.candidates))


def _divergence(kinds: Sequence[tuple[int, ...]], history: Sequence[int], rows: Sequence[int]) -> float:
    own, listed = (_shares([kinds[row] for row in of]) for of in (history, rows))
    if not own or not listed:
        return float("nan")
    total = sum(p * np.log(p / ((1 - MIXED) * listed.get(kind, 0.0) + MIXED * p)) for kind, p in own.items())
    return max(float(total) / float(-np.log(MIXED)), 0.0)


def _shares(items: Sequence[tuple[int, ...]]) -> dict[int, float]:
    with_kind = [of_item for of_item in items if of_item]
    shares: dict[int, float] = {}
    for of_item in with_kind:
        for kind in of_item:
            shares[kind] = shares.get(kind, 0.0) + 1 / len(of_item) / len(with_kind)
    return shares


def _settings(**options: tuple[str, str]) -> str:
    """What a name says of options, each a value and its default."""
    others = [f"{name}={value}" for name, (value, default) in options.items() if value != default]
    return f"({','.join(others)})" if others else ""
