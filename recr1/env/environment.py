"""From completions to rewards: `Environment.step`.

Training and evaluation both call it, so they cannot measure different things.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from time import perf_counter

import numpy as np

from recr1.config.build import Part, build
from recr1.env.checks import Canary, check_candidates, check_fit, checked_hits, checked_reward, has_candidates
from recr1.env.search import Faults, ask_for, listed
from recr1.env.step import Step
from recr1.errors import UserError
from recr1.formats import FitsEngine, Format, WritesQueries, parsed
from recr1.tasks.base import HidesHistory, Task, splits_of
from retrievers.abilities import RanksWith, max_k_of, reads_histories, shared_syntax, stats_of
from retrievers.base import Floats, Hits, Query, Retriever
from retrievers.errors import MissingAnswers
from rewards.abilities import cutoff_of, cutoff_problem, needs_raw_hits, retrievers_of
from rewards.base import Batch, Chat, Found, Message, Need, Recommend, Reward, Rollout, Search


def chat_with(prompt: Chat, completion: str) -> list[Message]:
    """The prompt with the completion as the assistant's answer."""
    return [*prompt, {"role": "assistant", "content": completion}]


class Environment:
    """Hands out prompts and turns completions into rewards.

    Each step makes exactly one search, over the unique queries of the batch, or none if no completion is a query; and
    one more of each other retriever that some reward declares in `elsewhere`. What the retriever and the rewards return
    is checked: `ContractError` names the one that broke its interface. An error that they raise passes through, except
    `MissingAnswers`, which leaves some rollouts without a reward. None of these ever becomes a number.

    A completion that names items itself is not searched: its hits are its list. Where needs have candidates, a query
    ranks these alone, and those that it does not find follow in the order shown.

    The format is given what the retriever understands, so that no prompt offers what the engine ignores. If a task
    declares a `canary`, a text of every item, no prompt may hold it.
    """

    def __init__(
        self,
        task: Task,
        retriever: Retriever,
        rewards: Sequence[tuple[Reward, float]],
        k: int,
        answer_format: Format | None = None,
        *,
        elsewhere: Mapping[str, Retriever] | None = None,
    ) -> None:
        """Check that the parts fit.

        Args:
            task: Needs, answer keys, catalog and format.
            retriever: Searches the task's catalog.
            rewards: Each with its weight; weight 0 logs a reward without training on it. Empty to evaluate only.
            k: Items per search; at least the `cutoff` of every reward that declares one.
            answer_format: Prompt and parser instead of the task's own.
            elsewhere: Other retrievers of rewards, by name, if they are already built.

        Raises:
            UserError: For k below 1 or a cutoff or above the retriever's `max_k`, a repeated reward name, or a weight
                that is not finite.
        """
        if k < 1:
            raise UserError(f"k must be an integer >= 1, got {k}")
        self.task, self.retriever, self.k = task, retriever, k
        self._canary = Canary.of(task)
        self.rewards = tuple(rewards)
        self.elsewhere: dict[str, Retriever] = {}
        for reward, _ in self.rewards:
            self._open(reward, elsewhere or {})
        everyone = [retriever, *self.elsewhere.values()]
        for one in everyone:
            deepest = max_k_of(one)
            if deepest is not None and k > deepest:
                raise UserError(f"k is {k}, and the retriever {type(one).__name__} finds at most {deepest} items")
        form = answer_format or task.format
        self.format: Format = form.with_syntax(shared_syntax(everyone)) if isinstance(form, FitsEngine) else form
        self._needs_raw_hits = any(needs_raw_hits(reward) for reward, _ in self.rewards)
        self._check_rewards()
        check_candidates(self.format, task)
        if self.elsewhere:
            self.refuse_candidates("a reward on other retrievers")
        if self.reads_histories and isinstance(self.format, WritesQueries):
            raise UserError(
                f"retriever: {type(retriever).__name__} reads histories, and the format {type(self.format).__name__} "
                "writes words: choose a format that answers with a history or with items, or a retriever of texts"
            )

    def _open(self, reward: Reward, built: Mapping[str, Retriever]) -> None:
        path = f"retrievers of reward '{reward.name}'"
        for name, spec in retrievers_of(reward).items():
            if name in built:
                self.elsewhere[name] = built[name]
            elif name not in self.elsewhere:
                self.elsewhere[name] = build("retriever", spec, self.task.catalog, path=path)

    def _check_rewards(self) -> None:
        for name, count in Counter(reward.name for reward, _ in self.rewards).items():
            if count > 1:
                raise UserError(f"reward '{name}' is listed {count} times: add the weights into one entry")
        for reward, weight in self.rewards:
            if not math.isfinite(weight):
                raise UserError(f"the weight of reward '{reward.name}' must be a finite number, got {weight}")
            if problem := cutoff_problem(reward.name, cutoff_of(reward), self.k):
                raise UserError(f"reward {problem}")
            check_fit(reward, self.task)

    @cached_property
    def reranks(self) -> bool:
        """Whether needs have candidates, so that these are put in order and the catalog is not searched."""
        return has_candidates(self.task)

    @cached_property
    def reads_histories(self) -> bool:
        """Whether the retriever is a recommender, whose query is a history."""
        return reads_histories(self.retriever)

    @property
    def ranker(self) -> RanksWith | None:
        """The retriever, if it can rank with a changed text."""
        return self.retriever if isinstance(self.retriever, RanksWith) else None

    def raw(self, need: Need) -> Query:
        """The raw need as a query of the retriever: its text, or its history for a recommender."""
        return need.history if self.reads_histories else need.text

    @cached_property
    def answers(self) -> bool:
        """Whether needs, or some of them, are answered in text."""
        return any(key.gold is not None for key in self.task.qrels.values())

    def refuse_candidates(self, what: str, remedy: str = "leave it out") -> None:
        """Raises `UserError` where needs have candidates or are answered in text, for what only searches can do."""
        if self.answers:
            raise UserError(f"{what} is about searches, and needs of this task are answered in text: {remedy}")
        if self.reranks:
            raise UserError(f"{what} searches the whole catalog, and this task puts candidates in order: {remedy}")

    def with_format(self, answer_format: Format) -> Environment:
        """The same task, retriever, rewards and k behind another prompt and parser."""
        return Environment(self.task, self.retriever, self.rewards, self.k, answer_format, elsewhere=self.elsewhere)

    def with_retriever(self, retriever: Retriever) -> Environment:
        """The same task, rewards, k and prompts on another engine."""
        other = Environment(self.task, retriever, self.rewards, self.k, elsewhere=self.elsewhere)
        other.format = self.format
        return other

    @cached_property
    def _need_by_id(self) -> dict[str, Need]:
        by_id: dict[str, Need] = {}
        for split, needs in splits_of(self.task).items():
            for need in needs:
                if need.id in by_id:
                    raise UserError(f"need '{need.id}' of split '{split}' appears twice, there or in another split")
                by_id[need.id] = need
        return by_id

    def need(self, need_id: str) -> Need:
        """The need with this id, whatever its split; raises `KeyError` for an unknown one."""
        return self._need_by_id[need_id]

    def prompts(self, needs: Sequence[Need]) -> list[Chat]:
        """What the policy reads, one chat per need; raises `LeakError` where the canary of the task is in one."""
        prompts = [self.format.render(need) for need in needs]
        for need, prompt in zip(needs, prompts, strict=True):
            self._canary.check(need, prompt)
        return prompts

    def step(
        self, needs: Sequence[Need], chats: Sequence[Chat], *, again: int = 0, training_step: int | None = None
    ) -> Step:
        """Parse, search once, reward. Row i of everything belongs to `chats[i]`, which answers `needs[i]`.

        A rollout whose query has no answer (the retriever raised `MissingAnswers`) has no reward: NaN in `parts` and
        `rewards`, and its error in `faults`. No reward function sees it.

        Args:
            needs: (B,) what each chat was about.
            chats: (B,) prompts, each with the policy's completion as its last message.
            again: How often queries without an answer are retried.
            training_step: How many steps of training are done, for rewards that depend on it; None in evaluation.

        Raises:
            ContractError: When the retriever or a reward returns something of the wrong shape, type or range.
            LeakError: When the canary of the task is in a prompt.
            ValueError: When the two sequences have different lengths, or a chat does not end with the assistant.
        """
        start = perf_counter()
        if len(needs) != len(chats):
            raise ValueError(f"step() needs one need per chat, got {len(needs)} needs for {len(chats)} chats")
        rollouts = [self._rollout(need, chat) for need, chat in zip(needs, chats, strict=True)]
        search_start = perf_counter()
        (hits, raw_hits), elsewhere, faults = self._search_rollouts(rollouts, again)
        searched = perf_counter()
        qrels = [self.task.qrels[need.id] for need in needs]
        batch = Batch(rollouts, hits, qrels, raw_hits, self.task.catalog, elsewhere, training_step, self.ranker)
        parts = self._parts(batch, faults)
        total = np.zeros(len(rollouts), np.float32)
        for reward, weight in self.rewards:
            total += np.float32(weight) * parts[reward.name]
        total[list(faults)] = np.nan
        end = perf_counter()
        seconds = {"search": searched - search_start, "rewards": end - searched, "total": end - start}
        return Step(batch, parts, total, seconds, stats_of(self.retriever), faults)

    def _rollout(self, need: Need, chat: Chat) -> Rollout:
        if not chat or chat[-1]["role"] != "assistant":
            raise ValueError(f"the chat of need '{need.id}' does not end with the assistant's completion")
        self._canary.check(need, chat[:-1])
        return Rollout(need, chat, parsed(self.format, need, chat[-1]["content"]))

    def _search_rollouts(self, rollouts: Sequence[Rollout], again: int) -> tuple[Found, dict[str, Found], Faults]:
        """What the retriever found, what each other one found, and the rollouts for which one of them has no answer."""
        found, faults = self._search_with(self.retriever, rollouts, again)
        elsewhere: dict[str, Found] = {}
        for name, retriever in self.elsewhere.items():
            elsewhere[name], others = self._search_with(retriever, rollouts, again)
            faults = {**others, **faults}
        return found, elsewhere, dict(sorted(faults.items()))

    def _search_with(self, retriever: Retriever, rollouts: Sequence[Rollout], again: int) -> tuple[Found, Faults]:
        queries = [r.action.query if isinstance(r.action, Search) else None for r in rollouts]
        size, needs = len(queries), [rollout.need for rollout in rollouts]
        if self._needs_raw_hits:
            queries += [self.raw(need) for need in needs]
            needs += needs
        hits, faults = self._ask(retriever, queries, again, needs)
        for row, rollout in enumerate(rollouts):
            if isinstance(rollout.action, Recommend):
                own = listed([rollout.action.rows], self.k)
                checked_hits(own, self.format, 1, self.k, len(self.task.catalog), "format")
                hits.rows_QK[row], hits.scores_QK[row] = own.rows_QK[0], own.scores_QK[0]
        raw = hits.of(slice(size, None)) if self._needs_raw_hits else None
        # Of a rollout whose two searches both failed, the error of the raw need is kept.
        return Found(hits.of(slice(size)), raw), {row % size: faults[row] for row in sorted(faults)}

    def _parts(self, batch: Batch, faults: Faults) -> dict[str, Floats]:
        if not faults:
            return {reward.name: checked_reward(reward, batch) for reward, _ in self.rewards}
        answered = np.array([row for row in range(len(batch)) if row not in faults], np.intp)
        parts = {reward.name: np.full(len(batch), np.nan, np.float32) for reward, _ in self.rewards}
        if len(answered):
            seen = batch.of(answered)
            for reward, _ in self.rewards:
                parts[reward.name][answered] = checked_reward(reward, seen)
        return parts

    def search(self, queries: Sequence[Query | None], *, again: int = 0, needs: Sequence[Need] = ()) -> Hits:
        """Hits of shape (len(queries), k) from one search over the unique queries, in the order first seen.

        None means "no query" and finds nothing; if there is no query at all, the retriever is not called. Queries
        without an answer are retried `again` times; raises `MissingAnswers` if some still have none. With `needs`, one
        for each query, only the candidates of a need that has some are ranked; where a task hides histories, no item of
        a need's history is found.
        """
        hits, faults = self._ask(self.retriever, queries, again, needs)
        if faults:
            raise MissingAnswers(hits, faults)
        return hits

    def _ask(
        self, retriever: Retriever, queries: Sequence[Query | None], again: int, needs: Sequence[Need]
    ) -> tuple[Hits, Faults]:
        items = len(self.task.catalog)
        if self.reads_histories and any(isinstance(query, str) for query in queries):
            raise UserError(
                f"retriever: {type(self.retriever).__name__} reads histories, and was asked for words: leave out what "
                "searches for words (a policy, pairs, a command), or choose a retriever of texts"
            )
        hides = isinstance(self.task, HidesHistory) and self.task.hides_history
        return ask_for(retriever, queries, needs, k=self.k, items=items, again=again, hides_history=hides)


def open_environment(task: Part, retriever: Part, rewards: Sequence[tuple[Part, float]], k: int) -> Environment:
    """The environment that a recipe's parts describe: opens the data, builds the index."""
    opened = build("task", task)
    return Environment(
        opened,
        build("retriever", retriever, opened.catalog),
        [(build("reward", part, path=f"rewards.{place}"), weight) for place, (part, weight) in enumerate(rewards)],
        k,
    )
