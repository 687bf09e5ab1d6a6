"""Matrix factorisation by alternating least squares, by the library implicit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from retrievers.base import Catalog, Floats
from retrievers.behaviour.base import Fitted, History, Recommender, histories_matrix
from retrievers.behaviour.stopping import CUTOFF, HeldOut, best_epoch, histories_in
from retrievers.dense.vectors import on_grid
from retrievers.options import NonNegativeInt, PositiveFloat, PositiveInt, checked
from retrievers.progress import ProgressBar


@checked
class ALS(Recommender):
    """Vectors of users and items whose dot product says who takes what: matrix factorisation for implicit feedback.

    With item vectors Y, the vector of a history h is the least squares solution

        (Y'Y + (alpha - 1) sum over i in h: y_i y_i' + l2 I)^-1  alpha * sum over i in h: y_i

    and the score of an item is its dot product with that vector (Hu, Koren and Volinsky, ICDM 2008). So users who came
    after training are served like all others. Every item with a training event has a score.

    Small on millions of items, and `item_vectors` is of use elsewhere. Fitted once with the library implicit
    (`pip install 'recr1[behaviour]'`) from a random start, and kept on disk.

    Args:
        catalog: What is recommended, with its interactions.
        factors: Numbers of a vector.
        l2: The penalty of the vectors.
        alpha: How much an item that was taken counts, beside 1 for each that was not.
        iterations: How often the vectors of users and items are computed in turn, at most.
        patience: Stop after this many iterations without a better nDCG@100 of held-out users, and keep the best: a
            tenth, drawn by the seed, whose last fifth of items is not learned from. Null learns from all events.
        seed: Of the random start.
        store: The folder that keeps the vectors; "auto" is the folder of RECR1_CACHE, or ~/.cache/recr1. None keeps
            nothing.
    """

    libraries: ClassVar[Sequence[str]] = ("scipy", "implicit")

    def __init__(
        self,
        catalog: Catalog,
        *,
        factors: PositiveInt = 64,
        l2: PositiveFloat = 1.0,
        alpha: PositiveFloat = 10.0,
        iterations: PositiveInt = 15,
        patience: PositiveInt | None = 5,
        seed: NonNegativeInt = 0,
        store: str | None = "auto",
    ) -> None:
        super().__init__(catalog)
        self._l2, self._alpha = l2, alpha
        options = {"factors": factors, "l2": l2, "alpha": alpha, "iterations": iterations, "patience": patience}
        self._fitted: Fitted | Mapping[str, Any]

        def fit() -> dict[str, Any]:
            from implicit.cpu.als import AlternatingLeastSquares
            from threadpoolctl import threadpool_limits  # comes with implicit, which is slow beside threads of BLAS

            held, best = HeldOut(histories_in(catalog, self._known_N), seed, patience), dict[str, Any]()
            matrix = histories_matrix([*held.learned, *held.asked], len(catalog))
            model = AlternatingLeastSquares(
                factors=factors, regularization=l2, alpha=alpha, iterations=1, random_state=seed
            )
            with threadpool_limits(1, "blas"), ProgressBar() as bar:
                bar.begin("fitting als", iterations)
                bar.note(lambda: f"nDCG@{CUTOFF} {held.best:.4f}")
                for turn in range(1, iterations + 1):
                    model.fit(matrix, show_progress=False)  # from where the turn before ended
                    vectors_NF = on_grid(model.item_factors)
                    self._fitted = {"vectors": vectors_NF, "gram": vectors_NF.T.astype(np.float64) @ vectors_NF}
                    if held.is_best(self, turn):
                        best = {**self._fitted, "log": np.array([turn, held.best])}
                    elif held.is_over(turn):
                        break
                    bar.advance(turn, iterations)
            self._read = self._unknown = 0  # what early stopping asked is not counted
            return best

        self._fitted = Fitted(catalog, "als", {**options, "seed": seed}, ("numpy", *self.libraries), fit, store)

    @property
    def stats(self) -> Mapping[str, float]:
        """As of every recommender, and the best iteration and its nDCG@100 of held-out users."""
        return {**super().stats, **best_epoch(self._fitted["log"].tolist())}

    def item_vectors(self) -> Floats:
        """(N, factors) a vector of each item; zeros where nobody took it."""
        vectors: Floats = self._fitted["vectors"]
        return vectors

    def user_vectors(self, histories: Sequence[History]) -> Floats:
        """(Q, factors) the vector of each history of known items."""
        vectors_NF = self.item_vectors()
        base_FF = self._fitted["gram"] + self._l2 * np.eye(vectors_NF.shape[1])
        solved = []
        for history in histories:
            own_IF = vectors_NF[sorted(set(history))].astype(np.float64)
            weighted_FF = base_FF + (self._alpha - 1) * own_IF.T @ own_IF
            solved.append(np.linalg.solve(weighted_FF, self._alpha * own_IF.sum(axis=0)))
        return np.array(solved, np.float32)

    def _scores(self, histories: Sequence[History]) -> Floats:
        vectors_QF = on_grid(self.user_vectors(histories)).astype(np.float64)  # so that sums are exact in any batch
        scores_QN = (vectors_QF @ self.item_vectors().astype(np.float64).T).astype(np.float32)
        scores_QN[:, ~self._known_N] = -np.inf
        return scores_QN
