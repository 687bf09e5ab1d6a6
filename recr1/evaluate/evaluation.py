"""Evaluate a policy: the environment's step on every need of a split, measured beside a floor and a ceiling."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recr1.baselines.access import prepare
from recr1.choosing import PickOne
from recr1.env import ContractError, Environment, Step, answer_metrics, chat_with, copies_share, known_share, words
from recr1.errors import UserError
from recr1.evaluate.answers import families, rating_errors
from recr1.evaluate.gated import gated, with_likelihoods
from recr1.evaluate.references import AGAIN, CHUNK, Progress, References, find_references
from recr1.evaluate.reindex import HasPeople, reindexed, rewrites_of
from recr1.evaluate.second import SecondOpinion, opinion, read_second
from recr1.gate import Gate
from recr1.judge.difference import against_floor
from recr1.judge.stats import LEVEL, PERMUTATIONS, RESAMPLES, Doubles, standard_error
from recr1.policies.base import Policy, format_of
from recr1.runs.provenance import surroundings
from retrievers.base import Floats, Hits
from retrievers.errors import MissingAnswers
from rewards.base import Action, Answer, Chat, Graded, Invalid, Need, Qrels, Search
from rewards.measures import CORPUS_MEASURES, Measure, parse_measure


@dataclass(frozen=True)
class Evaluation:
    """The results of a policy on N needs, with S completions each (S = 1 if greedy)."""

    name: str  # the policy's name in tables
    split: str
    env: Environment
    references: References
    completions: Sequence[Sequence[str]]  # N lists of S, as `actions`
    actions: Sequence[Sequence[Action]]
    hits: Hits
    """(N * S, k); completion j of need i is row i * S + j."""
    values: Mapping[str, Floats]  # measure name -> (N, S)
    rewards: Floats
    """(N, S): the weighted reward of the recipe, 0 without rewards."""
    parts: Mapping[str, Floats]
    """Reward name -> (N, S), before its weight."""
    greedy: bool
    seed: int
    second: SecondOpinion | None = None
    """Labels that never paid."""
    likelihoods: Sequence[float] | None = None  # (N,) of greedy completions
    gate: Gate | None = None
    """What says which needs are rewritten; the values above are of all."""
    rewrites: Mapping[int, str] | None = None
    """Catalog row -> new text of the items of all splits, where needs are items."""

    @property
    def needs(self) -> Sequence[Need]:
        """The needs, in the order of every array."""
        return self.references.needs

    @property
    def samples(self) -> int:
        """S: completions per need."""
        return len(self.completions[0])

    def per_need(self, measure: str) -> Doubles:
        """(N,) the policy's value on each need: the mean over its completions."""
        means: Doubles = self.values[measure].mean(axis=1, dtype=np.float64)
        return means

    def systems(self, measure: str) -> dict[str, NDArray[np.floating]]:
        """(N,) the values of the policy, the floor and the ceiling on each need, and of the order shown if any."""
        bounds = {name: getattr(self.references, name) for name in ("floor", "shown", "ceiling")}
        found = {name: of[measure] for name, of in bounds.items() if of}
        plain = {name: of[measure] for name, of in self.references.plain.items()}
        return {"policy": self.per_need(measure), **found, **plain}

    @property
    def qrels(self) -> list[Qrels]:
        """(N,) the answer keys."""
        return [self.env.task.qrels[need.id] for need in self.needs]

    @cached_property
    def graded(self) -> Graded:
        """The hits with their grades, a row for each completion."""
        qrels = [key for key in self.qrels for _ in range(self.samples)]
        return Graded.join(self.hits.rows_QK, qrels, self.env.task.catalog)

    @cached_property
    def exposure(self) -> dict[str, dict[str, float]]:
        """How evenly policy and raw needs show items: Gini@k and Coverage@k, with the first measure's cutoff."""
        cutoff, items = parse_measure(next(iter(self.values))).cutoff, len(self.env.task.catalog)
        shown = {"floor": self.references.floor_rows_NK, "policy": self.hits.rows_QK}
        return {
            measure.name: {system: measure(rows_NK, items) for system, rows_NK in shown.items()}
            for measure in (kind(cutoff) for kind in CORPUS_MEASURES.values())
        }

    def relevant_ranks(self, need: int, sample: int = 0) -> list[int]:
        """The ranks of the relevant items that a completion's query found."""
        ranks: list[int] = (np.flatnonzero(self.graded.grades_BK[need * self.samples + sample] > 0) + 1).tolist()
        return ranks

    def behaviour(self) -> dict[str, Any]:
        """Words per valid query, the share of them in the catalog; shares of copies, invalid ones and no hits."""
        actions = [action for of_need in self.actions for action in of_need]
        queries = [action.query for action in actions if isinstance(action, Search)]
        reasons = Counter(action.reason for action in actions if isinstance(action, Invalid))
        answers = [action.text for action in actions if isinstance(action, Answer)]
        valid = len(actions) - reasons.total() - len(answers)
        found = int((self.hits.rows_QK[:, 0] >= 0).sum())
        return {
            "query_words": sum(map(words, queries)) / len(queries) if queries else 0.0,
            "query_copies_need": copies_share(
                (need, action) for need, of_need in zip(self.needs, self.actions, strict=True) for action in of_need
            ),
            "query_known": known_share(queries, self.env.task.catalog),
            "invalid": reasons.total() / len(actions),
            "no_hits": (valid - found) / len(actions),
            **({"answers": answer_metrics(answers)} if answers else {}),
            "invalid_reasons": {reason: count / len(actions) for reason, count in sorted(reasons.items())},
            **({"success_of_valid": self._success_of_valid()} if isinstance(self.env.task.format, PickOne) else {}),
        }

    def _success_of_valid(self) -> float:
        """The share of valid answers whose item is relevant; 0 without any."""
        valid_B = np.array([not isinstance(action, Invalid) for of_need in self.actions for action in of_need])
        return float((self.graded.grades_BK[valid_B, 0] > 0).mean()) if valid_B.any() else 0.0

    def metrics(self) -> dict[str, float]:
        """The means for a log; the names are stable and described in docs/runs.md."""
        behaviour = self.behaviour()
        logged: dict[str, float] = {}
        for measure in self.values:
            means = {name: float(values.mean(dtype=np.float64)) for name, values in self.systems(measure).items()}
            logged[measure] = means.pop("policy")
            logged |= {f"{measure}/{bound}": mean for bound, mean in means.items()}
            logged[f"{measure}/stderr"] = standard_error(self.per_need(measure))
        for measure, systems in self.exposure.items():
            logged |= {measure: systems["policy"], f"{measure}/floor": systems["floor"]}
        logged["reward"] = float(self.rewards.mean())
        logged |= {f"query/{name}": behaviour[f"query_{name}"] for name in ("words", "copies_need", "known")}
        logged |= {"outcome/invalid": behaviour["invalid"], "outcome/no_hits": behaviour["no_hits"]}
        logged |= behaviour.get("answers", {})
        logged |= {name: value for name, value in rating_errors(self).get("policy", {}).items() if name != "entropy"}
        for family, of in families(self).items():
            logged |= {f"family/{family}/{name}": means["policy"] for name, means in of["measures"].items()}
        return {f"eval/{self.split}/{name}": value for name, value in logged.items()}

    @property
    def settings(self) -> dict[str, Any]:
        """How intervals and tests are made, and what was searched."""
        searched = {"retriever": type(self.env.retriever).__name__, "catalog": self.env.task.catalog.fingerprint}
        return {"seed": self.seed, "level": LEVEL, "resamples": RESAMPLES, "permutations": PERMUTATIONS, **searched}

    @cached_property
    def summary(self) -> dict[str, Any]:
        """The content of `eval.json`: every number, with intervals and the test against the floor."""
        return {
            "policy": self.name,
            "split": self.split,
            "needs": len(self.needs),
            "samples": 0 if self.greedy else self.samples,
            "k": self.env.k,
            "measures": {name: against_floor(self.systems(name), seed=self.seed) for name in self.values},
            **({"second_opinion": opinion([self], self.second)} if self.second else {}),
            **({"gate": gated([self])} if self.gate else {}),
            **({"reindexed": reindexed([self])} if self.rewrites else {}),
            **({"ratings": found} if (found := rating_errors(self)) else {}),
            **({"families": of} if (of := families(self)) else {}),
            "exposure": self.exposure,
            "reward": float(self.rewards.mean()) if self.env.rewards else None,
            **self.behaviour(),
            "settings": self.settings,
            "data": dict(self.env.task.counts),
            "versions": surroundings()["versions"],
        }


def valid_note(behaviours: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What evaluations of `pick_one` also say, of the `behaviour` of each policy by name; nothing for other formats."""
    shares = [
        f"{name} {one['success_of_valid']:.3f} (valid {1 - one['invalid']:.1%})"
        for name, one in behaviours.items()
        if "success_of_valid" in one
    ]
    if not shares:
        return []
    return [
        f"hit@1 of valid answers only: {', '.join(shares)}. Published numbers divide by valid answers; Success@1 "
        "counts invalid ones as wrong."
    ]


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
