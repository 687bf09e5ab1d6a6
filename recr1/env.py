"""The one place where task, retriever and rewards meet: from completions to rewards in one search.

Training and evaluation both call `Environment.step`, so they cannot measure different things.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np

from recr1.build import Part, build
from recr1.errors import DataError, UserError
from recr1.tasks.base import SPLITS
from retrievers.base import Floats, Hits, Query, Retriever
from retrievers.capabilities import syntax_of
from rewards.base import Action, Batch, Chat, Invalid, Message, Need, Reward, Rollout, Search

if TYPE_CHECKING:
    from recr1.formats import Format
    from recr1.tasks.base import Task


class ContractError(RuntimeError):
    """A retriever or a reward handed back something that its interface rules out: the run stops, nothing is guessed."""


@dataclass(frozen=True)
class Step:
    """What became of B completions."""

    batch: Batch
    parts: Mapping[str, Floats]
    """Reward name -> (B,), before weights."""
    rewards: Floats
    """(B,): the weighted sum of the parts, which the trainer maximises."""
    seconds: Mapping[str, float]
    """Wall time of "search", "rewards" and "total"."""
    retriever: Mapping[str, float] = field(default_factory=dict)
    """What the retriever counts itself: its attribute `stats` after the search, where it has one."""


def chat_with(prompt: Chat, completion: str) -> list[Message]:
    """The prompt with the completion as the assistant's answer."""
    return [*prompt, {"role": "assistant", "content": completion}]


