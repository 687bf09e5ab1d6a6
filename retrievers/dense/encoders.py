"""Encoders: from texts to vectors whose dot product is their similarity.

A text without a readable character has the vector zero: `dense` finds no such item, and nothing for such a query.
"""

from __future__ import annotations

import hashlib
import re
import threading
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, Protocol, runtime_checkable

import numpy as np
from annotated_types import Ge, MultipleOf

from retrievers.analyzer import VERSION, Analyzer
from retrievers.base import Floats
from retrievers.options import PositiveInt, checked
from retrievers.store import expanded

BUILTIN = {
    "hashing": "retrievers.dense.encoders:Hashing",
    "sentence_transformers": "retrievers.dense.encoders:SentenceTransformers",
}
"""Encoders by the name that a recipe uses; the classes are imported when they are used."""


class Encoder(Protocol):
    """Turns texts into vectors of `dim` numbers. Built as `cls(*, options)`."""

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


@runtime_checkable
class ReadsOnlyTheBeginning(Protocol):
    """An encoder that cuts long texts."""

    def cut(self, texts: Sequence[str]) -> tuple[int, int]:
        """How many of the texts of items are cut, and how many tokens of a text are read."""
        ...


@checked
class Hashing:
    """Bags of hashed words: no model, no download, the same vectors on every machine. For tests and first runs.

    Each feature, a word or a run of characters of one, is hashed into `dim` signs; a text is the sum of those of its
    features, at length one. The dot product of two texts is the cosine of their counts of features, with a random error
    of about 1 / sqrt(dim). It knows no synonyms and no idf. (P. Kanerva et al., "Random Indexing of Text Samples for
    Latent Semantic Analysis", 2000.)

    Args:
        dim: How many dimensions; a multiple of 8.
        ngrams: None hashes whole words; 3 hashes their runs of 3 characters, the ends of words marked, which finds
            "shoe" with "shoes" and tolerates typing errors.
        seed: Of the hash.
    """

    def __init__(
        self,
        *,
        dim: Annotated[int, Ge(8), MultipleOf(8)] = 256,
        ngrams: Annotated[int, Ge(2)] | None = None,
        seed: int = 0,
    ) -> None:
        self.dim, self._ngrams, self._seed = dim, ngrams, seed
        self._analyzer = Analyzer()

    @property
    def identity(self) -> Mapping[str, Any]:
        """The options, and the versions of the analyzer and of Unicode, by which words are cut."""
        words = [VERSION, unicodedata.unidata_version]
        return {"type": "hashing", "dim": self.dim, "ngrams": self._ngrams, "seed": self._seed, "words": words}

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
            # Integers, so that the order of the words cannot show in the last bit.
            present, times = np.unique(np.array(features, np.int64), return_counts=True)
            sums_BD[place] = times @ signs_FD[present]
        lengths_B1 = np.linalg.norm(sums_BD, axis=1, keepdims=True)
        vectors: Floats = (sums_BD / np.maximum(lengths_B1, 1)).astype(np.float32)
        return vectors

    def _features(self, text: str) -> Iterable[str]:
        words = self._analyzer.terms(text)
        if (size := self._ngrams) is None:
            return words
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

    Pooling, normalisation, the longest text, the similarity (cosine or dot product) and the prompts for queries and
    documents are the model's own. Texts are cut at the model's longest; how many items that concerns is logged when
    they are embedded. Vectors differ in their last bits from one device, and one batch, to another.

    Args:
        model: A folder or a hub name. With HF_HUB_OFFLINE=1 nothing is downloaded.
        revision: A branch, tag or commit on the hub.
        query_prefix: Put before each query ("query: " for E5); None as the model says.
        document_prefix: Put before each item; None as the model says.
        pooling: Whether a text is its first token ("cls") or the mean of all. None as the model says; a model that was
            not made for this library says nothing, and gets the mean. BLaIR and SimCSE need "cls".
        batch_size: Texts per forward pass.
        device: "cpu", "cuda:1" ...; None takes an accelerator where there is one.
        trust_remote_code: Whether code that comes with the model may run.

    Raises `ValueError` if the library is not installed, and `OSError` if the model cannot be found or downloaded.
    """

    def __init__(
        self,
        *,
        model: str,
        revision: str | None = None,
        query_prefix: str | None = None,
        document_prefix: str | None = None,
        pooling: Literal["cls", "mean"] | None = None,
        batch_size: PositiveInt = 64,
        device: str | None = None,
        trust_remote_code: bool = False,
    ) -> None:
        name = str(expanded(model)) if expanded(model).is_dir() else model
        self._load_options: dict[str, Any] = {"model_name_or_path": name, "revision": revision, "device": device}
        self._load_options["trust_remote_code"] = trust_remote_code
        self._query_prefix, self._document_prefix, self._batch_size = query_prefix, document_prefix, batch_size
        self._pooling = pooling
        self._load()

    @staticmethod
    def check_options(options: Mapping[str, Any]) -> list[str]:
        """What is wrong with the options, found without loading anything."""
        return missing_model(str(options.get("model", "")))

    def _load(self) -> None:
        try:
            from sentence_transformers import SentenceTransformer
        except ModuleNotFoundError as error:
            what = "encoder sentence_transformers needs the library of that name"
            raise ValueError(f"{what} ({error}); install it with: pip install 'recr1[dense]'") from error
        self._model: Any = SentenceTransformer(**self._load_options)
        if self._pooling:
            layers = [layer for layer in self._model if isinstance(getattr(layer, "pooling_mode", None), str)]
            if len(layers) != 1:
                raise ValueError(f"pooling: this model has {len(layers)} layers that pool one way; leave pooling out")
            layers[0].pooling_mode = self._pooling
        similarity = self._model.similarity_fn_name
        if similarity not in ("cosine", "dot"):
            name = self._load_options["model_name_or_path"]
            raise ValueError(f"model: {name!r} compares by {similarity}: must be cosine or dot")
        self._normalizes = similarity == "cosine"
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

    def cut(self, texts: Sequence[str]) -> tuple[int, int]:
        """How many of the texts of items have more tokens than the model reads, and how many it reads."""
        longest, prefix, cut = self._model.max_seq_length or 0, self.identity["prompt"] or "", 0
        for first in range(0, len(texts), 1024) if longest else ():
            clean = [prefix + text.encode("utf-8", "replace").decode() for text in texts[first : first + 1024]]
            with self._one_at_a_time:
                tokens = self._model.tokenizer(clean, truncation=False, padding=False, verbose=False)["input_ids"]
            cut += sum(len(row) > longest for row in tokens)
        return cut, longest

    def _encode(self, encode: Any, texts: Sequence[str], prefix: str | None) -> Floats:
        vectors = np.zeros((len(texts), self.dim), np.float32)
        readable = [place for place, text in enumerate(texts) if _READABLE.search(text)]
        if not readable:
            return vectors
        # Tokenizers take no lone surrogates.
        clean = [texts[place].encode("utf-8", "replace").decode() for place in readable]
        how = {"prompt": prefix, "batch_size": self._batch_size, "normalize_embeddings": self._normalizes}
        with self._one_at_a_time:
            vectors[readable] = encode(clean, show_progress_bar=False, **how)
        return vectors


def missing_model(model: str) -> list[str]:
    """That the folder of a model is missing, as `check_options` says it; nothing for a name on the hub."""
    looks_local = model.startswith((".", "/", "~")) or model.count("/") > 1
    if looks_local and not expanded(model).is_dir():
        return [f"model: there is no folder {model!r}; give a folder or a hub name"]
    return []


def _identity(model: Any, normalizes: bool, prefix: str | None) -> Mapping[str, Any]:  # noqa: FBT001 - it is a fact
    """All that the vectors of items depend on, read right after loading: a tokenizer's text changes with use."""
    fast = getattr(model.tokenizer, "backend_tokenizer", model.tokenizer)
    tokens = str(fast.to_str()) if hasattr(fast, "to_str") else repr(sorted(model.tokenizer.get_vocab().items()))
    return {
        "type": "sentence_transformers",
        "weights": _digest_of_weights(model),
        "tokenizer": hashlib.sha256(tokens.encode()).hexdigest(),
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
