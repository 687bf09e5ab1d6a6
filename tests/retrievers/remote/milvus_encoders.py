"""Encoders for the tests of `milvus`: one of vectors worked out by hand, and one that writes down what it is asked."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from retrievers.dense.encoders import Hashing


class Corner:
    """Two vectors of length 1, 60 degrees apart: one for texts with an "a", one for the others."""

    dim = 2
    identity = {"type": "corner"}  # noqa: RUF012 - read only

    def encode_items(self, texts):
        vectors = np.zeros((len(texts), self.dim), np.float32)
        vectors[:, :2] = np.array([[1, 0] if "a" in text else [0.5, 0.75**0.5] for text in texts]).reshape(-1, 2)
        return vectors

    encode_queries = encode_items


class Square(Corner):
    """In four dimensions."""

    dim = 4


class Heard(Hashing):
    """Each call becomes a line of the file `log`: how many items, or which queries."""

    def __init__(self, *, log):
        super().__init__(dim=64)
        self._log = Path(log)

    def encode_items(self, texts):
        self._write(f"items: {len(texts)}")
        return super().encode_items(texts)

    def encode_queries(self, texts):
        self._write(f"queries: {' '.join(texts)}")
        return Hashing.encode_items(self, texts)

    def _write(self, line):
        with self._log.open("a") as log:
            log.write(f"{line}\n")
