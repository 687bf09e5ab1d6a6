"""Mult-VAE and its relatives: a neural network squeezes a history into a few numbers and reads all items from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from retrievers.base import Floats
from retrievers.behaviour.base import History, histories_matrix
from retrievers.behaviour.learned import Learned, Weights
from retrievers.options import NonNegativeFloat, PositiveFloat, PositiveInt, ShareBelowOne, checked


@checked
@dataclass(kw_only=True, eq=False, repr=False)
class MultVAE(Learned):
    """An autoencoder of histories; the score of an item is the decoder's logit.

    Input is a row of 0 and 1 at length 1, with dropout. `variational`: N -> hidden -> latent mean and log-variance, and
    latent -> hidden -> N (Mult-VAE). Otherwise N -> latent -> N (Mult-DAE). (Liang, Krishnan, Hoffman and Jebara,
    "Variational Autoencoders for Collaborative Filtering", WWW 2018.) The loss of a user with items x and logits f:

        multinomial:  -sum x log softmax(f)
        logistic:     -sum x log sigmoid(f) + (1 - x) log(1 - sigmoid(f))
        gaussian:     sum c/2 (x - f)^2 with c = `positive_weight` where x = 1, else c = 1

    plus the KL divergence from a normal distribution times a weight that rises in the first half of the epochs from 0
    to `beta`; or 2e-5 times the squared weights where it is not variational.
    """

    name: ClassVar[str] = "multvae"
    noted: ClassVar[Sequence[str]] = ("KL", "KL weight")

    likelihood: Literal["multinomial", "logistic", "gaussian"] = "multinomial"
    """How the items of a user are explained."""
    variational: bool = True
    """False is the denoising autoencoder."""
    hidden: PositiveInt = 300
    """Units between items and latent numbers; not read where it is not variational."""
    latent: PositiveInt = 100
    """Numbers that describe a user."""
    dropout: ShareBelowOne = 0.5
    """Share of the input that is dropped in each step of the fit."""
    beta: NonNegativeFloat = 0.2
    """Highest weight of the KL divergence."""
    positive_weight: PositiveFloat = 10.0
    """Of `gaussian`."""

    def item_vectors(self) -> Floats:
        """(N, D) the decoder's weights of each item."""
        last = max(name for name in self._weights if name.startswith("w"))
        vectors: Floats = self._weights[last].T.float().numpy()
        return vectors

    def _begin(self, draw: Any) -> Weights:
        items = len(self._known_N)
        sizes = [(items, self.latent), (self.latent, items)]
        if self.variational:
            inner = [(self.hidden, 2 * self.latent), (self.latent, self.hidden)]
            sizes = [(items, self.hidden), *inner, (self.hidden, items)]
        weights = {}
        for place, size in enumerate(sizes):
            weights[f"w{place}"] = self._torch.nn.init.xavier_uniform_(self._torch.empty(size), generator=draw)
            weights[f"b{place}"] = self._torch.zeros(size[1])
        return weights

    def _loss(self, weights: Weights, histories: Sequence[History], progress: float, draw: Any) -> Any:
        torch, F = self._torch, self._torch.nn.functional
        inputs_BN = self._inputs(histories)
        x_BN = (inputs_BN.to_dense() > 0).float().to(self._fits_on)
        kept = torch.rand(inputs_BN.values().shape, generator=draw) >= self.dropout
        inputs_BN.values().mul_(kept / (1 - self.dropout))
        mean_BL, log_variance_BL = self._encoded(weights, inputs_BN.to(self._fits_on))
        if self.variational:
            noise_BL = torch.randn(mean_BL.shape, generator=draw).to(self._fits_on)
            weight = self.beta * min(1.0, 2 * progress)
            kl = (mean_BL**2 + log_variance_BL.exp() - 1 - log_variance_BL).sum(1).mean() / 2
            self._notes = [float(kl.detach()), weight]
            mean_BL, extra = mean_BL + noise_BL * (log_variance_BL / 2).exp(), weight * kl
        else:
            extra = 2e-5 * sum((weights[name] ** 2).sum() for name in ("w0", "w1"))
        logits_BN = self._decoded(weights, mean_BL)
        if self.likelihood == "multinomial":
            losses_BN = -x_BN * F.log_softmax(logits_BN, 1)
        elif self.likelihood == "logistic":
            losses_BN = F.binary_cross_entropy_with_logits(logits_BN, x_BN, reduction="none")
        else:
            losses_BN = (1 + (self.positive_weight - 1) * x_BN) / 2 * (x_BN - logits_BN) ** 2
        return losses_BN.sum(1).mean() + extra

    def _forward(self, kept: Weights, histories: Sequence[History]) -> Any:
        return self._decoded(kept, self._encoded(kept, self._inputs(histories).double())[0])

    def _inputs(self, histories: Sequence[History]) -> Any:
        """(B, N) rows of length 1, a sparse tensor."""
        taken = histories_matrix(histories, len(self._known_N)).tocoo()
        lengths_B = np.sqrt(np.bincount(taken.row, minlength=len(histories)))
        places, values = np.stack([taken.row, taken.col]), taken.data / lengths_B[taken.row]
        checked = {"is_coalesced": True, "check_invariants": False}
        return self._torch.sparse_coo_tensor(places, values.astype(np.float32), taken.shape, **checked)

    def _encoded(self, weights: Weights, inputs_BN: Any) -> tuple[Any, Any]:
        """(B, L) means and log-variances."""
        inside = self._torch.tanh(self._torch.sparse.mm(inputs_BN, weights["w0"]) + weights["b0"])
        if not self.variational:
            return inside, None
        both = inside @ weights["w1"] + weights["b1"]
        return both[:, : self.latent], both[:, self.latent :]

    def _decoded(self, weights: Weights, latent_BL: Any) -> Any:
        """(B, N) logits."""
        if self.variational:
            latent_BL = self._torch.tanh(latent_BL @ weights["w2"] + weights["b2"])
        last = "3" if self.variational else "1"
        return latent_BL @ weights[f"w{last}"] + weights[f"b{last}"]
