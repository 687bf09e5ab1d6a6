"""Rewards about the shop: what a ranking is worth to it, and needs that are not all sent to the same items."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import numpy as np
from annotated_types import MinLen
from numpy.typing import NDArray

from retrievers.base import Catalog, Floats
from retrievers.options import NonNegativeFloat, PositiveInt, checked
from rewards.abilities import check_cutoff
from rewards.base import Batch, Doubles, Qrels
from rewards.fields import mean_above_zero, numbers


@checked
class WorthReward:
    """The discounted worth of the relevant items in the first places, as a share of that of the best ranking.

    nDCG (Jarvelin and Kekalainen, TOIS 2002) with the gains of a shop, from 0 to 1:

        gain(item) = stock(item) * max(grade, 0) * max(0, relevance + sum over fields f of weight_f * value_f / mean_f)
        worth = sum over places i <= cutoff of gain(i) / log2(i + 1), divided by the same sum for the best ranking

    `value_f` is the catalog's field, and `mean_f` the mean of its values above 0, so that weights do not depend on the
    currency: with a weight of 0.5, an item of mean margin is worth 1.5 and one of twice that 2.0. An item without a
    value counts as 0, and a negative value, a loss, lowers the worth to no less than 0. `stock(item)` is 1 where its
    field is above 0 (or true), else 0. What is not relevant is worth nothing, so a policy gains nothing by finding
    expensive items that were not asked for.

    A need without a relevant item in stock pays 0, and so does an Invalid rollout. The name holds everything:
    "worth(margin=0.5,stock=in_stock)@10".

    Args:
        fields: Numeric fields of the catalog with the weight of each, {margin: 0.5, price: 0.2}.
        cutoff: How many hits are read.
        stock: The field that says how many are in stock; None if everything is.
        relevance: The weight of the grade alone.

    Raises:
        ValueError: If all weights are 0.
    """

    def __init__(
        self,
        *,
        fields: dict[str, NonNegativeFloat],
        cutoff: PositiveInt = 10,
        stock: Annotated[str, MinLen(1)] | None = None,
        relevance: NonNegativeFloat = 1.0,
    ) -> None:
        if not (any(fields.values()) or relevance):
            raise ValueError("fields: all weights are 0: give a field or relevance a weight above 0")
        self.fields, self.cutoff, self.stock, self.relevance = dict(fields), cutoff, stock, relevance
        settings = [f"{name}={weight:g}" for name, weight in fields.items()]
        settings += [f"stock={stock}"] if stock else []
        settings += [f"relevance={relevance:g}"] if relevance != 1 else []
        self.name = f"worth({','.join(settings)})@{cutoff}"

    def check_data(self, catalog: Catalog, qrels: Mapping[str, Qrels]) -> None:
        """Raises `ValueError` where the catalog lacks a field, or one does not hold numbers, or none above 0."""
        self._worth(catalog, np.arange(min(1, len(catalog))))

    def __call__(self, batch: Batch) -> Floats:
        """(B,); raises `ValueError` where the hits are not as deep as the cutoff, or the catalog lacks a field."""
        graded = batch.graded
        check_cutoff(self.name, self.cutoff, graded.grades_BK.shape[1])
        discounts_K = 1 / np.log2(np.arange(2, self.cutoff + 2))
        graded = graded.cut(self.cutoff)
        worth_BK = self._worth(batch.catalog, graded.rows_BK) * np.maximum(graded.grades_BK, 0)
        found_B = (worth_BK * discounts_K).sum(axis=1)  # not by BLAS: a ranking has the same sum in any batch
        best: dict[int, float] = {}
        for key in batch.qrels:
            if id(key) not in best:  # all rollouts of a need share its key
                gains_J = self._worth(batch.catalog, key.rows_J) * np.maximum(key.grades_J, 0)
                top_J = np.sort(gains_J)[::-1][: self.cutoff]
                best[id(key)] = float((top_J * discounts_K[: len(top_J)]).sum())
        best_B = np.array([best[id(key)] for key in batch.qrels])
        paid_B = np.divide(found_B, best_B, out=np.zeros(len(batch)), where=best_B > 0)
        return np.asarray(np.minimum(paid_B, 1.0), np.float32)

    def _worth(self, catalog: Catalog | None, rows: NDArray[np.integer]) -> Doubles:
        """What items are worth before their grade counts; that of row -1 does not matter, it has no grade."""
        worth = np.full(rows.shape, self.relevance)
        for field, weight in self.fields.items():
            values = np.nan_to_num(numbers(catalog, field, self.name)[rows], nan=0.0)
            worth += weight * values / mean_above_zero(catalog, field, self.name)
        if self.stock:
            worth *= np.nan_to_num(numbers(catalog, self.stock, self.name)[rows], nan=0.0) > 0
        return np.asarray(np.maximum(worth, 0.0), np.float64)


@checked
class CrowdingReward:
    """Minus the share of the batch's other needs for which the found items are found too.

    The mean over the items in the first places of (other needs for which some rollout has the item in its first places
    / other needs): 0 where no other need gets any of them, -1 where all get all of them. It needs no field that says
    how popular an item is, and does not punish an item that only one need finds.

    Other needs are those of the same batch of one process; the only need of a batch has none, and pays 0. A rollout
    that found nothing, Invalid or not, pays -1, the least. The name is "crowding@10".

    Args:
        cutoff: How many hits are read.
    """

    def __init__(self, *, cutoff: PositiveInt = 10) -> None:
        self.cutoff = cutoff
        self.name = f"crowding@{cutoff}"

    def __call__(self, batch: Batch) -> Floats:
        """(B,) from -1 to 0; raises `ValueError` where the hits are not as deep as the cutoff."""
        check_cutoff(self.name, self.cutoff, batch.hits.rows_QK.shape[1])
        numbered: dict[str, int] = {}
        need_B = np.array([numbered.setdefault(r.need.id, len(numbered)) for r in batch.rollouts], np.int64)
        others = len(numbered) - 1
        rows_BK = batch.hits.rows_QK[:, : self.cutoff].astype(np.int64)
        there_BK = rows_BK >= 0
        found_B = np.count_nonzero(there_BK, axis=1)
        # Each item once per need, whichever of its rollouts found it; then how many needs found an item.
        pairs = np.unique((rows_BK * max(1, len(numbered)) + need_B[:, None])[there_BK])
        needs_N = np.bincount(pairs // max(1, len(numbered)))
        shared_BK = np.zeros(rows_BK.shape)
        shared_BK[there_BK] = (needs_N[rows_BK[there_BK]] - 1) / max(1, others)
        paid_B = -shared_BK.sum(axis=1) / np.maximum(found_B, 1)
        return np.where(found_B > 0, paid_B, -1.0).astype(np.float32)
