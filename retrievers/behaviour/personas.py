"""Personas: a user is several tastes, each item is judged by the one that it appeals to, and that is an explanation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

from retrievers.base import Floats
from retrievers.behaviour.base import History, history_of
from retrievers.behaviour.learned import Learned, Weights
from retrievers.options import NonNegativeFloat, PositiveFloat, PositiveInt, ShareBelowOne, checked

LONGEST = 100
"""Items of a user, drawn anew each time, from which personas are fitted while item vectors are learned."""


class Explanation(NamedTuple):
    """Why an item is recommended: the persona that it appeals to most, and the items of the history that are its own.

    `share` is the persona's attention for the item, from 1 / personas to 1. `rows` are of the history, those first that
    speak most for the item.
    """

    persona: int
    share: float
    rows: tuple[int, ...]


@checked
@dataclass(kw_only=True, eq=False, repr=False)
class Personas(Learned):
    """K vectors p_k of a user, of which each item i attends to those that it resembles.

        a_ik = softmax over k of p_k'A q_i / sqrt(dim)        score_i = sum_k a_ik p_k'q_i + b_i

    The form is that of AMP-CF (Barkan, Fuchs, Caciularu and Koenigstein, "Explainable Recommendations via Attentive
    Multi-Persona Collaborative Filtering", RecSys 2020). Personas are fitted to a history, also one of an unknown user,
    with the items frozen, in a fixed number of rounds: each item j of it is shared among the personas by a_jk, and p_k
    is the least-squares fit c_k + sum_j a_jk v_j / (prior + sum_j a_jk). Items have vectors v where they are read and q
    where they are scored; c_k is where persona k of every user begins. All of it is learned: the user's items among
    a sample of the catalog are predicted with a softmax, from a history with dropout.
    """

    name: ClassVar[str] = "personas"
    noted: ClassVar[Sequence[str]] = ("attention entropy",)

    personas: PositiveInt = 4
    """How many tastes a user has at most."""
    dim: PositiveInt = 64
    """Numbers of a vector."""
    rounds: PositiveInt = 2
    """How often items are shared among personas anew."""
    prior: NonNegativeFloat = 1.0
    """How many items the beginning c_k counts for."""
    dropout: ShareBelowOne = 0.5
    """Share of a history that is dropped in each step of the fit."""
    sample: PositiveInt = 1000
    """Items of the softmax in each step of the fit; all of them if the catalog has no more."""
    learning_rate: PositiveFloat = 1e-2
    """Of Adam."""

    def item_vectors(self) -> Floats:
        """(N, D) the vectors by which items are scored."""
        vectors: Floats = self._weights["q"].float().numpy()
        return vectors

    def attention(self, history: History) -> Floats:
        """(K, N) how much each item attends to each persona of a history; columns sum to 1."""
        known = [row for row in dict.fromkeys(history) if self._known_N[row]]
        shares: Floats = self._attended(self._weights, [known])[1][0].float().numpy()
        return shares

    def explain(self, history: History, row: int) -> Explanation:
        """The persona to which an item appeals, and the items of the history that appeal to it too.

        Raises `ValueError` for an item without a training event, of which no persona knows anything.
        """
        *_, row = history_of((*history, row), len(self._known_N))
        if not self._known_N[row]:
            raise ValueError(f"row {row} has no training event, so that no persona knows it: explain what is found")
        shares_KN = self.attention(history)
        persona, rows = int(shares_KN[:, row].argmax()), np.array(list(dict.fromkeys(history)), np.int64)
        own = rows[(shares_KN[:, rows].argmax(0) == persona) & self._known_N[rows]]
        speaks = shares_KN[persona, own] * (self._weights["v"].numpy()[own] @ self._weights["q"].numpy()[row])
        ordered = own[np.argsort(-speaks, kind="stable")]
        return Explanation(persona, float(shares_KN[persona, row]), tuple(ordered.tolist()))

    def _begin(self, draw: Any) -> Weights:
        torch, items = self._torch, len(self._known_N)
        spread = {"q": (items, self.dim), "v": (items, self.dim), "c": (self.personas, self.dim)}
        weights = {name: torch.randn(size, generator=draw) / self.dim**0.5 for name, size in spread.items()}
        return {**weights, "b": torch.zeros(items), "A": torch.eye(self.dim)}

    def _loss(self, weights: Weights, histories: Sequence[History], progress: float, draw: Any) -> Any:
        torch, items = self._torch, len(self._known_N)
        drawn = torch.randperm(items, generator=draw)[: self.sample]
        place_of = torch.full((items,), -1).index_put((drawn,), torch.arange(len(drawn)))
        x_BS = torch.zeros(len(histories), len(drawn))
        read = []
        for user, rows in enumerate(histories):
            places = place_of[list(rows)]
            x_BS[user, places[places >= 0]] = 1
            kept = torch.tensor(rows)[torch.rand(len(rows), generator=draw) >= self.dropout]
            read.append(kept[torch.randperm(len(kept), generator=draw)[:LONGEST]].tolist())
        scores_BS, shares_BKS = self._attended(self._kept(weights), read, drawn.to(self._fits_on))
        self._notes = [float(-(shares_BKS * (shares_BKS + 1e-9).log()).sum(1).mean().detach())]
        return -(x_BS.to(self._fits_on) * torch.log_softmax(scores_BS, 1)).sum(1).mean()

    def _forward(self, kept: Weights, histories: Sequence[History]) -> Any:
        # One by one: K numbers for each item are too many for a block of histories.
        return self._torch.cat([self._attended(kept, [list(dict.fromkeys(history))])[0] for history in histories])

    def _kept(self, weights: Weights) -> Weights:
        return {**weights, "keys": weights["q"] @ weights["A"].T / self.dim**0.5}

    def _attended(
        self, weights: Weights, histories: Sequence[Sequence[int]], rows: Any = slice(None)
    ) -> tuple[Any, Any]:
        """(B, M) scores of items, and (B, K, M) their attention to the personas that are fitted to B histories."""
        torch, c_KD = self._torch, weights["c"]
        lists = [torch.tensor(history, dtype=torch.long) for history in histories]
        read_BH = torch.nn.utils.rnn.pad_sequence(lists, batch_first=True, padding_value=-1).to(c_KD.device)
        there_B1H, keys_BHD, v_BHD = (read_BH >= 0)[:, None], weights["keys"][read_BH], weights["v"][read_BH]
        p_BKD = c_KD.expand(len(histories), -1, -1)
        for _ in range(self.rounds):
            a_BKH = torch.softmax(p_BKD @ keys_BHD.mT, 1) * there_B1H
            p_BKD = c_KD + a_BKH @ v_BHD / (self.prior + a_BKH.sum(2, keepdim=True)).clamp(min=1e-6)
        a_BKM = torch.softmax(p_BKD @ weights["keys"][rows].T, 1)
        return (a_BKM * (p_BKD @ weights["q"][rows].T)).sum(1) + weights["b"][rows], a_BKM
