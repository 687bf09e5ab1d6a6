"""What every engine behind a network shares: patience, limits, and how its answers become hits.

A remote retriever asks once per query, several at a time, through a `Line`. A fault that may pass (`Passing`: no
connection, a time-out, 429, 5xx, an answer that breaks off) is tried again; one that will not (`Refused`: a wrong
token, an answer of another shape) is not. Either way a search ends in every answer, or in an error that carries the
answers there are (`Unanswered`): no fault becomes an empty list or a number.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from retrievers.base import Catalog, Hits, Query
from retrievers.topk import check_k, no_hits, topk

if TYPE_CHECKING:
    from retrievers.remote.client import Line

Answer: TypeAlias = Sequence[tuple[str, float]]
"""What an engine found for one query: ids of items, each with its score."""


class Passing(Exception):  # noqa: N818 - it says that a fault may pass
    """One attempt failed in a way that the next may not; `retry_after` is how many seconds the engine asked for."""

    def __init__(self, what: str, retry_after: float = 0.0) -> None:
        super().__init__(what)
        self.retry_after = retry_after


class Refused(Exception):  # noqa: N818 - as above
    """The engine answered, and will answer the same again: a wrong address, token, query or answer."""


class RemoteError(ConnectionError):
    """An engine gave no usable answer: which engine, where, after how many attempts, and the last cause."""

    def __init__(self, engine: str, address: str, attempts: int, cause: str) -> None:
        tried = "not asked" if attempts == 0 else f"after {attempts} attempt{'s' if attempts > 1 else ''}"
        super().__init__(f"{engine} at {address}, {tried}: {cause}")
        self.engine, self.address, self.attempts, self.cause = engine, address, attempts, cause

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.engine, self.address, self.attempts, self.cause)


class Unanswered(RemoteError):  # noqa: N818 - it says what is the matter
    """A search in which some queries, or all, have no answer though every attempt was made.

    What was answered is not lost: `hits` are those of the whole search, empty in the places of `faults`, which says
    why. It is raised, not returned, so that nobody can take an unanswered query for one that found nothing.
    """

    def __init__(self, hits: Hits, faults: Mapping[int, RemoteError]) -> None:
        first, queries = next(iter(faults.values())), len(hits.rows_QK)
        share = f" ({len(faults)} of the search's {queries} queries have no answer)" if queries > 1 else ""
        super().__init__(first.engine, first.address, first.attempts, f"{first.cause}{share}")
        self.hits, self.faults = hits, dict(faults)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.hits, self.faults)


def without_answer(hits: Hits, places: Sequence[int]) -> Hits:
    """A copy of hits in which these queries have found nothing."""
    rows_QK, scores_QK = hits.rows_QK.copy(), hits.scores_QK.copy()
    rows_QK[list(places)], scores_QK[list(places)] = -1, -np.inf
    return Hits(rows_QK, scores_QK)


def search_remotely(
    line: Line, catalog: Catalog, queries: Sequence[Query], k: int, ask: Callable[[str], Answer], *, max_chars: int
) -> Hits:
    """Hits of shape (len(queries), k), with one question for each query that is not blank.

    Raises `ValueError` for a query that is not text or a k below 1, `Unanswered` where questions outlived their
    attempts, with the hits of the others, and `RemoteError` as `hits_of` does.
    """
    return search_in_batches(line, catalog, queries, k, lambda texts: [ask(texts[0])], max_chars=max_chars, size=1)


def search_in_batches(
    line: Line,
    catalog: Catalog,
    queries: Sequence[Query],
    k: int,
    ask: Callable[[Sequence[str]], Sequence[Answer]],
    *,
    max_chars: int,
    size: int,
) -> Hits:
    """As `search_remotely`, for an engine that takes up to `size` queries in a question: they share its fault, too."""
    check_k(k)
    texts = [sendable(query, max_chars) for query in queries]
    asked = [place for place, text in enumerate(texts) if text]
    batches = [asked[first : first + size] for first in range(0, len(asked), size)]
    answers: list[Answer] = [()] * len(texts)
    faults: dict[int, RemoteError] = {}
    given = line.ask_each(lambda places: ask([texts[place] for place in places]), batches)
    for places, answer in zip(batches, given, strict=True):
        if isinstance(answer, RemoteError):
            faults |= dict.fromkeys(places, answer)
        else:
            for place, own in zip(places, answer, strict=True):
                answers[place] = own
    hits = hits_of(line, catalog, answers, k)
    if faults:
        raise Unanswered(hits, faults)
    return hits


def sendable(query: Query, max_chars: int) -> str:
    """A query as every engine takes it: no lone surrogates, no control characters, no blanks at its ends.

    Of a text longer than `max_chars`, the words that fit are kept: engines refuse queries of thousands of words, and a
    policy that rambles must not stop a run. Raises `ValueError` for a query that is not text.
    """
    if not isinstance(query, str):
        raise ValueError(f"a remote engine searches text, not a {type(query).__name__}: {query!r}")
    text = query.strip()[: max_chars + 1]
    if len(text) > max_chars:
        cut = text.rsplit(maxsplit=1)
        text = cut[0] if len(cut) > 1 and len(cut[0]) <= max_chars else text[:max_chars]
    return well_formed(text).strip()


def well_formed(text: str) -> str:
    """A text with a blank for each lone surrogate and control character, which engines refuse."""
    return "".join(" " if ord(sign) < 32 or 0xD800 <= ord(sign) < 0xE000 else sign for sign in text)


def hits_of(line: Line, catalog: Catalog, answers: Sequence[Answer], k: int) -> Hits:
    """Hits of shape (len(answers), k): ids become rows, and equal scores are put in the order of rows.

    Raises:
        RemoteError: For ids that are not in the catalog, with how many; an id twice in one answer; a score that is NaN
            or infinite. Each means that the index and the catalog are not of the same data, or that an option is wrong.
    """
    width = max(map(len, answers), default=0)
    if width == 0:
        return no_hits(len(answers), k)
    ids = [item for answer in answers for item, _ in answer]
    unknown = [item for item in ids if item not in catalog]
    if unknown:
        raise line.error(
            f"{len(unknown)} of the {len(ids)} ids in its answers are not in the catalog, {unknown[0]!r} for one: "
            "the engine holds other data, or its ids stand in another field"
        )
    rows_QM = np.full((len(answers), width), -1, np.int32)
    scores_QM = np.full((len(answers), width), -np.inf, np.float32)
    for place, answer in enumerate(answers):
        # Columns ascend with the rows in them, so that a tie for the lower column is one for the lower row.
        found = sorted((catalog.row(item), score) for item, score in answer)
        rows_QM[place, : len(found)] = [row for row, _ in found]
        scores_QM[place, : len(found)] = [score for _, score in found]
    _check_found(line, catalog, rows_QM, scores_QM)
    columns_QK, scores_QK = topk(scores_QM, k, rows_QM >= 0)
    rows_QK = np.take_along_axis(rows_QM, np.maximum(columns_QK, 0), axis=1)
    return Hits(np.where(columns_QK >= 0, rows_QK, np.int32(-1)), scores_QK)


def line_problems(options: Mapping[str, Any]) -> list[str]:
    """What is wrong with the options that every remote retriever has, before anything is built."""
    problems = [
        f"{name}: must be at least 1, got {options[name]}"
        for name in ("attempts", "threads", "max_chars")
        if options.get(name, 1) < 1
    ]
    for name in ("timeout", "rate", "cooldown"):
        value = options.get(name)
        if value is not None and not 0 < value < math.inf:
            problems.append(f"{name}: must be above 0 and finite, got {value}")
    return problems


def fault_of_status(status: int, what: str, retry_after: str | None) -> Passing | Refused:
    """The fault that an HTTP status above 299 is, to be raised; `retry_after` is the header of that name."""
    if status in (408, 425, 429) or status >= 500:
        return Passing(what, _seconds(retry_after))
    return Refused(what)


def require(library: str, engine: str, extra: str) -> None:
    """Raises `ValueError` that says what to install where a library is missing."""
    from importlib.util import find_spec

    if find_spec(library) is None:
        raise ValueError(
            f"the retriever '{engine}' needs the library '{library}'. Install it with: pip install 'recr1[{extra}]'"
        )


def _seconds(retry_after: str | None) -> float:
    """What a Retry-After header asks for, a number or a date; 0 where it asks for nothing that can be read."""
    if retry_after is None:
        return 0.0
    if retry_after.strip().isdecimal():
        return float(retry_after)
    try:
        when = parsedate_to_datetime(retry_after)
    except ValueError:
        return 0.0
    return max(0.0, (when.replace(tzinfo=when.tzinfo or UTC) - datetime.now(UTC)).total_seconds())


def _check_found(line: Line, catalog: Catalog, rows_QM: np.ndarray, scores_QM: np.ndarray) -> None:
    twice = (rows_QM[:, 1:] == rows_QM[:, :-1]) & (rows_QM[:, 1:] >= 0)
    if twice.any():
        row = rows_QM[:, 1:][twice][0]
        raise line.error(f"it found the item {catalog.ids[row]!r} twice for one query")
    odd = ~np.isfinite(scores_QM) & (rows_QM >= 0)
    if odd.any():
        row, score = rows_QM[odd][0], scores_QM[odd][0]
        raise line.error(f"it gave the item {catalog.ids[row]!r} the score {score}, which has no place in a ranking")
