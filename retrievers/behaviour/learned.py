"""Recommenders that learn by gradient descent: fitted once, with early stopping, and kept on disk."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import InitVar, dataclass, field, fields
from typing import Any, ClassVar, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from retrievers.base import Catalog, Floats
from retrievers.behaviour.base import Fitted, History, Recommender, events_in, histories_matrix
from retrievers.dense.dense import usable_device
from retrievers.options import NonNegativeInt, PositiveFloat, PositiveInt
from retrievers.progress import ProgressBar
from retrievers.topk import topk

CUTOFF = 100
"""Early stopping watches nDCG at this cutoff."""
FEWEST = 5
"""A user with fewer items is not held out."""
Weights: TypeAlias = dict[str, Any]
"""Tensors by name."""

_log = logging.getLogger(__name__)


@dataclass(kw_only=True, eq=False, repr=False)
class Learned(Recommender):
    """A recommender with weights. A class of its own says how they begin, what the loss is and what the scores are.

    A tenth of the users, drawn by the seed, is held out: after each epoch the last fifth of their items is predicted
    from those before. The weights of the best epoch are kept. The same seed gives the same weights on the same device;
    on a CPU one thread fits. Each epoch is logged.

    Raises `ValueError` where the catalog has no interactions, PyTorch is missing, or the loss is not finite.
    """

    name: ClassVar[str]
    noted: ClassVar[Sequence[str]] = ()
    """What the loss notes of each epoch, in `_notes`."""
    libraries: ClassVar[Sequence[str]] = ("scipy", "torch")
    extras: ClassVar[str] = "behaviour,train"

    catalog: InitVar[Catalog] = field(kw_only=False)
    seed: NonNegativeInt = 0
    """Of the first weights, the order of the users, dropout, and who is held out."""
    epochs: PositiveInt = 30
    """Most passes over the users."""
    patience: PositiveInt = 5
    """Stop after this many epochs without a better nDCG@100 of the held-out users."""
    batch_size: PositiveInt = 100
    """Users of a gradient step."""
    learning_rate: PositiveFloat = 1e-3
    """Of Adam."""
    device: Literal["cpu", "cuda"] | None = None
    """Where the weights are fitted; by default a GPU that torch can see. Scores are computed on the CPU."""
    store: str | None = "auto"
    """The folder that keeps weights; "auto" is the folder of RECR1_CACHE, or ~/.cache/recr1. None keeps nothing."""

    def __post_init__(self, catalog: Catalog) -> None:
        super().__init__(catalog, self._known(catalog))
        self._notes: Sequence[float] = [0.0] * len(self.noted)
        self._fits_on = usable_device(self.device)
        options = {one.name: getattr(self, one.name) for one in fields(self) if one.name not in ("store", "device")}
        key = {**options, "device": self._fits_on, **self._key()}
        fit = lambda: self._fit(histories_in(catalog, self._known_N))  # noqa: E731 - called once, or never
        fitted = Fitted(catalog, self.name, key, ("numpy", *self.libraries), fit, self.store)
        tensor, double = self._torch.tensor, self._torch.float64
        self._weights: Weights = {name: tensor(fitted[name], dtype=double) for name in fitted.names if name != "log"}
        self._best: list[float] = fitted["log"].tolist()

    @property
    def stats(self) -> Mapping[str, float]:
        """As of every recommender, and of the best epoch its number, nDCG@100 of held-out users, and what was noted."""
        names = ("fit/epoch", f"fit/nDCG@{CUTOFF}", *(f"fit/{name}" for name in self.noted))
        return {**super().stats, **dict(zip(names, self._best, strict=True))}

    @property
    def _torch(self) -> Any:
        import torch

        return torch

    def _known(self, catalog: Catalog) -> NDArray[np.bool_] | None:
        """Which items have a score; by default those with a training event."""
        return None

    def _key(self) -> Mapping[str, Any]:
        """What the weights depend on besides options and catalog."""
        return {}

    @abstractmethod
    def _begin(self, draw: Any) -> Weights:
        """The first weights, drawn with a generator."""

    @abstractmethod
    def _loss(self, weights: Weights, histories: Sequence[History], progress: float, draw: Any) -> Any:
        """The loss of a batch of users; `progress` is the share of the epochs that have passed."""

    @abstractmethod
    def _forward(self, kept: Weights, histories: Sequence[History]) -> Any:
        """(Q, N) the scores of all items, a tensor."""

    def _kept(self, weights: Weights) -> Weights:
        """What `_forward` needs of the weights."""
        return weights

    def _scores(self, histories: Sequence[History]) -> Floats:
        with self._torch.no_grad():
            scores_QN = self._forward(self._weights, histories).numpy()
        return np.where(self._known_N, scores_QN, -np.inf).astype(np.float32)

    def _fit(self, histories: Sequence[History]) -> dict[str, NDArray[Any]]:
        torch, draw = self._torch, self._torch.Generator().manual_seed(self.seed)
        users, asked, wanted = held_out(histories, self.seed)
        weights = {name: one.to(self._fits_on).requires_grad_() for name, one in self._begin(draw).items()}
        optimiser = torch.optim.Adam(weights.values(), lr=self.learning_rate, fused=True)
        best, best_epoch, kept, log = -1.0, 0, weights, [0.0]
        with _one_thread(torch), ProgressBar(quiet=len(users) < 200) as bar:
            bar.begin(f"fitting {self.name}", self.epochs)
            bar.note(lambda: f"nDCG@{CUTOFF} {best:.4f}")
            for epoch in range(1, self.epochs + 1):
                total = 0.0
                for some in torch.randperm(len(users), generator=draw).split(self.batch_size):
                    loss = self._loss(weights, [users[user] for user in some], (epoch - 1) / self.epochs, draw)
                    optimiser.zero_grad()
                    loss.backward()
                    optimiser.step()
                    total += float(loss.detach()) * len(some) / len(users)
                if not np.isfinite(total):
                    raise ValueError(
                        f"learning_rate: the loss of {self.name} in epoch {epoch} is {total}: set it lower"
                    )
                with torch.no_grad():
                    self._weights = {name: one.cpu().double() for name, one in self._kept(weights).items()}
                measured = ndcg(self._scores(asked), asked, wanted) if asked else float("nan")
                notes = "".join(f", {name} {value:.4g}" for name, value in zip(self.noted, self._notes, strict=True))
                told = "%s: epoch %d of %d, loss %.4f, nDCG@%d of %d held-out users %.4f%s"
                _log.info(told, self.name, epoch, self.epochs, total, CUTOFF, len(asked), measured, notes)
                bar.advance(epoch, self.epochs)
                if not asked or measured > best:
                    best, best_epoch, kept, log = measured, epoch, self._weights, [epoch, measured, *self._notes]
                elif epoch - best_epoch >= self.patience:
                    break
        return {"log": np.array(log), **{name: one.float().numpy() for name, one in kept.items()}}


def histories_in(catalog: Catalog, known_N: NDArray[np.bool_]) -> list[History]:
    """The known items of each user of a catalog's events in the order in which they were first taken, each once."""
    events = events_in(catalog)
    events = events[known_N[events["row"]]]
    users: dict[int, dict[int, None]] = {}
    for user, row in zip(events["user"].tolist(), events["row"].tolist(), strict=True):
        users.setdefault(user, {})[row] = None
    return [tuple(rows) for rows in users.values()]


