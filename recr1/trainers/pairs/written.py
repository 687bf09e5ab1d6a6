"""Pairs that another policy writes: the form of a query that a language model would not begin with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any, ClassVar

from recr1.baselines.access import NeedsAccess, prepare
from recr1.config.build import build, check_part
from recr1.env import Environment
from recr1.errors import OptionError, UserError
from recr1.policies.base import format_of
from recr1.trainers.launch import FailureBudget
from recr1.trainers.pairs.made import MadePairs, OfNeed, Pass, mean
from recr1.trainers.pairs.paid import Paid
from retrievers.options import PositiveInt, checked
from rewards.base import Need, Search


@checked
class WrittenPairs(MadePairs):
    """What another policy writes for each training need: a rule to begin with, such as clauses about fields.

    That policy may have learned from rewards of training needs, as `field_clauses` and `linear_edits` do; one that
    reads the catalog, hits or answers is refused, as what it read would be taught. Queries that are longer than
    `policy.max_new_tokens` are left out.

    Args:
        policy: the policy that writes, such as {type: field_clauses}.
        at_least: how much more than its need a query must earn, by the rewards of the recipe; a need whose query earns
            less is taught as it is. null teaches every query.
        needs: how many training needs, from the first on; null for all.
    """

    nested: ClassVar[Mapping[str, str]] = {"policy": "policy"}

    def __init__(
        self, *, policy: dict[str, Any], at_least: float | None = None, needs: PositiveInt | None = None
    ) -> None:
        if problems := check_part("policy", policy, "policy"):
            raise OptionError(problems)
        self.policy, self.at_least, self.needs = policy, at_least, needs

    def _made(self, each: Pass, env: Environment, policy: Any, budget: FailureBudget) -> list[OfNeed]:
        writer = build("policy", self.policy, path="trainer.pairs.policy")
        seen = [what for what in writer.sees if what != "training rewards"] if isinstance(writer, NeedsAccess) else []
        if seen:
            raise UserError(
                f"trainer.pairs.policy: it reads {' and '.join(seen)}, and what it read would be taught: choose one "
                "that reads needs and rewards alone, such as field_clauses or keywords"
            )
        if (own := format_of(writer)) is None:
            raise UserError("trainer.pairs.policy: a language model has no rule to teach: choose a policy without one")
        with each.ranks.together():
            prepare(writer, env)
        of_writer = env.with_format(own)

        def make(needs: Sequence[Need]) -> list[OfNeed]:
            texts = [text for (text,) in writer.generate(of_writer.prompts(needs), 0)]
            actions = map(own.parse, texts)
            queries = [one.query if isinstance(one, Search) and isinstance(one.query, str) else "" for one in actions]
            return self._kept_of(needs, queries, Paid(needs, env, policy, budget))

        return each(make, "searching queries for")

    def _kept_of(self, needs: Sequence[Need], queries: Sequence[str], paid: Paid) -> list[OfNeed]:
        """The line of each need: its query, or the need itself."""
        places = list(range(len(needs)))
        raw, earned = (paid(places, texts).tolist() for texts in ([need.text for need in needs], queries))
        found: list[OfNeed] = []
        for need, query, before, after in zip(needs, queries, raw, earned, strict=True):
            taken = isfinite(after) and (self.at_least is None or after >= before + self.at_least)
            text, reward = (query, after) if taken else (need.text, before)
            if not isfinite(reward) or not paid.whole(text):
                found.append({"kept": []})
                continue
            line = {"need": need.id, "completion": paid.write(text), "reward": reward, "raw": before, "taken": taken}
            found.append({"kept": [line]})
        return found

    def _facts(self, made: Sequence[OfNeed]) -> dict[str, Any]:
        kept = [line for of_need in made for line in of_need["kept"]]
        if not kept:
            raise UserError(
                f"trainer.pairs: nothing of {len(made)} training needs can be taught: raise policy.max_new_tokens, "
                "or choose another policy"
            )
        return {
            "taught_unchanged": sum(not line["taken"] for line in kept),
            "reward_of_taught_needs": mean(line["raw"] for line in kept),
            "reward_of_kept": mean(line["reward"] for line in kept),
        }
