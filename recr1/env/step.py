"""The result of a batch of completions, and its numbers for the log."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, TypeAlias

import numpy as np

from recr1.ranking import FAULTS
from recr1.tasks.splits import group_key
from retrievers.base import Catalog, Floats, Query
from retrievers.errors import EngineError
from rewards.base import EMPTY, UNJUDGED, Action, Answer, Batch, Invalid, Need, Recommend, Search
from rewards.guards.catalog import CopiedReward, unknown_words
from rewards.guards.words import operators_in, repeated_runs, text_of, words_of
from rewards.measures.answers import number_of

Outcome: TypeAlias = Literal["ok", "no_hits", "invalid", "retriever_error"]
"""How a rollout ended: it found something or answers in text, matched nothing, was no answer, or got none."""


@dataclass(frozen=True)
class Step:
    """The result of B completions."""

    batch: Batch
    parts: Mapping[str, Floats]
    """Reward name -> (B,), before weights; NaN where there is none."""
    rewards: Floats
    """(B,): the weighted sum of the parts, which the trainer maximises; NaN where there is none, see `faults`."""
    seconds: Mapping[str, float]  # wall time of "search", "rewards" and "total"
    retriever: Mapping[str, float] = field(default_factory=dict)
    """The retriever's own numbers after the search, if it has any."""
    faults: Mapping[int, EngineError] = field(default_factory=dict)
    """The rollouts without a reward, because the retriever had no answer, and its errors."""

    @cached_property
    def outcomes(self) -> list[Outcome]:
        """(B,) how each rollout ended."""
        found_B = self.batch.hits.rows_QK[:, 0] >= 0
        ended: list[Outcome] = ["ok" if found else "no_hits" for found in found_B]
        for row, rollout in enumerate(self.batch.rollouts):
            if row in self.faults:
                ended[row] = "retriever_error"
            elif isinstance(rollout.action, Invalid):
                ended[row] = "invalid"
            elif isinstance(rollout.action, Answer):
                ended[row] = "ok"
        return ended


def metrics(step: Step) -> dict[str, float]:
    """The numbers of a step for the log; the names are stable.

    - `reward`: mean weighted reward; `reward/<name>`: mean of each part, without its weight. Both are over the rollouts
      that have a reward, and NaN where none has.
    - `groups/flat`: share of the needs with several rewards in this batch whose rewards are all equal, so that a
      trainer that compares them learns nothing. Missing without such needs.
    - `query/copies_need`: share of the completions that search their need's own words, see `copies`.
    - `query/words`: mean words per valid query; `query/unique`: distinct valid queries per valid query;
      `query/repeated`: share of their words that appeared in the same query before. 0 without any. For the others
      `query/...`, see `guard_metrics`.
    - `outcome/ok`, `outcome/no_hits`, `outcome/invalid`, `outcome/retriever_error`: shares of completions that found
      something, matched nothing, were not a query, and have no reward because the retriever gave no answer; they add
      up to 1. `invalid/<reason>`: share of each reason that occurred.
    - `hits/...`: see `unjudged_metrics`.
    - `list/partial`, `list/repeated`, `list/invented`: shares of completions whose list lacks a candidate, has one
      twice, or has a number of none, mended or not. Missing where needs have no candidates.
    - `answer/...`: see `answer_metrics`. Missing where nothing is answered in text.
    - `family/<name>/reward`, `family/<name>/invalid`: mean reward and share of invalid completions of the needs of each
      task of a `mixed` one.
    - `retriever/<name>`: the retriever's own numbers, such as the `hit_rate` of `cached`.
    - `time/search`, `time/rewards`: seconds of wall time; `time/environment`: of the whole step, with parsing;
      `time/query`: seconds of the search per different query, 0 without any.
    """
    size = max(len(step.batch), 1)
    queries = [r.action.query for r in step.batch.rollouts if isinstance(r.action, Search)]
    reasons = Counter(r.action.reason for r in step.batch.rollouts if isinstance(r.action, Invalid))
    ended: Counter[Outcome] = Counter(step.outcomes)
    shares = {f"outcome/{name}": ended[name] / size for name in ("ok", "no_hits", "invalid", "retriever_error")}
    return {
        "reward": _mean(step.rewards),
        **{f"reward/{name}": _mean(values) for name, values in step.parts.items()},
        **_flat(step),
        "query/copies_need": copies_share((r.need, r.action) for r in step.batch.rollouts),
        "query/words": sum(map(words, queries)) / max(len(queries), 1),
        "query/unique": len(set(queries)) / max(len(queries), 1),
        "query/repeated": sum(map(repeated, queries)) / max(sum(map(words, queries)), 1),
        **guard_metrics(step.batch),
        **shares,
        **{f"invalid/{reason}": count / size for reason, count in sorted(reasons.items())},
        **unjudged_metrics(step.batch),
        **_list_faults(step.batch),
        **answer_metrics([r.action.text for r in step.batch.rollouts if isinstance(r.action, Answer)]),
        **_families(step),
        **{f"retriever/{name}": float(value) for name, value in step.retriever.items()},
        "time/search": step.seconds["search"],
        "time/rewards": step.seconds["rewards"],
        "time/environment": step.seconds["total"],
        "time/query": step.seconds["search"] / len(set(queries)) if queries else 0.0,
    }


