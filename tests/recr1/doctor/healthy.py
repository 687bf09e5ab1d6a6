"""Engines without a fault, as recipes write them, in all the ways that a doctor must not blame."""

from __future__ import annotations

import re

import numpy as np


class SharedWords:
    """A scorer for `rerank`: how many of the query's words a text has, more for a shorter text."""

    def score(self, query, texts):
        words = [re.findall(r"\w+", text.lower()) for text in texts]
        wanted = set(re.findall(r"\w+", query.lower()))
        return np.array([len(wanted & set(some)) + 1 / (1 + len(some)) for some in words], np.float32)
