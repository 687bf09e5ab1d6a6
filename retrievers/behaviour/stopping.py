"""Early stopping of recommenders: the last items of some users are held out, and predicted after each epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from retrievers.base import Catalog, Rows
from retrievers.behaviour.base import History, Recommender, events_in

CUTOFF = 100
"""Early stopping watches nDCG at this cutoff."""
FEWEST = 5
"""A user with fewer items is not held out."""


class HeldOut:
    """A tenth of the users, drawn by the seed: the last fifth of their items is predicted from those before.

    `learned` are the histories of all other users, `asked` the first items of these, `wanted` the others. With fewer
    than ten users, or `patience` None, nobody is held out, and every epoch is the best so far.
    """

    def __init__(self, histories: Sequence[History], seed: int, patience: int | None) -> None:
        self.patience, self.epoch, self.best, self.last = patience, 0, -1.0, float("nan")
        order = np.random.default_rng(seed).permutation(len(histories)).tolist() if patience else []
        kept_back = [user for user in order if len(histories[user]) >= FEWEST][: len(histories) // 10]
        cuts = {user: len(histories[user]) * 4 // 5 for user in kept_back}
        self.learned = [rows for user, rows in enumerate(histories) if user not in cuts]
        self.asked = [histories[user][:cut] for user, cut in cuts.items()]
        self.wanted = [histories[user][cut:] for user, cut in cuts.items()]

    def is_best(self, recommender: Recommender, epoch: int) -> bool:
        """Whether a recommender after this epoch is the best so far; its nDCG@100 is then `last`."""
        if not self.asked:
            self.epoch, self.best = epoch, self.last
            return True
        self.last = ndcg(recommender.search(self.asked, CUTOFF).rows_QK, self.wanted)
        if better := self.last > self.best:
            self.epoch, self.best = epoch, self.last
        return better

    def is_over(self, epoch: int) -> bool:
        """Whether `patience` epochs have passed since the best one."""
        return self.patience is not None and epoch - self.epoch >= self.patience


def best_epoch(log: Sequence[float], noted: Sequence[str] = ()) -> Mapping[str, float]:
    """The statistics of a fit from what is kept of its best epoch: its number, nDCG@100 if measured, what was noted."""
    names = ("fit/epoch", f"fit/nDCG@{CUTOFF}", *(f"fit/{name}" for name in noted))
    return {name: value for name, value in zip(names, log, strict=True) if not np.isnan(value)}


def histories_in(catalog: Catalog, known_N: NDArray[np.bool_]) -> list[History]:
    """The known items of each user of a catalog's events in the order in which they were first taken, each once."""
    events = events_in(catalog)
    events = events[known_N[events["row"]]]
    users: dict[int, dict[int, None]] = {}
    for user, row in zip(events["user"].tolist(), events["row"].tolist(), strict=True):
        users.setdefault(user, {})[row] = None
    return [tuple(rows) for rows in users.values()]


def ndcg(found_QK: Rows, wanted: Sequence[History]) -> float:
    """Mean nDCG of rankings of K items; each wanted item has grade 1."""
    gains_K = 1 / np.log2(np.arange(2, found_QK.shape[1] + 2))
    reached = [gains_K[np.isin(rows_K, one)].sum() for rows_K, one in zip(found_QK, wanted, strict=True)]
    return float(np.mean([got / gains_K[: len(one)].sum() for got, one in zip(reached, wanted, strict=True)]))
