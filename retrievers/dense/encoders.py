"""Encoders: from texts to vectors whose dot product says how near two texts are. A part of `dense`.

A text without anything to read, whitespace for one, has the vector zero, which is near to nothing: `dense` neither
finds such an item nor finds anything for such a query.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from retrievers.analyzer import Analyzer
from retrievers.base import Floats

BUILTIN = {
    "hashing": "retrievers.dense.encoders:Hashing",
    "sentence_transformers": "retrievers.dense.sentences:SentenceTransformers",
}
"""Encoders by the name that a recipe uses; the classes are imported when they are asked for."""


class Encoder(Protocol):
    """Gives texts a place in a space of `dim` dimensions. Built as `cls(*, options)`."""

    dim: int

    @property
    def identity(self) -> Mapping[str, Any]:
        """Everything that its vectors depend on, as JSON: embeddings are stored under it."""
        ...

    def encode_items(self, texts: Sequence[str]) -> Floats:
        """Vectors (len(texts), dim) of the texts of items."""
        ...

    def encode_queries(self, texts: Sequence[str]) -> Floats:
        """Vectors (len(texts), dim) of queries. Any string is one."""
        ...


class Hashing:
    """Bags of hashed words: no model, no download, the same vectors on every machine. For tests and first runs.

    Each feature, a word or a run of characters of one, is hashed into `dim` signs; a text is the sum of those of its
    features, at length one. The dot product of two texts is close to the cosine of their counts of features: off by
    1 / sqrt(dim) or so, at random, so that texts without a common word are only nearly at 0. It knows no synonyms and
    no idf. (P. Kanerva et al., "Random Indexing of Text Samples for Latent Semantic Analysis", 2000.)

    Args:
        dim: How many dimensions; a multiple of 8.
        ngrams: None hashes whole words; 3 or so their runs of this many characters, the ends of words marked, which
            finds "shoe" with "shoes" and forgives typing errors.
        seed: Of the hash.

    Raises:
        ValueError: For an option that cannot be used.
    """

    def __init__(self, *, dim: int = 256, ngrams: int | None = None, seed: int = 0) -> None:
        problems = self.check_options(locals())
        if problems:
            raise ValueError(problems[0])
        self.dim = dim
        self._ngrams, self._seed = ngrams, seed
        self._analyzer = Analyzer()

    @staticmethod
    def check_options(options: Mapping[str, Any]) -> list[str]:
        """What is wrong with the values of options."""
        dim, ngrams = options.get("dim", 256), options.get("ngrams")
        problems = []
        if dim < 8 or dim % 8:
            problems.append(f"dim: must be a multiple of 8, got {dim}")
        if ngrams is not None and ngrams < 2:
            problems.append(f"ngrams: must be 2 or more characters, or null for whole words, got {ngrams}")
        return problems

    @property
    def identity(self) -> Mapping[str, Any]:
        """The options, and the version of Unicode: words are cut and lowered by it."""
        unicode = unicodedata.unidata_version
        return {"type": "hashing", "dim": self.dim, "ngrams": self._ngrams, "seed": self._seed, "unicode": unicode}

    def encode_items(self, texts: Sequence[str]) -> Floats:
        """Vectors (len(texts), dim) of length 1, or 0 for a text without a word."""
        vectors = [self._encode(texts[first : first + 256]) for first in range(0, len(texts), 256)]
        return np.concatenate([np.empty((0, self.dim), np.float32), *vectors])

    def encode_queries(self, texts: Sequence[str]) -> Floats:
        """As items: a query is a short text."""
        return self.encode_items(texts)

    def _encode(self, texts: Sequence[str]) -> Floats:
        numbers: dict[str, int] = {}
        sums_BD = np.zeros((len(texts), self.dim))
        features_B = [[numbers.setdefault(f, len(numbers)) for f in self._features(text)] for text in texts]
        signs_FD = self._signs(numbers)
        for place, features in enumerate(features_B):
            # Whole numbers, so that the order of the words cannot show in the last bit.
            present, times = np.unique(np.array(features, np.int64), return_counts=True)
            sums_BD[place] = times @ signs_FD[present]
        lengths_B1 = np.linalg.norm(sums_BD, axis=1, keepdims=True)
        vectors: Floats = (sums_BD / np.maximum(lengths_B1, 1)).astype(np.float32)
        return vectors

    def _features(self, text: str) -> Iterable[str]:
        words = self._analyzer.terms(text)
        if self._ngrams is None:
            return words
        size = self._ngrams
        marked = (f"\x02{word}\x03" for word in words)
        return [word[at : at + size] for word in marked for at in range(max(1, len(word) - size + 1))]

    def _signs(self, features: Iterable[str]) -> Floats:
        """A row of 1 and -1 for each feature."""
        salt = f"{self._seed}\x1f".encode()
        digests = [hashlib.shake_128(salt + feature.encode()).digest(self.dim // 8) for feature in features]
        bits = np.unpackbits(np.frombuffer(b"".join(digests), np.uint8)).reshape(-1, self.dim)
        signs: Floats = bits.astype(np.float32) * 2 - 1
        return signs
