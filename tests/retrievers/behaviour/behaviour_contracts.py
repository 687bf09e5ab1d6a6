"""What the contracts of recommenders share: each model's formula in the simplest code."""

from __future__ import annotations

from collections import Counter
from tempfile import TemporaryDirectory
from typing import ClassVar

import numpy as np

from retrievers.behaviour.als import ALS
from retrievers.behaviour.base import matrix_of
from retrievers.behaviour.ease import EASE
from retrievers.behaviour.history_text import HistoryText
from retrievers.behaviour.item_knn import ItemKNN
from retrievers.behaviour.multvae import MultVAE
from retrievers.behaviour.personas import Personas
from retrievers.behaviour.popularity import Popularity
from retrievers.behaviour.testing import BehaviourContract
from retrievers.behaviour.vqrec import VQRec
from retrievers.dense.encoders import Hashing
from tests.retrievers.bm25.formulas import lucene, words

STORE = TemporaryDirectory()
"""What a test has fitted is found by the next."""


def users_by_items(catalog):
    return matrix_of(catalog).toarray().astype(np.float64)


def added(similar, catalog, query):
    """The sum of the similarities to what users took of the history, where it is above 0."""
    taken = users_by_items(catalog).any(axis=0)
    scores = similar[[row for row in set(query) if taken[row]]].sum(axis=0)
    return {row: score for row, score in enumerate(scores) if score > 1e-9 and row not in query and taken[row]}


def ridge(matrix, l2):
    """Column j: the weights of all other items that predict item j best, with a penalty; a system for each item."""
    items = matrix.shape[1]
    weights = np.zeros((items, items))
    for item in range(items):
        others = [other for other in range(items) if other != item]
        left = matrix[:, others].T @ matrix[:, others] + l2 * np.eye(items - 1)
        weights[others, item] = np.linalg.solve(left, matrix[:, others].T @ matrix[:, item])
    return weights


class PopularityContract(BehaviourContract):
    finds_without_history = True
    personal = False

    def build(self, catalog):
        return Popularity(catalog)

    def brute_force(self, catalog, query):
        pairs = {(event["user"], event["row"]) for event in catalog.interactions}
        counts = Counter(int(row) for _, row in pairs)
        return {row: count for row, count in counts.items() if row not in query}


class ItemKNNContract(BehaviourContract):
    def build(self, catalog):
        return ItemKNN(catalog, neighbours=1000, weighting="cosine", store=STORE.name)

    def brute_force(self, catalog, query):
        matrix = users_by_items(catalog)
        lengths = np.maximum(np.linalg.norm(matrix, axis=0), 1)
        return added((matrix / lengths).T @ (matrix / lengths), catalog, query)


class EASEContract(BehaviourContract):
    def build(self, catalog):
        return EASE(catalog, l2=2.5, store=STORE.name)

    def brute_force(self, catalog, query):
        return added(ridge(users_by_items(catalog), 2.5), catalog, query)


class ALSContract(BehaviourContract):
    alike_tie = False
    options: ClassVar = {"factors": 16, "l2": 10}

    def build(self, catalog):
        return ALS(catalog, alpha=8, store=STORE.name, **self.options)

    def brute_force(self, catalog, query):
        items = self.build(catalog).item_vectors().astype(np.float64)
        taken = users_by_items(catalog).any(axis=0)
        known = [row for row in range(len(catalog)) if taken[row] and row in query]
        if not known:
            return {}
        confidence = np.diag([8.0 if row in known else 1.0 for row in range(len(catalog))])
        preference = np.isin(range(len(catalog)), known)
        user = np.linalg.solve(items.T @ confidence @ items + 10 * np.eye(16), items.T @ confidence @ preference)
        return {row: items[row] @ user for row in range(len(catalog)) if taken[row] and row not in query}


class MultVAEContract(BehaviourContract):
    alike_tie = False
    options: ClassVar = {"hidden": 16, "latent": 8, "batch_size": 20, "epochs": 25, "learning_rate": 0.02, "beta": 0.02}

    def build(self, catalog):
        return MultVAE(catalog, store=STORE.name, **self.options)

    def brute_force(self, catalog, query):
        w = {name: one.numpy() for name, one in self.build(catalog)._weights.items()}
        taken = users_by_items(catalog).any(axis=0)
        known = [row for row in set(query) if taken[row]]
        if not known:
            return {}
        inside = np.tanh(w["w0"][known].sum(axis=0) / len(known) ** 0.5 + w["b0"])
        if self.options.get("variational", True):
            inside = np.tanh((inside @ w["w1"] + w["b1"])[:8] @ w["w2"] + w["b2"])
        last = "3" if self.options.get("variational", True) else "1"
        scores = inside @ w[f"w{last}"] + w[f"b{last}"]
        return {row: scores[row] for row in range(len(catalog)) if taken[row] and row not in query}


class MultDAEContract(MultVAEContract):
    options: ClassVar = {**MultVAEContract.options, "variational": False, "latent": 16}


class PersonasContract(BehaviourContract):
    alike_tie = False

    def build(self, catalog):
        return Personas(catalog, personas=2, dim=16, batch_size=20, epochs=15, learning_rate=0.05, store=STORE.name)

    def brute_force(self, catalog, query):
        w = {name: one.numpy() for name, one in self.build(catalog)._weights.items()}
        taken = users_by_items(catalog).any(axis=0)
        known = [row for row in query if taken[row]]
        if not known:
            return {}

        def shares(row):
            raised = np.exp([p @ w["A"] @ w["q"][row] / 4 for p in personas])
            return raised / raised.sum()

        personas = w["c"]
        for _ in range(2):
            owned = [shares(row) for row in dict.fromkeys(known)]
            read = w["v"][list(dict.fromkeys(known))]
            personas = [
                w["c"][k] + sum(a[k] * v for a, v in zip(owned, read, strict=True)) / (1 + sum(a[k] for a in owned))
                for k in (0, 1)
            ]
        scores = [shares(row) @ [p @ w["q"][row] for p in personas] + w["b"][row] for row in range(len(catalog))]
        return {row: scores[row] for row in range(len(catalog)) if taken[row] and row not in query}


class VQRecContract(BehaviourContract):
    options: ClassVar = {"parts": 4, "dim": 16, "batch_size": 20, "epochs": 8, "learning_rate": 0.02}

    def build(self, catalog):
        return VQRec(catalog, encoder={"type": "hashing", "dim": 16}, store=STORE.name, **self.options)

    def brute_force(self, catalog, query):
        vectors = self.build(catalog).item_vectors().astype(np.float64)
        readable = Hashing(dim=16).encode_items(catalog.texts).any(axis=1)
        recent = [row for row in query if readable[row]][::-1][:10]
        if not recent:
            return {}
        user = sum(0.8**place * vectors[row] for place, row in enumerate(recent))
        scores = vectors @ user / np.linalg.norm(user) / 0.07
        return {row: scores[row] for row in range(len(catalog)) if readable[row] and row not in query}


class HistoryTextContract(BehaviourContract):
    learns = False

    def build(self, catalog):
        return HistoryText(catalog, retriever={"type": "bm25", "backend": "numpy"}, last=3)

    def brute_force(self, catalog, query):
        titles = [catalog.texts[row] for row in query if catalog.texts[row]]
        asked = words(" ".join(titles[-3:]))
        scores = lucene([words(text) for text in catalog.texts], asked, k1=1.2, b=0.75)
        return {row: score for row, score in scores.items() if row not in query}
