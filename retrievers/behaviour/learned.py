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
from retrievers.behaviour.base import Fitted, History, Recommender
from retrievers.behaviour.stopping import CUTOFF, HeldOut, best_epoch, histories_in
from retrievers.dense.dense import usable_device
from retrievers.options import NonNegativeInt, PositiveFloat, PositiveInt
from retrievers.progress import ProgressBar

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
        return {**super().stats, **best_epoch(self._best, self.noted)}

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
        held = HeldOut(histories, self.seed, self.patience)
        users = held.learned
        weights = {name: one.to(self._fits_on).requires_grad_() for name, one in self._begin(draw).items()}
        optimiser = torch.optim.Adam(weights.values(), lr=self.learning_rate, fused=True)
        kept, log = weights, [0.0]
        with _one_thread(torch), ProgressBar(quiet=len(users) < 200) as bar:
            bar.begin(f"fitting {self.name}", self.epochs)
            bar.note(lambda: f"nDCG@{CUTOFF} {held.best:.4f}")
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
                better = held.is_best(self, epoch)
                notes = "".join(f", {name} {value:.4g}" for name, value in zip(self.noted, self._notes, strict=True))
                told = "%s: epoch %d of %d, loss %.4f, nDCG@%d of %d held-out users %.4f%s"
                _log.info(told, self.name, epoch, self.epochs, total, CUTOFF, len(held.asked), held.last, notes)
                bar.advance(epoch, self.epochs)
                if better:
                    kept, log = self._weights, [epoch, held.best, *self._notes]
                elif held.is_over(epoch):
                    break
        self._read = self._unknown = 0  # what early stopping asked is not counted
        return {"log": np.array(log), **{name: one.float().numpy() for name, one in kept.items()}}


@contextmanager
def _one_thread(torch: Any) -> Iterator[None]:
    """Fit with one thread: sums of several threads depend on how many there are."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
