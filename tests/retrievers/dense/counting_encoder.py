"""An encoder that writes down what it encodes, for tests in several processes."""

from __future__ import annotations

import time
from pathlib import Path

from retrievers.dense.encoders import Hashing


class Counting(Hashing):
    """Hashed words; every text of an item becomes a line of the file `log`, and each call takes `pause` seconds."""

    def __init__(self, *, log: str, pause: float = 0.0):
        super().__init__(dim=16)
        self._log, self._pause = Path(log), pause

    def encode_items(self, texts):
        with self._log.open("a") as log:
            log.writelines(f"{text}\n" for text in texts)
        time.sleep(self._pause)
        return super().encode_items(texts)

    def encode_queries(self, texts):
        return Hashing.encode_items(self, texts)