def held_out(histories: Sequence[History], seed: int) -> tuple[list[History], list[History], list[History]]:
    """Histories to learn from; and of a tenth of all users the first four fifths of their items, and the others."""
    order = np.random.default_rng(seed).permutation(len(histories)).tolist()
    kept_back = [user for user in order if len(histories[user]) >= FEWEST][: len(histories) // 10]
    cuts = {user: len(histories[user]) * 4 // 5 for user in kept_back}
    return (
        [rows for user, rows in enumerate(histories) if user not in cuts],
        [histories[user][:cut] for user, cut in cuts.items()],
        [histories[user][cut:] for user, cut in cuts.items()],
    )


def ndcg(scores_QN: Floats, asked: Sequence[History], wanted: Sequence[History]) -> float:
    """Mean nDCG@100 of the wanted items, each of grade 1, where the asked ones are not found."""
    scores_QN[histories_matrix(asked, scores_QN.shape[1]).nonzero()] = -np.inf
    gains_K = 1 / np.log2(np.arange(2, CUTOFF + 2))
    found_QK = topk(scores_QN, CUTOFF).rows_QK
    reached = [gains_K[np.isin(rows_K, one)].sum() for rows_K, one in zip(found_QK, wanted, strict=True)]
    return float(np.mean([got / gains_K[: len(one)].sum() for got, one in zip(reached, wanted, strict=True)]))


@contextmanager
def _one_thread(torch: Any) -> Iterator[None]:
    """Fit with one thread: sums of several threads depend on how many there are."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