class Environment:
    """Hands out prompts and turns completions into rewards.

    Each step makes exactly one search, over the unique queries of the batch, and none when no completion is a query.
    What the retriever and the rewards return is checked: `ContractError` names the one that broke its interface, and an
    error that they raise passes through untouched. Neither ever becomes a number.
    The format is told what the retriever understands, so that no prompt offers what the engine ignores.
    """

    def __init__(
        self,
        task: Task,
        retriever: Retriever,
        rewards: Sequence[tuple[Reward, float]],
        k: int,
        answer_format: Format | None = None,
    ) -> None:
        """Check that the parts fit.

        Args:
            task: Needs, answer keys, catalog and format.
            retriever: Searches the task's catalog.
            rewards: Each with its weight; weight 0 logs a reward without training on it. Empty for evaluation alone.
            k: Items per search; at least the `cutoff` of every reward that declares one.
            answer_format: Prompt and parser in place of the task's own.

        Raises:
            UserError: For k below 1 or a cutoff or above the retriever's `max_k`, a repeated reward name, or a weight
                that is not finite.
        """
        if k < 1:
            raise UserError(f"k is {k}: a search needs at least one item")
        deepest = getattr(retriever, "max_k", None)
        if deepest is not None and k > deepest:
            raise UserError(f"k is {k}, and retriever {type(retriever).__name__} finds at most {deepest} items")
        self.task, self.retriever, self.k = task, retriever, k
        self.rewards = tuple(rewards)
        self.format: Format = _fitted(answer_format or task.format, retriever)
        self._needs_raw_hits = any(getattr(reward, "needs_raw_hits", False) for reward, _ in self.rewards)
        self._check_rewards()

    def _check_rewards(self) -> None:
        for name, count in Counter(reward.name for reward, _ in self.rewards).items():
            if count > 1:
                raise UserError(f"reward '{name}' stands in the recipe {count} times: add the weights into one entry")
        for reward, weight in self.rewards:
            if not math.isfinite(weight):
                raise UserError(f"the weight of reward '{reward.name}' is {weight}: it must be a finite number")
            cutoff = getattr(reward, "cutoff", None)
            if cutoff is not None and cutoff > self.k:
                raise UserError(
                    f"reward '{reward.name}' looks at {cutoff} items, but a search returns k={self.k}: "
                    f"set k to {cutoff} or more, or lower the cutoff"
                )

    def with_format(self, answer_format: Format) -> Environment:
        """The same task, retriever, rewards and k behind another prompt and parser."""
        return Environment(self.task, self.retriever, self.rewards, self.k, answer_format)

    def with_retriever(self, retriever: Retriever) -> Environment:
        """The same task, rewards and k on another engine, with the prompts as they are here."""
        other = Environment(self.task, retriever, self.rewards, self.k)
        other.format = self.format
        return other

    @cached_property
    def _need_by_id(self) -> dict[str, Need]:
        by_id: dict[str, Need] = {}
        for split in SPLITS:
            try:
                needs = self.task.needs(split)
            except DataError:
                raise  # a broken file, not a missing split
            except UserError:
                continue
            for need in needs:
                if need.id in by_id:
                    raise UserError(f"need '{need.id}' of split '{split}' stands in another split (or twice in it)")
                by_id[need.id] = need
        return by_id

    def need(self, need_id: str) -> Need:
        """The need with this id, whatever its split; raises `KeyError` for an unknown one."""
        return self._need_by_id[need_id]

    def prompts(self, needs: Sequence[Need]) -> list[Chat]:
        """What the policy reads, one chat a need."""
        return [self.format.render(need) for need in needs]

    def step(self, needs: Sequence[Need], chats: Sequence[Chat]) -> Step:
        """Parse, search once, reward. Row i of everything belongs to `chats[i]`, which answers `needs[i]`.

        Args:
            needs: (B,) what each chat was about.
            chats: (B,) prompts, each with the policy's completion as its last message.

        Raises:
            ContractError: When the retriever or a reward returns something of the wrong shape, type or range.
            ValueError: When the two sequences do not fit together, or a chat does not end with the assistant.
        """
        start = perf_counter()
        if len(needs) != len(chats):
            raise ValueError(f"{len(needs)} needs for {len(chats)} chats: step() wants one need per chat")
        rollouts = [self._rollout(need, chat) for need, chat in zip(needs, chats, strict=True)]
        search_start = perf_counter()
        hits, raw_hits = self._search_rollouts(rollouts)
        searched = perf_counter()
        batch = Batch(rollouts, hits, [self.task.qrels[need.id] for need in needs], raw_hits)
        parts = {reward.name: _checked_reward(reward, batch) for reward, _ in self.rewards}
        total = np.zeros(len(rollouts), np.float32)
        for reward, weight in self.rewards:
            total += np.float32(weight) * parts[reward.name]
        end = perf_counter()
        seconds = {"search": searched - search_start, "rewards": end - searched, "total": end - start}
        return Step(batch, parts, total, seconds, dict(getattr(self.retriever, "stats", {})))

    def _rollout(self, need: Need, chat: Chat) -> Rollout:
        if not chat or chat[-1]["role"] != "assistant":
            raise ValueError(f"the chat of need '{need.id}' does not end with the assistant's completion")
        return Rollout(need, chat, self.format.parse(chat[-1]["content"]))

    def _search_rollouts(self, rollouts: Sequence[Rollout]) -> tuple[Hits, Hits | None]:
        queries = [_query(rollout.action) for rollout in rollouts]
        if not self._needs_raw_hits:
            return self.search(queries), None
        both = self.search([*queries, *(rollout.need.text for rollout in rollouts)])
        size = len(rollouts)
        return Hits(both.rows_QK[:size], both.scores_QK[:size]), Hits(both.rows_QK[size:], both.scores_QK[size:])

    def search(self, queries: Sequence[Query | None]) -> Hits:
        """Hits of shape (len(queries), k) from one search over the unique queries, in the order first seen.

        None stands for "no query" and finds nothing; with nothing to search the retriever is not called.
        """
        places: dict[Query, int] = {}
        place_B = np.fromiter(
            (-1 if query is None else places.setdefault(query, len(places)) for query in queries), np.intp, len(queries)
        )
        rows_BK = np.full((len(queries), self.k), -1, np.int32)
        scores_BK = np.full((len(queries), self.k), -np.inf, np.float32)
        if places:
            hits = self._checked_hits(self.retriever.search(list(places), self.k), len(places))
            valid_B = place_B >= 0
            rows_BK[valid_B] = hits.rows_QK[place_B[valid_B]]
            scores_BK[valid_B] = hits.scores_QK[place_B[valid_B]]
        return Hits(rows_BK, scores_BK)

    def _checked_hits(self, hits: Hits, count: int) -> Hits:
        """The hits, once nothing about them can silently make a measure wrong."""
        who = f"retriever {type(self.retriever).__name__}"
        expected = ((count, self.k), np.int32), ((count, self.k), np.float32)
        for name, array, (shape, dtype) in zip(Hits._fields, hits, expected, strict=True):
            if not isinstance(array, np.ndarray) or array.shape != shape or array.dtype != dtype:
                raise ContractError(
                    f"{who} returned {name} as {_describe(array)}; a search of {count} queries for k={self.k} must "
                    f"return {dtype.__name__} of shape {shape}"
                )
        rows, scores = hits
        if rows.min() < -1 or rows.max() >= len(self.task.catalog):
            raise ContractError(f"{who} returned row {_outside(rows)}; the catalog has {len(self.task.catalog)} items")
        if ((rows[:, 1:] >= 0) & (rows[:, :-1] < 0)).any():
            raise ContractError(f"{who} returned an item after a -1; padding belongs at the end")
        if np.isnan(scores).any() or (scores[:, 1:] > scores[:, :-1]).any():
            raise ContractError(f"{who} returned scores that are NaN or rise along the ranking")
        ordered = np.sort(rows, axis=1)
        if ((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)).any():
            raise ContractError(f"{who} returned one item twice for the same query")
        return hits


