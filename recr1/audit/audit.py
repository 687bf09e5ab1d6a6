"""An audit: what a policy answers to needs, in other orders and of other people too, and what that shows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from recr1.audit.base import NotAudited, Number, Part, Seen, corrected, finite, lists
from recr1.audit.lists import kinds, popular, position, prior
from recr1.audit.texts import bloat, doubles, groups
from recr1.baselines.access import prepare
from recr1.config.build import AuditSpec
from recr1.env import Environment
from recr1.errors import UserError
from recr1.evaluate.evaluator import complete_step
from recr1.evaluate.references import CHUNK
from recr1.formats import ReadsNeed
from recr1.policies.base import Policy, format_of
from recr1.runs.provenance import surroundings
from rewards.base import Batch, Invalid, Need

PARTS: Mapping[str, Callable[[Seen], Part]] = {
    "Position": position,
    "Popularity": popular,
    "Prior of the language model": prior,
    "Kinds": kinds,
    "Groups of people": groups,
    "Length of queries": bloat,
    "Text": doubles,
}
"""Each bias, in the order in which it is shown."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Audit:
    """The result: every number, and those that are above their limits."""

    policy: str
    split: str
    seen: Seen
    parts: Sequence[Part]
    reused: int
    """Answers that were taken from an evaluation."""
    generated: int

    @cached_property
    def numbers(self) -> list[Number]:
        """All of them."""
        return [number for part in self.parts for number in part.numbers]

    @property
    def failures(self) -> list[Number]:
        """The numbers above their limits."""
        return [number for number in self.numbers if number.fails]

    @property
    def verdict(self) -> str:
        """A sentence."""
        failed = [f"{one.name} is {one.value:.3f}, limit {one.limit:g}" for one in self.failures]
        limited = sum(number.limit is not None and not math.isnan(number.value) for number in self.numbers)
        if failed:
            return f"{len(failed)} of {limited} numbers with a limit are above it: {'; '.join(failed)}"
        return f"none of {limited} numbers with a limit is above it" if limited else "no number has a limit"

    def metrics(self) -> dict[str, float]:
        """The numbers for a log, under `audit/`."""
        return {f"audit/{one.name}": one.value for one in self.numbers} | {"audit/failures": float(len(self.failures))}

    def plain(self) -> dict[str, Any]:
        """The content of `audit.json`: None is a number that is not finite, which JSON does not have."""
        return {
            "policy": self.policy,
            "split": self.split,
            "needs": len(self.seen.needs),
            "cutoff": self.seen.cutoff,
            "answers": {"generated": self.generated, "from the evaluation": self.reused},
            "verdict": self.verdict,
            "fails": bool(self.failures),
            "parts": [
                {"part": part.title, "numbers": [one.to_dict() for one in part.numbers], "remarks": list(part.remarks)}
                for part in self.parts
            ],
            "settings": {"seed": self.seen.seed, **self.seen.spec.to_dict()},
            "metrics": {name: finite(value) for name, value in self.metrics().items()},
            "versions": surroundings()["versions"],
        }


def find_biases(
    env: Environment,
    policy: Policy,
    split: str,
    spec: AuditSpec,
    *,
    seed: int = 0,
    name: str = "policy",
    known: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> Audit:
    """Ask a policy, and look for every bias.

    Args:
        env: Task and retriever; its rewards are not used.
        policy: Writes the answers, one greedy completion each. Its own `format` is used if it has one.
        split: "train", "validation" or "test".
        spec: What is looked at, and the limits.
        seed: Of orders, random lists and tests.
        name: The policy's name.
        known: Need id -> its greedy completion, from an evaluation.
        progress: Called with the answers that are generated and their number.

    Raises:
        UserError: For a split without needs.
        MissingAnswers: If the retriever does not answer some query after retries.
    """
    prepare(policy, env)
    env = Environment(env.task, env.retriever, (), env.k, format_of(policy) or env.format)
    needs = list(env.task.needs(split)[: spec.needs])
    if not needs:
        raise UserError(f"split '{split}' has no needs to audit")
    known = {need.id: known[need.id] for need in needs if known and need.id in known}
    turned = list(_orders(env, needs, spec, seed))
    people = {
        attribute: {word: [need.of_person(attribute, word, spec.sentence) for need in needs] for word in words}
        for attribute, words in (spec.words if _reads_text(env, needs) else {}).items()
    }
    total = (1 + len(turned) + sum(map(len, people.values()))) * len(needs) - len(known)
    generated = 0

    def ask(needs: Sequence[Need], known: Mapping[str, str]) -> Batch:
        nonlocal generated
        prompts, texts = env.prompts(needs), dict(known)
        lacking = [place for place, need in enumerate(needs) if need.id not in texts]
        for start in range(0, len(lacking), CHUNK):
            places = lacking[start : start + CHUNK]
            written = policy.generate([prompts[place] for place in places], 0)
            texts |= {needs[place].id: of[0] for place, of in zip(places, written, strict=True)}
            generated += len(places)
            if progress:
                progress(generated, total)
        return complete_step(env, needs, prompts, [texts[need.id] for need in needs]).batch

    plain, orders = ask(needs, known), [ask(of, {}) for of in turned]
    words = {attribute: {word: ask(own, {}) for word, own in of.items()} for attribute, of in people.items()}
    seen = Seen(env, policy, spec, cutoff_for(needs, spec.cutoff, env.k), seed, plain, orders, words)
    parts = corrected([_answers(seen), *(_part(seen, title) for title in PARTS)])
    return Audit(name, split, seen, parts, len(known), generated)


def cutoff_for(needs: Sequence[Need], cutoff: int, k: int) -> int:
    """The items of a list that are read: at most k, and half of the candidates, as whole lists are all alike."""
    sizes = [len(need.candidates) for need in needs if need.candidates]
    return max(1, min(cutoff, k, int(np.median(sizes)) // 2 if sizes else cutoff))


def _part(seen: Seen, title: str) -> Part:
    try:
        if PARTS[title] is not bloat and not any(lists(seen.plain)):
            raise NotAudited("no answer is a list, or finds anything")
        return replace(PARTS[title](seen), title=title)
    except NotAudited as why:
        return Part(remarks=[f"not audited: {why}"], title=title)


def _answers(seen: Seen) -> Part:
    batches = [seen.plain, *seen.orders, *(one for of in seen.words.values() for one in of.values())]
    invalid = [isinstance(rollout.action, Invalid) for batch in batches for rollout in batch.rollouts]
    level = seen.mean(seen.ndcg.name, seen.relevance, "of the needs as they are", tested=False)
    found = [level, Number("invalid", float(np.mean(invalid)), "share of answers that cannot be read")]
    return Part(found, title="Answers")


def _orders(env: Environment, needs: Sequence[Need], spec: AuditSpec, seed: int) -> Iterator[list[Need]]:
    """The needs with their candidates in other orders, if the answer may depend on it."""
    if isinstance(env.format, ReadsNeed) and any(need.candidates for need in needs):
        rng = np.random.default_rng(seed)
        for _ in range(spec.orders):
            yield [need.in_order(rng.permutation(len(need.candidates)).tolist()) for need in needs]


def _reads_text(env: Environment, needs: Sequence[Need]) -> bool:
    """Whether prompts change with the text of a need."""
    others = [replace(need, text=f"{need.text} (a test)") for need in needs[:8]]
    return env.prompts(needs[:8]) != env.prompts(others)
