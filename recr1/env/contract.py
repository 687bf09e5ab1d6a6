"""What a retriever and a reward must hand back, checked at each step: no number can be silently wrong."""

from __future__ import annotations

import numpy as np

from retrievers.base import Floats, Hits, Retriever
from rewards.base import Batch, Reward


class ContractError(RuntimeError):
    """A retriever or a reward handed back something that its interface rules out: the run stops, nothing is guessed."""


def checked_hits(hits: Hits, retriever: Retriever, queries: int, k: int, items: int) -> Hits:
    """The hits of so many queries; raises `ContractError` unless a measure can be read from them."""
    who = f"retriever {type(retriever).__name__}"
    expected = ((queries, k), np.int32), ((queries, k), np.float32)
    for name, array, (shape, dtype) in zip(Hits._fields, hits, expected, strict=True):
        if not isinstance(array, np.ndarray) or array.shape != shape or array.dtype != dtype:
            raise ContractError(
                f"{who} returned {name} as {_describe(array)}; a search of {queries} queries for k={k} must "
                f"return {dtype.__name__} of shape {shape}"
            )
    rows, scores = hits
    if rows.min() < -1 or rows.max() >= items:
        raise ContractError(f"{who} returned row {_outside(rows)}; the catalog has {items} items")
    if ((rows[:, 1:] >= 0) & (rows[:, :-1] < 0)).any():
        raise ContractError(f"{who} returned an item after a -1; padding belongs at the end")
    if np.isnan(scores).any() or (scores[:, 1:] > scores[:, :-1]).any():
        raise ContractError(f"{who} returned scores that are NaN or rise along the ranking")
    ordered = np.sort(rows, axis=1)
    if ((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)).any():
        raise ContractError(f"{who} returned one item twice for the same query")
    return hits


def checked_reward(reward: Reward, batch: Batch) -> Floats:
    """(B,) what the reward says of a batch; raises `ContractError` unless it is a finite number for each rollout."""
    values = reward(batch)
    if not isinstance(values, np.ndarray) or values.shape != (len(batch),) or values.dtype.kind not in "fiub":
        raise ContractError(
            f"reward '{reward.name}' returned {_describe(values)}; {len(batch)} rollouts need float32 of shape "
            f"({len(batch)},)"
        )
    with np.errstate(over="ignore"):  # what overflows becomes inf, which the next check reports
        values_B: Floats = values.astype(np.float32, copy=False)
    finite_B = np.isfinite(values_B)
    if not finite_B.all():
        row = int(np.argmin(finite_B))
        raise ContractError(
            f"reward '{reward.name}' returned {values_B[row]} for need '{batch.rollouts[row].need.id}' "
            f"(completion {batch.rollouts[row].completion[:80]!r}); rewards must be finite"
        )
    return values_B


def _describe(value: object) -> str:
    return f"{value.dtype} of shape {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__


def _outside(rows: np.ndarray) -> int:
    return int(rows.min() if rows.min() < -1 else rows.max())