def _fitted(answer_format: Format, retriever: Retriever) -> Format:
    with_syntax = getattr(answer_format, "with_syntax", None)  # a format that has none is left as it is
    return with_syntax(syntax_of(retriever)) if with_syntax else answer_format


def _query(action: Action) -> Query | None:
    return action.query if isinstance(action, Search) else None


def _describe(value: object) -> str:
    return f"{value.dtype} of shape {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__


def _outside(rows: np.ndarray) -> int:
    return int(rows.min() if rows.min() < -1 else rows.max())


def _checked_reward(reward: Reward, batch: Batch) -> Floats:
    values = reward(batch)
    if not isinstance(values, np.ndarray) or values.shape != (len(batch),) or values.dtype.kind not in "fiub":
        raise ContractError(
            f"reward '{reward.name}' returned {_describe(values)}; {len(batch)} rollouts need float32 of shape "
            f"({len(batch)},)"
        )
    with np.errstate(over="ignore"):  # what overflows becomes inf, which the next check reports
        values_B: Floats = values.astype(np.float32, copy=False)
    finite_B = np.isfinite(values_B)
    if not finite_B.all():
        row = int(np.argmin(finite_B))
        raise ContractError(
            f"reward '{reward.name}' returned {values_B[row]} for need '{batch.rollouts[row].need.id}' "
            f"(completion {batch.rollouts[row].completion[:80]!r}); rewards must be finite"
        )
    return values_B


def metrics(step: Step) -> dict[str, float]:
    """What a step looks like in the log; the names are stable.

    - `reward`: mean weighted reward, which is shaped by the recipe's weights; `reward/<name>`: mean of each part alone.
    - `query/words`: mean words per valid query; `query/unique`: distinct valid queries per valid query. 0 without any.
    - `outcome/ok`, `outcome/no_hits`, `outcome/invalid`: shares of completions that found something, were a query that
      matched nothing, and were no query; they add up to 1. `invalid/<reason>`: share of each reason that occurred.
    - `retriever/<name>`: what the retriever counts itself, such as the `hit_rate` of `cached`.
    - `time/search`, `time/rewards`: seconds of wall time; `time/environment`: of the whole step, with parsing.
    """
    size = max(len(step.batch), 1)
    queries = [r.action.query for r in step.batch.rollouts if isinstance(r.action, Search)]
    reasons = Counter(r.action.reason for r in step.batch.rollouts if isinstance(r.action, Invalid))
    found = int((step.batch.hits.rows_QK[:, 0] >= 0).sum())
    return {
        "reward": float(step.rewards.sum()) / size,
        **{f"reward/{name}": float(values.sum()) / size for name, values in step.parts.items()},
        "query/words": sum(map(words, queries)) / max(len(queries), 1),
        "query/unique": len(set(queries)) / max(len(queries), 1),
        "outcome/ok": found / size,
        "outcome/no_hits": (len(queries) - found) / size,
        "outcome/invalid": reasons.total() / size,
        **{f"invalid/{reason}": count / size for reason, count in sorted(reasons.items())},
        **{f"retriever/{name}": float(value) for name, value in step.retriever.items()},
        "time/search": step.seconds["search"],
        "time/rewards": step.seconds["rewards"],
        "time/environment": step.seconds["total"],
    }


def words(query: Query) -> int:
    """How long a query is: words of a text, items of a history."""
    if isinstance(query, str):
        return len(query.split())
    return len(query) if isinstance(query, tuple) else 1


def open_environment(task: Part, retriever: Part, rewards: Sequence[tuple[Part, float]], k: int) -> Environment:
    """The environment that a recipe's parts describe: opens the data, builds the index."""
    opened = build("task", task)
    return Environment(
        opened,
        build("retriever", retriever, opened.catalog),
        [(build("reward", part, path=f"rewards.{place}"), weight) for place, (part, weight) in enumerate(rewards)],
        k,
    )
