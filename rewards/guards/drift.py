"""A pay for queries that stay near the words that the shopper came with."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np

from retrievers import PARTS
from retrievers.base import Floats
from retrievers.dense.encoders import Encoder
from rewards.base import Batch, Invalid
from rewards.guards.words import text_of


class DriftReward:
    """0 for a query whose vector has a cosine of at least `at_least` with that of the need's text, then less.

    Below it falls in a line, to -1 at a cosine of 0 or less. An Invalid rollout earns -1, the least; a query that is no
    text 0. Where the catalog's words are not the shoppers' words, an encoder of words (`hashing`, the usual one) sees
    drift in what the policy is to learn: take one of meanings there, or leave this guard out.

    The name is "drift(0.2)", with the encoder in it where it is not the usual one.

    Args:
        encoder: What makes the vectors, as a recipe writes it: `{type: sentence_transformers, model: ...}`.
        at_least: The cosine from which on nothing is lost.

    Raises:
        ValueError: For a cosine that is not above 0 and at most 1.
    """

    def __init__(self, *, encoder: dict[str, Any] | None = None, at_least: float = 0.2) -> None:
        if not (0 < at_least <= 1 and math.isfinite(at_least)):
            raise ValueError(f"at_least: must be a cosine above 0 and at most 1, got {at_least}")
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
        """Without the model: another process loads its own."""
        return {name: value for name, value in vars(self).items() if name != "_encoder"}

    def __call__(self, batch: Batch) -> Floats:
        """(B,) from -1 to 0; raises `ValueError` for an encoder that cannot be built."""
        rewards_B = np.fromiter((-isinstance(r.action, Invalid) for r in batch.rollouts), np.float32, len(batch))
        said = {row: text for row, rollout in enumerate(batch.rollouts) if (text := text_of(rollout)) is not None}
        if not said:
            return rewards_B
        # Each text once, in an order of its own: a model's last bits may depend on what it reads together.
        texts = sorted({*said.values(), *(batch.rollouts[row].need.text for row in said)})
        place = {text: number for number, text in enumerate(texts)}
        vectors_TD = self._encoder.encode_queries(texts).astype(np.float64)
        vectors_TD /= np.maximum(np.linalg.norm(vectors_TD, axis=1, keepdims=True), 1e-12)
        for row, text in said.items():
            cosine = float(vectors_TD[place[text]] @ vectors_TD[place[batch.rollouts[row].need.text]])
            rewards_B[row] = -min(1.0, max(0.0, self.at_least - cosine) / self.at_least)
        return rewards_B
