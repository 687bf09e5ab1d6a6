"""Signs that queries are written for the engine and no longer for the need: numbers of every step, cheap ones alone."""

from __future__ import annotations

from collections.abc import Iterable

from retrievers.base import Catalog, Query
from rewards.base import Batch, Invalid
from rewards.guards.catalog import CopiedReward, unknown_words
from rewards.guards.words import operators_in, repeated_runs, text_of, words_of

_COPIED = CopiedReward()


def known_share(queries: Iterable[Query], catalog: Catalog) -> float:
    """The share of the words of the queries that some item of the catalog holds as they are written.

    Of those that are text; 0 where there is no word.
    """
    counts = [unknown_words(query, catalog) for query in queries if isinstance(query, str)]
    words = sum(count for _, count in counts)
    return 1 - sum(unknown for unknown, _ in counts) / words if words else 0.0


def guard_metrics(batch: Batch) -> dict[str, float]:
    """Of the queries of a batch that are text; all are 0 where there is none.

    - `query/repeated_pairs`: share of the pairs of neighbouring words that stood in the same query before.
    - `query/from_need`: share of the words that stand in the need's text.
    - `query/operators`: operators per query.
    - `query/known`: share of the words that some item of the catalog holds as they are written.
    - `query/copied`: share of the queries with the id of an item, or the whole title of one that they found.
    """
    said = [(text, rollout.need.text) for rollout in batch.rollouts if (text := text_of(rollout)) is not None]
    pairs = [repeated_runs(text, 2) for text, _ in said]
    words = [(words_of(text), frozenset(words_of(need))) for text, need in said]
    count = sum(len(own) for own, _ in words)
    metrics = {
        "query/repeated_pairs": sum(again for again, _ in pairs) / max(sum(runs for _, runs in pairs), 1),
        "query/from_need": sum(word in need for own, need in words for word in own) / max(count, 1),
        "query/operators": sum(operators_in(text) for text, _ in said) / max(len(said), 1),
    }
    if batch.catalog is None:
        return metrics
    known = known_share([text for text, _ in said], batch.catalog)
    invalid = sum(isinstance(rollout.action, Invalid) for rollout in batch.rollouts)
    copied = int(_COPIED.found(batch, batch.catalog).sum()) - invalid
    return {**metrics, "query/known": known, "query/copied": copied / max(len(said), 1)}