def answer_metrics(answers: Sequence[str]) -> dict[str, float]:
    """How different answers in text are: a policy that always gives the most usual one has little of all of these.

    - `answer/words`: mean words; `answer/different`: different answers per answer.
    - `answer/entropy`: bits of the distribution of the answers; 0 where all are the same.
    - `answer/spread`: standard deviation of the answers, where all are numbers.
    """
    if not answers:
        return {}
    shares = np.array([*Counter(answers).values()]) / len(answers)
    numbers = [number_of(text) for text in answers]
    return {
        "answer/words": sum(map(words, answers)) / len(answers),
        "answer/different": len(shares) / len(answers),
        "answer/entropy": abs(float((shares * np.log2(shares)).sum())),
        **({"answer/spread": float(np.std(numbers))} if None not in numbers else {}),  # type: ignore[arg-type]
    }


def _families(step: Step) -> dict[str, float]:
    rows: dict[str, list[int]] = {}
    for row, rollout in enumerate(step.batch.rollouts):
        if rollout.need.family:
            rows.setdefault(rollout.need.family, []).append(row)
    ended = step.outcomes
    numbers = dict[str, float]()
    for family, own in sorted(rows.items()):
        numbers[f"family/{family}/reward"] = _mean(step.rewards[own])
        numbers[f"family/{family}/invalid"] = sum(ended[row] == "invalid" for row in own) / len(own)
    return numbers


def _list_faults(batch: Batch) -> dict[str, float]:
    if not any(rollout.need.candidates for rollout in batch.rollouts):
        return {}
    faults: Counter[str] = Counter()
    for rollout in batch.rollouts:
        if isinstance(rollout.action, Recommend):
            faults.update(rollout.action.mended)
        elif isinstance(rollout.action, Invalid):
            faults[rollout.action.reason] += 1
    return {f"list/{name}": faults[what] / len(batch) for name, what in FAULTS.items()}


def recorded(action: Action) -> dict[str, object]:
    """An action for a file: `query`, `rows` with what was `mended` in them, `answer`, or `invalid` with the reason."""
    if isinstance(action, Answer):
        return {"answer": action.text}
    if isinstance(action, Recommend):
        return {"rows": list(action.rows), **({"mended": list(action.mended)} if action.mended else {})}
    return {"query": action.query} if isinstance(action, Search) else {"invalid": action.reason}


def written(action: Action, completion: str) -> str | None:
    """What a policy wrote, for a reader: query, answer, or the whole completion with a list; None if it is invalid."""
    if isinstance(action, Invalid):
        return None
    if isinstance(action, Answer):
        return action.text
    return str(action.query) if isinstance(action, Search) else completion


def words(query: Query) -> int:
    """The length of a query: words of a text, items of a history."""
    if isinstance(query, str):
        return len(query.split())
    return len(query) if isinstance(query, tuple) else 1


def repeated(query: Query) -> int:
    """How many words of a query appeared in it before: 2 of "red red red lamp"; of a history, items."""
    if isinstance(query, str):
        return words(query) - len(set(query.lower().split()))
    return len(query) - len(set(query)) if isinstance(query, tuple) else 0


def copies(need_text: str, query: Query) -> bool:
    """Whether a query has the words of the need in the same order, ignoring case, punctuation and white space.

    A query that is not text is no copy.
    """
    return isinstance(query, str) and group_key(query) == group_key(need_text)


