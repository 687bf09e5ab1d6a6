"""Pairs that a search finds: for each training need the small edits of it that the recipe's rewards pay most."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any, Literal

from recr1.baselines.best_edit import TRIED, Edited, EditSearch
from recr1.baselines.edit_model import EditModel, learn_without_each
from recr1.baselines.edits import ADDED, Edits
from recr1.env import Environment
from recr1.errors import UserError
from recr1.tasks.splits import unit_hash
from recr1.terminal import say
from recr1.trainers.launch import FailureBudget
from recr1.trainers.pairs.made import MadePairs, OfNeed, Pass, mean
from recr1.trainers.pairs.paid import Paid
from retrievers.options import NonNegativeInt, PositiveFloat, PositiveInt, Share, checked
from rewards.base import Need

PARTS = 3
"""Parts of the training needs; the edits of each are chosen by what the others earn."""


@checked
class SearchedPairs(MadePairs):
    """For each training need the edit of it that earns most by the rewards of the recipe.

    A need of which no edit earns clearly more is taught as it is. Edits drop, double, join, split, respell or add
    words, see `recr1.baselines.edits`: the starting policy need not be able to write them. They are searched before the
    first step, and written to `pairs.jsonl` in the run folder. Queries that are longer than `policy.max_new_tokens` are
    left out.

    Args:
        at_least: how much more than its need an edit must earn: the weighted reward of the recipe. With
            `choose: expected` each single change must be expected to add this much.
        keep: the most different edits that are kept of a need, those with the highest reward.
        unchanged: the share of the needs without such an edit that are taught as they are, so that the policy also
            learns when to change nothing.
        rounds: edits that are combined, at most.
        beam: queries from which each round after the first goes on.
        tried: queries tried for a need in each round, at most.
        added: words of other needs among them, at most.
        samples: completions of the starting policy that are tried for each need too, and edited further; 0 for none.
        choose: "earned" takes the edit that earned most for its need, which may be luck; "expected" takes the one that
            other training needs say will earn most, by a linear model of words (`recr1.baselines.edit_model`).
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
        tried: PositiveInt = TRIED,
        added: NonNegativeInt = ADDED,
        samples: NonNegativeInt = 0,
        choose: Literal["earned", "expected"] = "earned",
        needs: PositiveInt | None = None,
    ) -> None:
        self.at_least, self.keep, self.unchanged, self.samples, self.needs = at_least, keep, unchanged, samples, needs
        self.rounds, self.beam, self.tried, self.added, self.choose = rounds, beam, tried, added, choose

    @staticmethod
    def check_options(options: Mapping[str, Any]) -> list[str]:
        """Options that contradict each other."""
        if options.get("choose") == "expected" and options.get("samples"):
            return ["samples: only with choose: earned; the linear model chooses among edits"]
        return []

    def _made(self, each: Pass, env: Environment, policy: Any, budget: FailureBudget) -> list[OfNeed]:
        if not env.rewards:
            raise UserError("trainer.pairs: 'searched' chooses by rewards, and the recipe has none: add `rewards`")
        edits = Edits((need.text for need in env.task.needs("train")), self.added)
        search = EditSearch(edits, self.rounds, self.beam, self.tried)
        if self.choose == "earned":
            return each(lambda needs: self._earned(search, Paid(needs, env, policy, budget)), "searching edits of")
        tried = each(lambda needs: Paid(needs, env, policy, budget).attempts(search), "searching edits of")
        of_part = [(one, part_of(need)) for need, own in zip(each.needs, tried, strict=True) for one in own]
        if each.run.writer:
            say(f"learning what {len(of_part)} edits gain")
        models = learn_without_each([one for one, _ in of_part], [part for _, part in of_part], PARTS)
        return each(lambda needs: self._expected(models, search, Paid(needs, env, policy, budget)), "choosing edits of")

    def _earned(self, search: EditSearch, paid: Paid) -> list[OfNeed]:
        written = paid.written(self.samples) if self.samples else ()
        made = []
        best = search.best([need.text for need in paid.needs], paid, written=written, keep=self.keep)
        for need, found in zip(paid.needs, best, strict=True):
            better = [one for one in found[1:] if one.value >= found[0].value + self.at_least]
            made.append(self._taught(need, found[0], better, paid) if found else {"kept": []})
        return made

    def _expected(self, models: Sequence[EditModel], search: EditSearch, paid: Paid) -> list[OfNeed]:
        chosen: dict[int, list[Edited]] = {}
        for part, model in enumerate(models):
            own = [place for place, need in enumerate(paid.needs) if part_of(need) == part]
            found = model.best(search, [paid.needs[place].text for place in own], self.at_least, self.keep)
            chosen |= dict(zip(own, found, strict=True))
        asked = [
            (place, one)
            for place, need in enumerate(paid.needs)
            for one in [Edited(need.text, (), 0.0), *chosen[place]]
        ]
        values = paid([place for place, _ in asked], [one.query for _, one in asked]).tolist()
        earned: list[list[Edited]] = [[] for _ in paid.needs]
        for (place, one), value in zip(asked, values, strict=True):
            if isfinite(value) and (earned[place] or not one.changes):  # nothing is known where the need has no reward
                earned[place].append(one._replace(value=value))
        taught = zip(paid.needs, earned, strict=True)
        return [self._taught(need, found[0], found[1:], paid) if found else {"kept": []} for need, found in taught]

    def _taught(self, need: Need, raw: Edited, chosen: Sequence[Edited], paid: Paid) -> OfNeed:
        """The lines of a need: of the chosen edits those that can be taught, or of the need itself."""
        better = [one for one in chosen if paid.whole(one.query)]
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
                "none is taught as it is: lower at_least, raise unchanged, or raise policy.max_new_tokens "
                "if the needs are longer"
            )
        kinds = Counter(kind for line in taught for kind in line["edits"])
        return {
            "needs_without_a_reward": len(made) - len(judged),
            "needs_with_an_edit": sum(of_need["better"] for of_need in judged),
            "taught_unchanged": sum(not line["edits"] for line in taught),
            "reward_of_needs": mean(of_need["raw"] for of_need in judged),
            "reward_of_taught_needs": mean(line["raw"] for line in taught),
            "reward_of_kept": mean(line["reward"] for line in taught),
            "edits": dict(kinds.most_common()),
        }


def part_of(need: Need) -> int:
    """The part of the needs that a need is in: the model that chooses its edits learned from the others."""
    return int(unit_hash(1, need.id) * PARTS)
