"""EASE: each item predicted from all others by ridge regression, in closed form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from retrievers.base import Catalog, Floats
from retrievers.behaviour.base import Fitted, History, Recommender, histories_matrix, history_of, matrix_of
from retrievers.options import PositiveFloat, checked

SMALLEST = 1e-9
"""Weights nearer to zero are rounding errors of weights that are zero: items that have no user in common, directly or
through others."""
BLOCK = 512
"""Rows of the weights that are computed together."""


@checked
class EASE(Recommender):
    """Weights between items, positive and negative, that predict each item of a user from all others (EASE^R).

    The score of an item is the sum of its weights to the items of the history, and is found if it is above 0. The
    weights B minimise |X - X B|^2 + l2 |B|^2 with a diagonal of zeros, where X are users and the items that they took:
    with P = (X'X + l2 I)^-1, item j has the weights B[i, j] = -P[i, j] / P[j, j] (Steck, WWW 2019, arXiv 1905.03375).
    So column j is the ridge regression of item j on the others.

    It was the most accurate where it was measured, and has one number to choose, `l2`: try 10 to 3,000
    on validation needs. Time grows with the cube of the items that have training events, and memory with their
    square: 3,659 items take seconds, 20,000 minutes and 5 GB. Fitted once, and kept on disk.

    Args:
        catalog: What is recommended, with its interactions.
        l2: The penalty of the weights, lambda in the paper; more for few or noisy events.
        zero_diagonal: False allows an item to predict itself, as in plain ridge regression: about as accurate at the
            best `l2`, because items of the history are not found anyway, and far worse at a small one.
        clip: Whether negative weights are set to 0 (for experiments: they carry a part of the accuracy).
        precision: Numbers of 64 or 32 bits while the weights are computed; "single" takes half the time and memory, and
            is for an `l2` that is not small.
        memory_gb: The most memory (in GB of 10^9 bytes) that fitting may take; a catalog that needs more is refused.
        store: The folder that keeps the weights; "auto" is the folder of RECR1_CACHE, or ~/.cache/recr1. None keeps
            nothing.
    """

    def __init__(
        self,
        catalog: Catalog,
        *,
        l2: PositiveFloat = 500.0,
        zero_diagonal: bool = True,
        clip: bool = False,
        precision: Literal["double", "single"] = "double",
        memory_gb: PositiveFloat = 8.0,
        store: str | None = "auto",
    ) -> None:
        super().__init__(catalog)
        self._rows = np.flatnonzero(self._known_N)
        needed = gigabytes(len(self._rows), precision)
        if needed > memory_gb:
            less = ", set precision to single" if precision == "double" else ""
            raise ValueError(
                f"ease: {len(self._rows):,} items with training events need {needed:.1f} GB to fit, more than "
                f"memory_gb ({memory_gb:g}); raise it if the machine has that much{less}, leave out items with few "
                "events, or use item_knn or als"
            )
        options = {"l2": l2, "zero_diagonal": zero_diagonal, "clip": clip, "precision": precision}

        def fit() -> dict[str, Any]:
            weights = weights_of(
                matrix_of(catalog)[:, self._rows], l2, zero_diagonal=zero_diagonal, precision=precision
            )
            return {"weights": (np.maximum(weights, 0) if clip else weights).astype(np.float32, copy=False)}

        self._fitted = Fitted(catalog, "ease", options, ("numpy", *self.libraries), fit, store)

    def contributions(self, history: History, row: int) -> Floats:
        """(I,) what each item of a history adds to the score of an item, which is the sum.

        0 for an item without a training event, and for one that is there already: repeats do not count.
        """
        *own, row = history_of((*history, row), len(self._known_N))
        own_I, added_I = np.array(own, np.int64), np.zeros(len(own), np.float32)
        first = np.unique(own_I, return_index=True)[1]
        heard = first[self._known_N[own_I[first]]]
        if self._known_N[row] and len(heard):
            places = np.searchsorted(self._rows, own_I[heard])
            added_I[heard] = self._fitted["weights"][places, np.searchsorted(self._rows, row)]
        return added_I

    def _scores(self, histories: Sequence[History]) -> Floats:
        scores_QM = histories_matrix(histories, len(self._known_N))[:, self._rows] @ self._fitted["weights"]
        scores_QN = np.full((len(histories), len(self._known_N)), -np.inf, np.float32)
        scores_QN[:, self._rows] = np.where(scores_QM > 0, scores_QM, np.float32(-np.inf))
        return scores_QN


def gigabytes(items: int, precision: str) -> float:
    """The most memory that fitting takes: the inverse, and the weights of 32 bits that are made from it."""
    return items**2 * (8 + 4 if precision == "double" else 4 + 1) / 1e9


def weights_of(matrix: Any, l2: float, *, zero_diagonal: bool = True, precision: str = "double") -> Any:
    """(M, M) the weights of EASE from a CSR matrix (U, M) of ones; `weights[i, j]` is what item i says for item j.

    Computed in place, in one array. Raises `ValueError` where rounding leaves nothing to invert: `l2` is too small.
    """
    from scipy.linalg import get_lapack_funcs

    items = matrix.shape[1]
    inverse = np.empty((items, items), np.float64 if precision == "double" else np.float32)
    transposed = matrix.T.tocsr()
    for first in range(0, items, BLOCK):
        inverse[first : first + BLOCK] = (transposed[first : first + BLOCK] @ matrix).toarray()
    np.einsum("ii->i", inverse)[:] += l2
    potrf, potri = get_lapack_funcs(("potrf", "potri"), (inverse,))
    half, failed = potrf(
        inverse.T, lower=1, clean=0, overwrite_a=1
    )  # its transpose is what LAPACK takes without a copy
    if not failed:
        half, failed = potri(half, lower=1, overwrite_c=1)
    if failed:
        raise ValueError(f"l2: {l2:g} is too small to fit these events in {precision} precision; raise it")
    inverse = half.T  # of which the part above the diagonal is filled
    diagonal = inverse.diagonal().copy()
    for first in reversed(range(0, items, BLOCK)):  # from below: what is above is still the inverse
        block, square = inverse[first : first + BLOCK], inverse[first : first + BLOCK, first : first + BLOCK]
        block[:, :first] = inverse[:first, first : first + BLOCK].T
        square[:] = np.triu(square) + np.triu(square, 1).T
        block *= -1 / diagonal if zero_diagonal else -l2
        own = np.einsum("ii->i", square)
        own[:] = 0 if zero_diagonal else own + 1
        block[np.abs(block) < SMALLEST] = 0
    return inverse
