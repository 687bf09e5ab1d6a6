"""Evaluate a policy: the environment's step on every need of a split, measured beside a floor and a ceiling."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property

import numpy as np

from recr1.baselines.access import prepare
from recr1.env import ContractError, Environment, Step, chat_with
from recr1.errors import UserError
from recr1.evaluate.evaluation import Evaluation
from recr1.evaluate.gated import with_likelihoods
from recr1.evaluate.references import AGAIN, CHUNK, Progress, References, find_references
from recr1.evaluate.reindex import HasPeople, rewrites_of
from recr1.evaluate.second import read_second
from recr1.gate import Gate
from recr1.policies.base import Policy, format_of
from retrievers.base import Floats, Hits
from retrievers.errors import MissingAnswers
from rewards.base import Chat, Need
from rewards.measures import Measure, parse_measure


class Evaluator:
    """Evaluates policies on a split; needs and measures are checked once, floor and ceiling are searched once."""

    def __init__(
        self,
        env: Environment,
        split: str,
        measures: Sequence[str],
        *,
        limit: int | None = None,
        seed: int = 0,
        progress: Progress | None = None,
        second_opinion: str | None = None,
    ) -> None:
        """Check everything that can be checked before a policy writes.

        Args:
            env: Task and retriever; rewards are optional.
            split: "train", "validation" or "test".
            measures: Names such as nDCG@10; the first is the main one.
            limit: Only the first needs, this many.
            seed: Of intervals and tests. It does not seed the policy.
            progress: Called with the needs done and the number of needs, for each policy.
            second_opinion: A file of judgements that no reward has seen.

        Raises:
            UserError: For a split without needs, a measure that is unknown, deeper than k or without its data, and
                what `read_second` refuses.
        """
        self.env, self.split, self.seed, self._progress = env, split, seed, progress
        self.measures = read_measures(measures, env.k)
        try:
            for measure in self.measures:
                measure.check_data(env.task.catalog, env.task.qrels)
        except ValueError as error:
            raise UserError(str(error)) from error
        self.needs = env.task.needs(split)[:limit]
        if not self.needs:
            raise UserError(f"split '{split}' (limit {limit}) has no needs to evaluate on")
        self.second = read_second(second_opinion, env.task, self.needs) if second_opinion else None

    @cached_property
    def references(self) -> References:
        """Floor and ceiling; the same for every policy."""
        return find_references(self.env, self.needs, self.measures)

    def prepare(self, progress: Progress) -> None:
        """Find floor and ceiling now, with their own progress, rather than after the first policy."""
        self.references = find_references(self.env, self.needs, self.measures, progress)

    def __call__(
        self,
        policy: Policy,
        *,
        samples: int = 0,
        name: str = "policy",
        gate: Gate | None = None,
        likely: bool = False,
        whole: bool = False,
    ) -> Evaluation:
        """Measure a policy. Its own `format` is used if it has one, and it gets the access that it declares.

        Args:
            policy: Writes the completions.
            samples: Completions per need, whose measures are averaged; 0 is one greedy completion.
            name: The policy's name in tables.
            gate: Of greedy completions; what it says is kept beside the values.
            likely: Keep the likelihoods of greedy completions; a gate that needs them does so too.
            whole: Where needs are items, rewrite those of all splits too, to measure them together.

        Raises:
            ContractError: If the policy returns the wrong number of completions.
            MissingAnswers: If the retriever does not answer some query after retries: no need is left out.
        """
        prepare(policy, self.env)
        own_format = format_of(policy)
        env = self.env.with_format(own_format) if own_format else self.env
        size = max(samples, 1)
        keep = likely or (gate is not None and gate.needs_likelihood)
        assert not samples or not (gate or keep), "gates and likelihoods are of greedy completions"
        kept: list[float] = []
        completions: list[list[str]] = []
        steps: list[Step] = []
        for start in range(0, len(self.needs), CHUNK):
            chunk = self.needs[start : start + CHUNK]
            prompts = env.prompts(chunk)
            written, sure = with_likelihoods(policy, prompts) if keep else (policy.generate(prompts, samples), [])
            kept += sure
            if len(written) != len(chunk) or {len(texts) for texts in written} != {size}:
                raise ContractError(
                    f"policy {type(policy).__name__} returned {len(written)} lists of "
                    f"{sorted({len(texts) for texts in written})} completions; {len(chunk)} chats need {size} each"
                )
            needs = [need for need in chunk for _ in range(size)]
            repeated = [prompt for prompt in prompts for _ in range(size)]
            steps.append(complete_step(env, needs, repeated, [text for texts in written for text in texts]))
            completions += written
            if self._progress:
                self._progress(len(completions), len(self.needs))

        def joined(arrays: Iterable[Floats]) -> Floats:
            return np.concatenate(list(arrays)).reshape(-1, size)

        actions = [rollout.action for step in steps for rollout in step.batch.rollouts]
        return Evaluation(
            name=name,
            split=self.split,
            env=env,
            references=self.references,
            completions=completions,
            actions=[actions[start : start + size] for start in range(0, len(actions), size)],
            hits=Hits(*(np.concatenate(arrays) for arrays in zip(*(step.batch.hits for step in steps), strict=True))),
            values={m.name: joined(m.of(step.batch.graded) for step in steps) for m in self.measures},
            rewards=joined(step.rewards for step in steps),
            parts={part: joined(step.parts[part] for step in steps) for part in steps[0].parts},
            greedy=samples == 0,
            seed=self.seed,
            second=self.second,
            likelihoods=kept if keep else None,
            gate=gate,
            rewrites=rewrites_of(env, policy) if whole and isinstance(env.task, HasPeople) else None,
        )


def complete_step(env: Environment, needs: Sequence[Need], prompts: Sequence[Chat], texts: Sequence[str]) -> Step:
    """The step of one completion for each need; raises `MissingAnswers` if a query has no answer after retries."""
    chats = [chat_with(prompt, text) for prompt, text in zip(prompts, texts, strict=True)]
    step = env.step(needs, chats, again=AGAIN)
    if step.faults:
        raise MissingAnswers(step.batch.hits, step.faults)
    return step


def read_measures(names: Sequence[str], k: int) -> list[Measure]:
    """The measures by their names, each once; raises `UserError` for none, an unknown one or a cutoff above k."""
    if not names:
        raise UserError("an evaluation needs at least one measure, such as nDCG@10")
    try:
        measures = [parse_measure(name) for name in dict.fromkeys(names)]
        for measure in measures:
            measure.check_depth(k)
    except ValueError as error:
        raise UserError(str(error)) from error
    return measures
