"""Pairs that a search finds: for each training need the small edits of it that the recipe's rewards pay most."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from recr1.baselines.best_edit import Edited, EditSearch
from recr1.baselines.edits import Edits
from recr1.env import Environment, chat_with
from recr1.errors import UserError
from recr1.tasks.splits import unit_hash
from recr1.trainers.launch import WINDOW, FailureBudget
from recr1.trainers.pairs.made import MadePairs, Maker, OfNeed, mean
from recr1.trainers.pairs.pairs import writer_of
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
        needs: how many training needs, from the first on; null for all.
    """

    doing = "searching edits of"

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
        needs: PositiveInt | None = None,
    ) -> None:
        self.at_least, self.keep, self.unchanged, self.samples, self.needs = at_least, keep, unchanged, samples, needs
        self.rounds, self.beam, self.tried = rounds, beam, tried

    def _maker(self, env: Environment, policy: Any, budget: FailureBudget) -> Maker:
        if not env.rewards:
            raise UserError("trainer.pairs: 'searched' chooses by rewards, and the recipe has none: add `rewards`")
        edits = Edits(need.text for need in env.task.needs("train"))
        search = EditSearch(edits, self.rounds, self.beam, self.tried)
        return lambda needs: self._found(needs, search, _Paid(needs, env, policy, budget))

    def _found(self, needs: Sequence[Need], search: EditSearch, paid: _Paid) -> list[OfNeed]:
        written = paid.written(self.samples) if self.samples else ()
        texts = [need.text for need in needs]
        best = search.best(texts, paid, written=written, keep=self.keep)
        return [self._taught(need, found, paid.write) for need, found in zip(needs, best, strict=True)]

    def _taught(self, need: Need, found: Sequence[Edited], write: Callable[[str], str]) -> OfNeed:
        """The lines of a need; `found` is itself, then its best edits, or nothing if it has no reward."""
        if not found:
            return {"kept": []}
        raw, *edited = found
        taught = [one for one in edited if one.value >= raw.value + self.at_least][: self.keep]
        if not taught and unit_hash(0, need.id) < self.unchanged:
            taught = [raw]
        return {
            "raw": raw.value,
            "better": bool(taught and taught[0].changes),
            "kept": [
                {
                    "need": need.id,
                    "completion": write(one.query),
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
        if not judged:
            raise UserError(
                f"trainer.pairs: none of {len(made)} training needs has a reward: raise policy.max_new_tokens, so that "
                "the policy can write a need whole"
            )
        if not taught:
            raise UserError(
                f"trainer.pairs: no edit of {len(made)} training needs earns {self.at_least:g} more than its need: "
                "lower at_least, raise tried or rounds, or set unchanged above 0 to teach the needs as they are"
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

    def __call__(self, places: Sequence[int], queries: Sequence[str]) -> Floats:
        """(Q,) the rewards of queries for the needs in these places; NaN for one that has none or cannot be taught."""
        values_Q = np.full(len(queries), np.nan, np.float32)
        answers = [(order, text) for order, text in enumerate(self._answers(queries)) if text is not None]
        for start in range(0, len(answers), WINDOW):  # as many as a failure budget counts
            block = answers[start : start + WINDOW]
            own = [places[order] for order, _ in block]
            chats = [chat_with(self.prompts[place], text) for place, (_, text) in zip(own, block, strict=True)]
            step = self.env.step([self.needs[place] for place in own], chats)
            self.budget.spend(step, alone=False)
            values_Q[[order for order, _ in block]] = step.rewards
        return values_Q

    def _answers(self, queries: Sequence[str]) -> list[str | None]:
        """The completions that ask for queries; None where there is none or the policy may not write it whole."""
        answers: list[str | None] = []
        for query in queries:
            try:
                answers.append(self.write(query))
            except ValueError:
                answers.append(None)
        known = list(dict.fromkeys(answer for answer in answers if answer is not None))
        ids = self.policy.tokenizer(known, add_special_tokens=False)["input_ids"] if known else []
        whole = {answer for answer, own in zip(known, ids, strict=True) if len(own) < self.policy.max_new_tokens}
        return [answer if answer in whole else None for answer in answers]  # and the end is a token too
