"""What a ranking is worth to the shop: relevant items, weighed by price, margin or the like, while stocks last."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from retrievers.base import Catalog, Floats
from rewards.abilities import check_cutoff
from rewards.base import Batch, Doubles, Qrels
from rewards.fields import mean_above_zero, numbers


class WorthReward:
    """The discounted worth of the relevant items in the first places, as a share of the best that the need allows.

    nDCG (Jarvelin and Kekalainen, TOIS 2002) with the gains of a shop, from 0 to 1:

        gain(item) = stock(item) * max(grade, 0) * max(0, relevance + sum over fields f of weight_f * value_f / mean_f)
        worth = sum over places i <= cutoff of gain(i) / log2(i + 1), divided by the same sum for the best ranking

    `value_f` is what the catalog's field says, and `mean_f` the mean of its values above 0, so that weights do not
    depend on the currency: with a weight of 0.5, an item of the usual margin is worth 1.5 and one of twice that 2.0.
    An item without a value has 0 of it, and a negative one, a loss, lowers the worth to no less than 0. `stock(item)`
    is 1 where its field is above 0 (or true) and 0 where it is not, or empty. What is not relevant is worth nothing,
    whatever it costs: a policy cannot sell dear things to those who did not ask for them.

    A need of which nothing relevant is in stock pays 0, and so does an Invalid rollout. The name holds everything:
    "worth(margin=0.5,stock=in_stock)@10".

    Args:
        fields: Numeric fields of the catalog with the weight of each, {margin: 0.5, price: 0.2}.
        cutoff: How many places are looked at.
        stock: The field that says how many are in stock; None where everything is.
        relevance: The weight of the grade alone.

    Raises:
        ValueError: For a weight that is negative or not finite, nothing that weighs anything, a stock without a name,
            or a cutoff below 1.
    """

    def __init__(
        self, *, fields: dict[str, float], cutoff: int = 10, stock: str | None = None, relevance: float = 1.0
    ) -> None:
        if cutoff < 1:
            raise ValueError(f"cutoff: must be at least 1, got {cutoff}")
        if stock == "":
            raise ValueError("stock: is empty; name a field of the catalog, or leave it out if all is in stock")
        for name, weight in {**fields, "relevance": relevance}.items():
            if not (weight >= 0 and math.isfinite(weight)):
                option = "relevance" if name == "relevance" else "fields"
                raise ValueError(f"{option}: the weight of {name} must be 0 or more and finite, got {weight}")
        if not (any(fields.values()) or relevance):
            raise ValueError("fields: nothing weighs anything: give a field or relevance a weight above 0")
        self.fields, self.cutoff, self.stock, self.relevance = dict(fields), cutoff, stock, relevance
        said = [f"{name}={weight:g}" for name, weight in fields.items()]
        said += [f"stock={stock}"] if stock else []
        said += [f"relevance={relevance:g}"] if relevance != 1 else []
        self.name = f"worth({','.join(said)})@{cutoff}"

    def check_data(self, catalog: Catalog, qrels: Mapping[str, Qrels]) -> None:
        """Raises `ValueError` where the catalog lacks a field, or one holds no numbers, or none above 0."""
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
        """What items are worth before their grade; that of row -1 is of no account, for it has no grade."""
        worth = np.full(rows.shape, self.relevance)
        for field, weight in self.fields.items():
            values = np.nan_to_num(numbers(catalog, field, self.name)[rows], nan=0.0)
            worth += weight * values / mean_above_zero(catalog, field, self.name)
        if self.stock:
            worth *= np.nan_to_num(numbers(catalog, self.stock, self.name)[rows], nan=0.0) > 0
        return np.asarray(np.maximum(worth, 0.0), np.float64)