def copies_share(written: Iterable[tuple[Need, Action]]) -> float:
    """The share of completions that copy their need, of pairs of a need and what a completion for it means; 0 of none.

    An `Invalid` action copies nothing.
    """
    copied = [isinstance(action, Search) and copies(need.text, action.query) for need, action in written]
    return sum(copied) / max(len(copied), 1)


_COPIED = CopiedReward()


def known_share(queries: Iterable[Query], catalog: Catalog) -> float:
    """The share of the words of the queries that some item of the catalog holds, without stemming; 0 without a word."""
    counts = [unknown_words(query, catalog) for query in queries if isinstance(query, str)]
    words = sum(count for _, count in counts)
    return 1 - sum(unknown for unknown, _ in counts) / words if words else 0.0


def guard_metrics(batch: Batch) -> dict[str, float]:
    """Signs that queries are written for the engine, not for the need. Of queries that are text; 0 without any.

    - `query/repeated_pairs`: share of the pairs of consecutive words that appeared in the same query before.
    - `query/from_need`: share of the words that are in the need's text.
    - `query/operators`: operators per query.
    - `query/known`: share of the words that some item of the catalog holds, without stemming.
    - `query/copied`: share of the queries with the id of an item, or the whole title of one that they found.
    """
    texts = [(text, rollout.need.text) for rollout in batch.rollouts if (text := text_of(rollout)) is not None]
    pairs = [repeated_runs(text, 2) for text, _ in texts]
    words = [(words_of(text), frozenset(words_of(need))) for text, need in texts]
    count = sum(len(own) for own, _ in words)
    metrics = {
        "query/repeated_pairs": sum(again for again, _ in pairs) / max(sum(runs for _, runs in pairs), 1),
        "query/from_need": sum(word in need for own, need in words for word in own) / max(count, 1),
        "query/operators": sum(operators_in(text) for text, _ in texts) / max(len(texts), 1),
    }
    if batch.catalog is None:
        return metrics
    known = known_share([text for text, _ in texts], batch.catalog)
    invalid = sum(isinstance(rollout.action, Invalid) for rollout in batch.rollouts)
    copied = int(_COPIED.found(batch, batch.catalog).sum()) - invalid
    return {**metrics, "query/known": known, "query/copied": copied / max(len(texts), 1)}


TOP = 10
"""Places that `unjudged_metrics` reads, or k where a search returns fewer: part of the names."""


def unjudged_metrics(batch: Batch) -> dict[str, float]:
    """How much of the first 10 places was judged; 0 where nothing was found.

    - `hits/unjudged@10`: share of the items there that are unjudged. Measures count them as irrelevant, except those
      made for incomplete answer keys.
    - `hits/blind@10`: share of the rollouts with hits that have no judged item there: the answer key says nothing of
      their queries.
    """
    top = min(TOP, batch.hits.rows_QK.shape[1])
    grades_BK = batch.graded.grades_BK[:, :top]
    found_B = np.count_nonzero(grades_BK != EMPTY, axis=1)
    judged_B = np.count_nonzero(grades_BK > UNJUDGED, axis=1)
    items, rankings = int(found_B.sum()), int(np.count_nonzero(found_B))
    blind = int(np.count_nonzero((found_B > 0) & (judged_B == 0)))
    return {
        f"hits/unjudged@{top}": (items - int(judged_B.sum())) / max(items, 1),
        f"hits/blind@{top}": blind / max(rankings, 1),
    }


def _flat(step: Step) -> dict[str, float]:
    by_need: dict[str, list[float]] = {}
    for rollout, reward in zip(step.batch.rollouts, step.rewards.tolist(), strict=True):
        if not math.isnan(reward):
            by_need.setdefault(rollout.need.id, []).append(reward)
    groups = [rewards for rewards in by_need.values() if len(rewards) > 1]
    return {"groups/flat": sum(len(set(rewards)) == 1 for rewards in groups) / len(groups)} if groups else {}


def _mean(values_B: Floats) -> float:
    """The mean of the numbers that are not NaN; 0 of an empty batch, NaN of one in which all are NaN."""
    there = values_B[~np.isnan(values_B)]
    if len(there):
        return float(there.sum()) / len(there)
    return float("nan") if len(values_B) else 0.0
