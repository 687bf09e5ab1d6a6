"""How the answers of an engine behind a network become hits.

A remote retriever asks once per query, several at a time, through an `EngineClient`. A search ends in every answer, or
in a `MissingAnswers` that carries the answers there are: no fault becomes an empty list or a number.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from retrievers.base import Catalog, Hits, Query, text_of
from retrievers.errors import EngineError, MissingAnswers, shown
from retrievers.remote.client import EngineClient
from retrievers.topk import check_k, topk_of

Answer: TypeAlias = Sequence[tuple[str, float]]
"""What an engine found for one query: ids of items, each with its score."""


class RemoteRetriever:
    """Asks an engine for one text at a time; subclasses write `_ask` and `_connect`. A pickled copy connects again."""

    _catalog: Catalog
    _engine: EngineClient
    _max_chars: int
    _session: Any
    """What `_connect` opens: an official client, or free connections."""

    def search(self, queries: Sequence[Query], k: int) -> Hits:
        """Hits of shape (len(queries), k), with one question for each query that is not blank.

        Raises `ValueError` for a query that is not text or a k that cannot be served, and `MissingAnswers`.
        """

        def ask(texts: Sequence[str]) -> Sequence[Answer]:
            return [self._ask(texts[0], k)]

        return search_in_batches(self._engine, self._catalog, queries, k, ask, max_chars=self._max_chars, size=1)

    def _ask(self, text: str, k: int) -> Answer:
        raise NotImplementedError

    def _connect(self) -> None:
        raise NotImplementedError

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_session"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._connect()


def search_in_batches(
    engine: EngineClient,
    catalog: Catalog,
    queries: Sequence[Query],
    k: int,
    ask: Callable[[Sequence[str]], Sequence[Answer]],
    *,
    max_chars: int,
    size: int,
) -> Hits:
    """Hits of shape (len(queries), k), with a question for every `size` queries that are not blank.

    Raises `ValueError` for a query that is not text or a k below 1, `MissingAnswers` for the queries of questions that
    failed in every attempt, and `EngineError` as `hits_of` does.
    """
    check_k(k)
    texts = [sendable(query, max_chars) for query in queries]
    asked = [place for place, text in enumerate(texts) if text]
    batches = [asked[first : first + size] for first in range(0, len(asked), size)]
    answers: list[Answer] = [()] * len(texts)
    faults: dict[int, EngineError] = {}
    given = engine.ask_each(lambda places: ask([texts[place] for place in places]), batches)
    for places, answer in zip(batches, given, strict=True):
        if isinstance(answer, EngineError):
            faults |= dict.fromkeys(places, answer)
        else:
            for place, own in zip(places, answer, strict=True):
                answers[place] = own
    hits = hits_of(engine, catalog, answers, k)
    if faults:
        raise MissingAnswers(hits, faults)
    return hits


def sendable(query: Query, max_chars: int) -> str:
    """A query as every engine takes it: no lone surrogates, no control characters, no blanks at its ends.

    A text longer than `max_chars` keeps the words that fit: engines refuse queries of thousands of words, and one long
    completion must not stop a run. Raises `ValueError` for a query that is not text.
    """
    text = text_of(query, "a remote engine").strip()[: max_chars + 1]
    if len(text) > max_chars:
        cut = text.rsplit(maxsplit=1)
        text = cut[0] if len(cut) > 1 and len(cut[0]) <= max_chars else text[:max_chars]
    return well_formed(text).strip()


def well_formed(text: str) -> str:
    """A text with a blank for each lone surrogate and control character, which engines do not take."""
    return "".join(" " if ord(sign) < 32 or 0xD800 <= ord(sign) < 0xE000 else sign for sign in text)


def hits_of(engine: EngineClient, catalog: Catalog, answers: Sequence[Answer], k: int) -> Hits:
    """Hits of shape (len(answers), k): ids become rows, and equal scores are put in the order of rows.

    Raises `EngineError` for ids that are not in the catalog, an id twice in one answer, or a score that is not finite:
    index and catalog hold different data, or an option is wrong.
    """
    ids = [item for answer in answers for item, _ in answer]
    unknown = [item for item in ids if item not in catalog]
    if unknown:
        raise engine.error(
            f"{len(unknown)} of the {len(ids)} ids in its answers are not in the catalog, {shown(unknown[0])} for one: "
            "the engine holds other data, or its ids are in another field"
        )
    shape = len(answers), max(map(len, answers), default=0)
    rows_QM, scores_QM = np.full(shape, -1, np.int32), np.zeros(shape, np.float32)
    for place, answer in enumerate(answers):
        item, times = Counter(item for item, _ in answer).most_common(1)[0] if answer else ("", 0)
        if times > 1:
            raise engine.error(f"it returned the item {shown(item)} twice for one query")
        rows_QM[place, : len(answer)] = [catalog.row(item) for item, _ in answer]
        scores_QM[place, : len(answer)] = [score for _, score in answer]
    odd = ~np.isfinite(scores_QM)
    if odd.any():
        row, score = rows_QM[odd][0], scores_QM[odd][0]
        raise engine.error(f"it gave the item {shown(catalog.ids[row])} the score {score}, which is not finite")
    return topk_of(rows_QM, scores_QM, k)
