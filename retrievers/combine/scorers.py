"""Scorers: models that read a query and an item's text together. A part of `rerank`."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from retrievers.base import Floats

BUILTIN = {
    "cross_encoder": "retrievers.combine.scorers:CrossEncoder",
}
"""Scorers by the name that a recipe uses; the classes are imported when they are asked for."""

CHARS_PER_TOKEN = 20
"""Texts are cut at so many characters for each token that the model reads: a megabyte is not worth tokenizing."""


class Scorer(Protocol):
    """Says how well texts answer a query. Built as `cls(*, options)`."""

    def score(self, query: str, texts: Sequence[str]) -> Floats:
        """(len(texts),) finite numbers, higher for a better answer; at least one text, each of them once."""
        ...


class CrossEncoder:
    """A cross-encoder of sentence-transformers: a model with one output for a pair of texts.

    A score is the model's logit: it is not squeezed through a sigmoid, whose ends would make good answers tie. Pairs
    are cut to what the model reads, the longer text first. Scoring is safe from several threads, one at a time; a
    pickled scorer loads its model again.

    Args:
        model: A folder, or a name on the hub.
        max_length: Tokens of a pair that are read; None for as many as the model can.
        batch_size: Pairs at a time.
        device: "cpu", "cuda", "cuda:1" ...; None takes what is there.

    Raises:
        ValueError: For a model that cannot be loaded or has more than one output, or an option that cannot be used.
    """

    def __init__(
        self, *, model: str, max_length: int | None = None, batch_size: int = 32, device: str | None = None
    ) -> None:
        self._options = {"model": model, "max_length": max_length, "batch_size": batch_size, "device": device}
        problems = self.check_options(self._options)
        if problems:
            raise ValueError(problems[0])
        self._batch_size = batch_size
        self._model = _load(model, max_length, device)
        # A model without a limit of its own reports a huge number.
        self._longest = min(int(self._model.max_length or 512), 100_000) * CHARS_PER_TOKEN
        self._one_at_a_time = threading.Lock()  # its tokenizer cannot be used by two threads

    @staticmethod
    def check_options(options: Mapping[str, Any]) -> list[str]:
        """What is wrong with the values of options, before a model is loaded."""
        problems = []
        for name, least in (("max_length", 8), ("batch_size", 1)):
            value = options.get(name)
            if value is not None and value < least:
                problems.append(f"{name}: must be at least {least}, got {value}")
        model = str(options.get("model", ""))
        looks_local = model.startswith((".", "/", "~")) or model.count("/") > 1
        if looks_local and not Path(model).expanduser().is_dir():
            problems.append(f"model: there is no folder {model!r}; give a folder or a name on the hub")
        return problems

    def __getstate__(self) -> dict[str, Any]:
        return self._options

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def score(self, query: str, texts: Sequence[str]) -> Floats:
        """(len(texts),) logits."""
        from torch.nn import Identity

        pairs = [(self._readable(query), self._readable(text)) for text in texts]
        with self._one_at_a_time:
            logits = self._model.predict(
                pairs, batch_size=self._batch_size, activation_fn=Identity(), show_progress_bar=False
            )
        return np.asarray(logits, np.float32)

    def _readable(self, text: str) -> str:
        """As much as can be read, without surrogates that have no partner: tokenizers refuse those."""
        return text[: self._longest].encode("utf-8", "replace").decode()


def _load(model: str, max_length: int | None, device: str | None) -> Any:
    try:
        import sentence_transformers
        import transformers
    except ImportError as error:
        raise ValueError(
            f"model: a cross-encoder needs the library sentence-transformers ({error}); "
            "install it with: pip install 'recr1[dense]'"
        ) from error
    transformers.utils.logging.disable_progress_bar()  # of the weights, which are loaded in a moment
    try:
        # Not a Path: the library tells a folder from a hub's name by the text.
        found = sentence_transformers.CrossEncoder(str(Path(model).expanduser()), max_length=max_length, device=device)
    except (OSError, ValueError) as error:
        raise ValueError(f"model: cannot load {model!r}: {error}") from error
    if found.num_labels != 1:
        raise ValueError(f"model: {model!r} has {found.num_labels} outputs, and a reranker has one: take another model")
    return found
