"""Pairs that a search finds: for each training need the small edits of it that the recipe's rewards pay most."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from recr1.baselines.best_edit import Edited, EditSearch
from recr1.baselines.edits import Change, Edits
from recr1.env import Environment, chat_with
from recr1.errors import UserError
from recr1.tasks.splits import unit_hash
from recr1.trainers.launch import WINDOW, FailureBudget
from recr1.trainers.pairs.made import MadePairs, OfNeed, Pass, mean
from recr1.trainers.pairs.pairs import answer_ids, writer_of
from retrievers.base import Floats
from retrievers.options import NonNegativeInt, PositiveFloat, PositiveInt, Share, checked
from rewards.base import Need, Search


@checked
class SearchedPairs(MadePairs):
    """For each training need the edit of it that earns most by the rewards of the recipe.

    A need of which no edit earns clearly more is taught as it is. Edits drop, double, join, split or respell words, see
    `recr1.baselines.edits`: the starting policy need not be able to write them. They are searched before the first
    step, and written to `pairs.jsonl` in the run folder. Queries that are longer than `policy.max_new_tokens` are left
    out.

    Args:
        at_least: how much more than its need an edit must earn: the weighted reward of the recipe.
        keep: the most different edits that are kept of a need, those with the highest reward.
        unchanged: the share of the needs without such an edit that are taught as they are, so that the policy also
            learns when to change nothing.
        rounds: edits that are combined, at most.
        beam: queries from which each round after the first goes on.
        tried: queries tried for a need in each round, at most.
        samples: completions of the starting policy that are tried for each need too, and edited further; 0 for none.
        support: an edit counts only if at least so many training needs have it (the same change of the same words) and
            it loses nothing on average over all that have it; 0 for every edit.
        needs: how many training needs, from the first on; null for all.
    """

    def __init__(
        self,
        *,
        at_least: PositiveFloat = 0.02,
        keep: PositiveInt = 1,
        unchanged: Share = 1.0,
        rounds: PositiveInt = 2,
        beam: PositiveInt = 3,
        tried: PositiveInt = 48,
        samples: NonNegativeInt = 0,
        support: NonNegativeInt = 0,
        needs: PositiveInt | None = None,
    ) -> None:
        self.at_least, self.keep, self.unchanged, self.samples, self.needs = at_least, keep, unchanged, samples, needs
        self.rounds, self.beam, self.tried, self.support = rounds, beam, tried, support

    def _made(self, each: Pass, env: Environment, policy: Any, budget: FailureBudget) -> list[OfNeed]:
        if not env.rewards:
            raise UserError("trainer.pairs: 'searched' chooses by rewards, and the recipe has none: add `rewards`")
        edits = Edits(need.text for need in env.task.needs("train"))
        if self.support:
            singles = EditSearch(edits, 1, 1, self.tried)
            gains = each(lambda needs: _Paid(needs, env, policy, budget).gains(singles), "searching single edits of")
            edits.allowed = supported(gains, self.support)
        search = EditSearch(edits, self.rounds, self.beam, self.tried)
        return each(lambda needs: self._found(search, _Paid(needs, env, policy, budget)), "searching edits of")

    def _found(self, search: EditSearch, paid: _Paid) -> list[OfNeed]:
        written = paid.written(self.samples) if self.samples else ()
        best = search.best([need.text for need in paid.needs], paid, written=written, keep=self.keep)
        return [self._taught(need, found, paid) for need, found in zip(paid.needs, best, strict=True)]

    def _taught(self, need: Need, found: Sequence[Edited], paid: _Paid) -> OfNeed:
        """The lines of a need; `found` is itself, then its best edits, or nothing if it has no reward."""
        if not found:
            return {"kept": []}
        raw, *edited = found
        better = [one for one in edited if one.value >= raw.value + self.at_least and paid.whole(one.query)]
        same = [raw] if unit_hash(0, need.id) < self.unchanged and paid.whole(raw.query) else []
        taught = better[: self.keep] or same
        return {
            "raw": raw.value,
            "better": bool(better),
            "kept": [
                {
                    "need": need.id,
                    "completion": paid.write(one.query),
                    "reward": one.value,
                    "raw": raw.value,
                    "edits": [change.kind for change in one.changes],
                }
                for one in taught
            ],
        }

    def _facts(self, made: Sequence[OfNeed]) -> dict[str, Any]:
        judged = [of_need for of_need in made if "raw" in of_need]
        taught = [line for of_need in judged for line in of_need["kept"]]
        if not taught:
            raise UserError(
                f"trainer.pairs: of {len(made)} training needs none has an edit that earns {self.at_least:g} more, and "
                "none is taught as it is: lower at_least or support, raise unchanged, or raise policy.max_new_tokens "
                "if the needs are longer"
            )
        kinds = Counter(kind for line in taught for kind in line["edits"])
        return {
            "needs_without_a_reward": len(made) - len(judged),
            "needs_with_a_better_edit": sum(of_need["better"] for of_need in judged),
            "taught_unchanged": sum(not line["edits"] for line in taught),
            "reward_of_needs": mean(of_need["raw"] for of_need in judged),
            "reward_of_taught_needs": mean(line["raw"] for line in taught),
            "reward_of_kept": mean(line["reward"] for line in taught),
            "edits": dict(kinds.most_common()),
        }


class _Paid:
    """What queries of some needs earn, as the completions that ask for them."""

    def __init__(self, needs: Sequence[Need], env: Environment, policy: Any, budget: FailureBudget) -> None:
        self.needs, self.env, self.policy, self.budget = needs, env, policy, budget
        self.prompts, self.write = env.prompts(needs), writer_of(env.format)

    def written(self, samples: int) -> list[list[str]]:
        """Queries that the policy writes for each need, without repeats."""
        found = []
        for texts in self.policy.generate(self.prompts, samples):
            actions = map(self.env.format.parse, texts)
            queries = [a.query for a in actions if isinstance(a, Search) and isinstance(a.query, str)]
            found.append(list(dict.fromkeys(queries)))
        return found

    def gains(self, search: EditSearch) -> list[dict[Change, float]]:
        """What each single edit of each need earns more than the need itself."""
        best = search.best([need.text for need in self.needs], self, keep=search.tried)
        return [{one.changes[0]: one.value - found[0].value for one in found[1:]} for found in best]

    def __call__(self, places: Sequence[int], queries: Sequence[str]) -> Floats:
        """(Q,) the rewards of queries for the needs in these places; NaN for one that has none."""
        values_Q = np.full(len(queries), np.nan, np.float32)
        for start in range(0, len(queries), WINDOW):  # as many as a failure budget counts
            own, chats, rows = [], [], []
            for row in range(start, min(start + WINDOW, len(queries))):
                if (text := self._answer(queries[row])) is not None:
                    rows.append(row)
                    own.append(self.needs[places[row]])
                    chats.append(chat_with(self.prompts[places[row]], text))
            if rows:
                step = self.env.step(own, chats)
                self.budget.spend(step, alone=False)
                values_Q[rows] = step.rewards
        return values_Q

    def whole(self, query: str) -> bool:
        """Whether the policy may write the completion that asks for it, and its end."""
        return bool(len(answer_ids(self.policy.tokenizer, self.write(query))) <= self.policy.max_new_tokens)

    def _answer(self, query: str) -> str | None:
        try:
            return self.write(query)
        except ValueError:  # no completion asks for it
            return None


def supported(gains: Iterable[Mapping[Change, float]], least: int) -> frozenset[Change]:
    """The changes that at least so many needs have, and that lose nothing on average over all that have them."""
    of_change: dict[Change, list[float]] = defaultdict(list)
    for of_need in gains:
        for change, gain in of_need.items():
            of_change[change].append(gain)
    return frozenset(change for change, found in of_change.items() if len(found) >= least and sum(found) >= 0)
