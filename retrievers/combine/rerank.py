"""Reranking: a slow and careful scorer orders what a fast retriever found."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Annotated, Any, Protocol

import numpy as np
from annotated_types import Ge

from retrievers import PARTS
from retrievers.abilities import Delegate
from retrievers.base import Catalog, Floats, Hits, Query, Retriever, Rows
from retrievers.dense.encoders import missing_model
from retrievers.errors import EngineError, MissingAnswers
from retrievers.options import PositiveInt, checked
from retrievers.store import expanded
from retrievers.topk import check_k, topk_of


@checked
class Rerank(Delegate):
    """The first `depth` items of another retriever, in a new order by a scorer that reads query and item together.

    An item among them has the scorer's number as its score. A search for more items also gets the next ones of the
    retriever, in its order and below all others: the lowest number of the scorer, less 1, less how far the retriever's
    score is below that of the first of them. (Nogueira and Cho, "Passage Re-ranking with BERT", 2019.)

    The scorer gets each query on its own and each different text once, so that items with one text tie.

    Args:
        catalog: What is searched.
        retriever: What finds the items, as a recipe writes it: `{type: bm25, k1: 0.9}`.
        scorer: What orders them: `{type: cross_encoder, model: cross-encoder/ms-marco-MiniLM-L6-v2}`.
        depth: How many items are scored per query. They are most of the cost.
        field: The field of the catalog that the scorer reads; "texts" is the text that is searched by default.
    """

    def __init__(
        self,
        catalog: Catalog,
        *,
        retriever: dict[str, Any],
        scorer: dict[str, Any],
        depth: PositiveInt = 100,
        field: str = "texts",
    ) -> None:
        self._texts = catalog.column(field)
        self._depth = min(depth, len(catalog))
        self._inner: Retriever = PARTS.build("retriever", retriever, catalog)
        most = self.max_k
        if most is not None and most < self._depth:
            raise ValueError(f"depth: the retriever finds at most {most} items; set depth to {most} or less")
        self._scorer: Scorer = PARTS.build("scorer", scorer)

    def search(self, queries: Sequence[Query], k: int) -> Hits:
        """Hits of shape (len(queries), k).

        Raises `ValueError` for a query that is not text or a k below 1, and the retriever's `MissingAnswers`.
        """
        check_k(k)
        faults: Mapping[int, EngineError] = {}
        try:
            first = self._inner.search(queries, max(k, self._depth))
        except MissingAnswers as error:
            first, faults = error.hits, error.faults
        scores_QM = np.zeros(first.rows_QK.shape, np.float64)
        for query, rows_M, before_M, scores_M in zip(queries, *first, scores_QM, strict=True):
            found = int((rows_M >= 0).sum())
            head, tail = slice(0, min(found, self._depth)), slice(self._depth, found)
            if found:
                scores_M[head] = self._scored(query, rows_M[head])
            if found > self._depth:
                scores_M[tail] = scores_M[head].min() - 1 - (before_M[self._depth] - before_M[tail])
        hits = topk_of(first.rows_QK, scores_QM, k)
        if faults:
            raise MissingAnswers(hits, faults)
        return hits

    def _scored(self, query: Query, rows: Rows) -> list[float]:
        """The scorer's numbers for some items, which must be finite."""
        if not isinstance(query, str):
            raise ValueError(f"a scorer reads text, and the query is of type {type(query).__name__}")
        texts = [self._texts[row] for row in rows]
        different = list(dict.fromkeys(texts))
        numbers = np.asarray(self._scorer.score(query, different))
        fits = numbers.shape == (len(different),)
        if not fits or not np.isfinite(numbers).all():
            what = "numbers that are not finite" if fits else f"shape {numbers.shape}"
            asked = f"{len(different)} texts of the query {query[:80]!r}"
            raise ValueError(f"scorer {type(self._scorer).__name__} returned {what} for {asked}")
        score_of = dict(zip(different, numbers, strict=True))
        return [score_of[text] for text in texts]


BUILTIN = {"cross_encoder": "retrievers.combine.rerank:CrossEncoder"}
"""Scorers by the name that a recipe uses; the classes are imported when they are used."""

CHARS_PER_TOKEN = 20
"""Texts are cut at this many characters per token that the model reads: a megabyte is not worth tokenizing."""


class Scorer(Protocol):
    """Says how well texts answer a query. Built as `cls(*, options)`."""

    def score(self, query: str, texts: Sequence[str]) -> Floats:
        """(len(texts),) finite numbers, higher for a better answer; at least one text, each of them once."""
        ...


@checked
class CrossEncoder:
    """A cross-encoder of sentence-transformers: a model with one output for a pair of texts.

    A score is the model's logit, without a sigmoid, whose ends would make good answers tie. Pairs are cut to what the
    model reads, the longer text first. Scoring is safe from several threads; a pickled scorer loads its model again.

    Args:
        model: A folder, or a name on the hub.
        max_length: Tokens of a pair that are read; None for as many as the model can.
        batch_size: Pairs at a time.
        device: "cpu", "cuda", "cuda:1" ...; None takes what is there.

    Raises `ValueError` for a model that cannot be loaded or has more than one output, or an option that cannot be used.
    """

    def __init__(
        self,
        *,
        model: str,
        max_length: Annotated[int, Ge(8)] | None = None,
        batch_size: PositiveInt = 32,
        device: str | None = None,
    ) -> None:
        self._options: dict[str, Any] = {
            "model": model,
            "max_length": max_length,
            "batch_size": batch_size,
            "device": device,
        }
        self._batch_size = batch_size
        self._model = _load(model, max_length, device)
        # A model without a limit of its own reports a huge number.
        self._longest = min(int(self._model.max_length or 512), 100_000) * CHARS_PER_TOKEN
        self._one_at_a_time = threading.Lock()  # its tokenizer cannot be used by two threads

    @staticmethod
    def check_options(options: Mapping[str, Any]) -> list[str]:
        """What is wrong with the values of options, before a model is loaded."""
        return missing_model(str(options.get("model", "")))

    def __reduce__(self) -> tuple[Callable[[], CrossEncoder], tuple[()]]:
        return partial(type(self), **self._options), ()

    def score(self, query: str, texts: Sequence[str]) -> Floats:
        """(len(texts),) logits."""
        from torch.nn import Identity

        pairs = [(self._readable(query), self._readable(text)) for text in texts]
        how = {"batch_size": self._batch_size, "activation_fn": Identity(), "show_progress_bar": False}
        with self._one_at_a_time:
            return np.asarray(self._model.predict(pairs, **how), np.float32)

    def _readable(self, text: str) -> str:
        """As much as the model reads, without lone surrogates, which tokenizers do not take."""
        return text[: self._longest].encode("utf-8", "replace").decode()


def _load(model: str, max_length: int | None, device: str | None) -> Any:
    try:
        import sentence_transformers
        import transformers
    except ImportError as error:
        what = f"a cross-encoder needs the library sentence-transformers ({error})"
        raise ValueError(f"model: {what}; install it with: pip install 'recr1[dense]'") from error
    transformers.utils.logging.disable_progress_bar()  # for loading the weights
    try:
        # Not a Path: the library tells a folder from a hub's name by the text.
        found = sentence_transformers.CrossEncoder(str(expanded(model)), max_length=max_length, device=device)
    except (OSError, ValueError) as error:
        raise ValueError(f"model: cannot load {model!r}: {error}") from error
    if found.num_labels != 1:
        raise ValueError(f"model: {model!r} has {found.num_labels} outputs, and a reranker has one: take another model")
    return found
