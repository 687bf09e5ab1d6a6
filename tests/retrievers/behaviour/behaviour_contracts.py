"""What the contracts of recommenders share: each model's formula in the simplest code."""

from __future__ import annotations

from collections import Counter
from tempfile import TemporaryDirectory
from typing import ClassVar

import numpy as np

from retrievers.behaviour.als import ALS
from retrievers.behaviour.base import matrix_of
from retrievers.behaviour.ease import EASE
from retrievers.behaviour.item_knn import ItemKNN
from retrievers.behaviour.popularity import Popularity
from retrievers.behaviour.testing import BehaviourContract

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
        return ItemKNN(catalog, neighbours=1000, store=STORE.name)

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
