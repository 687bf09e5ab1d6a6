"""Encoders: from texts to vectors whose dot product says how near two texts are. A part of `dense`.

A text without anything to read, such as whitespace, has the vector zero, which is near to nothing: `dense` does not
find such an item, and finds nothing for such a query.
"""

from __future__ import annotations

import hashlib
import re
import threading
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Protocol, TypeAlias

import numpy as np
from annotated_types import Ge, MultipleOf

from retrievers.analyzer import Analyzer
from retrievers.base import Floats
from retrievers.options import PositiveInt, checked

BUILTIN = {
    "hashing": "retrievers.dense.encoders:Hashing",
    "sentence_transformers": "retrievers.dense.encoders:SentenceTransformers",
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


Dim: TypeAlias = Annotated[int, Ge(8), MultipleOf(8)]


@checked
class Hashing:
    """Bags of hashed words: no model, no download, the same vectors on every machine. For tests and first runs.

    Each feature, a word or a run of characters of one, is hashed into `dim` signs; a text is the sum of those of its
    features, at length one. The dot product of two texts is close to the cosine of their counts of features: off by
    1 / sqrt(dim) or so, at random, so that texts without a common word are only nearly at 0. It knows no synonyms and
    no idf. (P. Kanerva et al., "Random Indexing of Text Samples for Latent Semantic Analysis", 2000.)

    Args:
        dim: How many dimensions; a multiple of 8.
        ngrams: None hashes whole words; 3 hashes their runs of 3 characters, the ends of words marked, which finds
            "shoe" with "shoes" and forgives typing errors.
        seed: Of the hash.

    Raises:
        ValueError: For an option that cannot be used.
    """

    def __init__(self, *, dim: Dim = 256, ngrams: Annotated[int, Ge(2)] | None = None, seed: int = 0) -> None:
        self.dim = dim
        self._ngrams, self._seed = ngrams, seed
        self._analyzer = Analyzer()

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


_READABLE = re.compile(r"[^\s\x00-\x1f\x7f-\x9f\ud800-\udfff]")


@checked
class SentenceTransformers:
    """A model of the library sentence-transformers: a folder, or a name on the Hugging Face hub.

    Pooling, normalisation, the longest text and, where the model brings prompts, those for queries and documents are as
    the model says; so is the measure of nearness, the cosine or the dot product. Texts are cut at the model's longest.
    Vectors differ in their last bits from one device, and one batch, to another.

    Args:
        model: A folder or a hub name. With HF_HUB_OFFLINE=1 nothing is downloaded.
        revision: A branch, tag or commit on the hub.
        query_prefix: Put before each query ("query: " for E5); None as the model says.
        document_prefix: Put before each item; None as the model says.
        batch_size: Texts per forward pass.
        device: "cpu", "cuda:1" ...; None takes an accelerator where there is one.
        trust_remote_code: Run code that comes with the model. Off: a model is data until you say otherwise.

    Raises:
        ValueError: For an option that cannot be used, or where the library is not installed.
        OSError: For a model that does not exist or cannot be downloaded.
    """

    def __init__(
        self,
        *,
        model: str,
        revision: str | None = None,
        query_prefix: str | None = None,
        document_prefix: str | None = None,
        batch_size: PositiveInt = 64,
        device: str | None = None,
        trust_remote_code: bool = False,
    ) -> None:
        self._load_options: dict[str, Any] = {
            "model_name_or_path": str(Path(model).expanduser()) if _is_folder(model) else model,
            "revision": revision,
            "device": device,
            "trust_remote_code": trust_remote_code,
        }
        self._query_prefix, self._document_prefix, self._batch_size = query_prefix, document_prefix, batch_size
        self._load()

    @staticmethod
    def check_options(options: Mapping[str, Any]) -> list[str]:
        """What is wrong with the values of options, found without loading anything."""
        model = str(options.get("model", ""))
        looks_local = model.startswith((".", "/", "~")) or model.count("/") > 1
        if looks_local and not _is_folder(model):
            return [f"model: there is no folder {model!r}; give a folder or a hub name"]
        return []

    def _load(self) -> None:
        try:
            from sentence_transformers import SentenceTransformer
        except ModuleNotFoundError as error:
            what = "encoder sentence_transformers needs the library of that name"
            raise ValueError(f"{what} ({error}); install it with: pip install 'recr1[dense]'") from error
        self._model: Any = SentenceTransformer(**self._load_options)
        self._normalizes = self._model.similarity_fn_name == "cosine"
        if self._model.similarity_fn_name not in ("cosine", "dot"):
            name = self._model.similarity_fn_name
            raise ValueError(f"model: {self._load_options['model_name_or_path']!r} compares by {name}: not supported")
        self.dim: Any = self._model.get_embedding_dimension()
        self.identity = _identity(self._model, self._normalizes, self._document_prefix)
        self._one_at_a_time = threading.Lock()  # fast tokenizers refuse a second thread

    def __getstate__(self) -> dict[str, Any]:
        """Without the weights: they are loaded again where the encoder is unpickled."""
        return {name: value for name, value in vars(self).items() if name not in ("_model", "_one_at_a_time")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._load()

    def encode_items(self, texts: Sequence[str]) -> Floats:
        """Vectors (len(texts), dim), 0 for a text with nothing to read."""
        return self._encode(self._model.encode_document, texts, self._document_prefix)

    def encode_queries(self, texts: Sequence[str]) -> Floats:
        """Vectors (len(texts), dim), 0 for a query with nothing to read."""
        return self._encode(self._model.encode_query, texts, self._query_prefix)

    def _encode(self, encode: Any, texts: Sequence[str], prefix: str | None) -> Floats:
        vectors = np.zeros((len(texts), self.dim), np.float32)
        readable = [place for place, text in enumerate(texts) if _READABLE.search(text)]
        if not readable:
            return vectors
        # Tokenizers take no lone surrogates.
        clean = [texts[place].encode("utf-8", "replace").decode() for place in readable]
        with self._one_at_a_time:
            vectors[readable] = encode(
                clean,
                prompt=prefix,
                batch_size=self._batch_size,
                normalize_embeddings=self._normalizes,
                show_progress_bar=False,
            )
        return vectors


def _is_folder(model: str) -> bool:
    return Path(model).expanduser().is_dir()


def _identity(model: Any, normalizes: bool, prefix: str | None) -> Mapping[str, Any]:  # noqa: FBT001 - it is a fact
    """All that the vectors of items depend on: the content of the model, wherever it is, and the prefix.

    Read right after loading: a tokenizer keeps the length of the last batch in what it says about itself.
    """
    return {
        "type": "sentence_transformers",
        "weights": _digest_of_weights(model),
        "tokenizer": hashlib.sha256(_spelled(model.tokenizer).encode()).hexdigest(),
        "layers": str(model),
        "longest": model.max_seq_length,
        "normalizes": normalizes,
        "prompt": prefix if prefix is not None else model.prompts.get("document"),
    }


def _digest_of_weights(model: Any) -> str:
    """A name of a model by its content: the same path can hold another model tomorrow."""
    import torch

    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(f"{name}\x1f{tensor.dtype}\x1f{tuple(tensor.shape)}\x1e".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _spelled(tokenizer: Any) -> str:
    """What a tokenizer does, as text."""
    fast = getattr(tokenizer, "backend_tokenizer", tokenizer)
    return str(fast.to_str()) if hasattr(fast, "to_str") else repr(sorted(tokenizer.get_vocab().items()))
