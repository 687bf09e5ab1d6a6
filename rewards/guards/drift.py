"""A reward for queries that stay near the shopper's own words."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np

from retrievers import PARTS
from retrievers.base import Floats
from retrievers.dense.encoders import Encoder
from retrievers.options import PositiveShare, checked
from rewards.base import Batch, Invalid
from rewards.guards.words import text_of


@checked
class DriftReward:
    """0 for a query whose vector has a cosine of at least `at_least` with that of the need's text, else less.

    It falls linearly to -1 at a cosine of 0 or less. An Invalid rollout earns -1, the least; a query that is not text
    0. Where the catalog's words differ from the shoppers' words, an encoder of words (`hashing`, the default) punishes
    what the policy must learn: use an encoder of meanings there, or leave this guard out.

    The name is "drift(0.2)", with the encoder if it is not the default.

    Args:
        encoder: What makes the vectors, as a recipe writes it: `{type: sentence_transformers, model: ...}`.
        at_least: The cosine from which nothing is lost.
    """

    def __init__(self, *, encoder: dict[str, Any] | None = None, at_least: PositiveShare = 0.2) -> None:
        self.at_least = at_least
        self._spec: Mapping[str, Any] = encoder or {"type": "hashing"}
        options = [f"{name}={value}" for name, value in self._spec.items() if name != "type"]
        shown = "" if self._spec == {"type": "hashing"} else "," + ",".join([str(self._spec.get("type")), *options])
        self.name = f"drift({at_least}{shown})"

    @cached_property
    def _encoder(self) -> Encoder:
        # Not in the constructor: checking a recipe builds its rewards, and a model takes seconds to load.
        encoder: Encoder = PARTS.build("encoder", self._spec)
        return encoder

    def __getstate__(self) -> dict[str, Any]:
        """Without the encoder: another process builds its own."""
        return {name: value for name, value in vars(self).items() if name != "_encoder"}

    def __call__(self, batch: Batch) -> Floats:
        """(B,) from -1 to 0; raises `ValueError` for an encoder that cannot be built."""
        rewards_B = np.fromiter((-isinstance(r.action, Invalid) for r in batch.rollouts), np.float32, len(batch))
        queries = {row: text for row, rollout in enumerate(batch.rollouts) if (text := text_of(rollout)) is not None}
        if not queries:
            return rewards_B
        # Each text once, sorted: the last bits of a model's vectors may depend on the order of its input.
        texts = sorted({*queries.values(), *(batch.rollouts[row].need.text for row in queries)})
        place = {text: number for number, text in enumerate(texts)}
        vectors_TD = self._encoder.encode_queries(texts).astype(np.float64)
        vectors_TD /= np.maximum(np.linalg.norm(vectors_TD, axis=1, keepdims=True), 1e-12)
        for row, text in queries.items():
            cosine = float(vectors_TD[place[text]] @ vectors_TD[place[batch.rollouts[row].need.text]])
            rewards_B[row] = -min(1.0, max(0.0, self.at_least - cosine) / self.at_least)
        return rewards_B
