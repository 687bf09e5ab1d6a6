"""A rival without a language model: it writes the edit of a need that a linear model expects to gain most."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from recr1.baselines.access import Visible
from recr1.baselines.best_edit import BLOCK, TRIED, EditSearch
from recr1.baselines.ceilings import RaisesMeasure, measure_values
from recr1.baselines.edit_model import Attempt, attempts, learn
from recr1.baselines.edits import ADDED, Edits
from recr1.env import Environment
from recr1.terminal import note
from retrievers.base import Floats
from retrievers.options import NonNegativeInt, PositiveFloat, PositiveInt, checked
from rewards.base import Need, Qrels


@checked
class LinearEdits(RaisesMeasure):
    """Writes the edit of a need that is expected to raise the measure most; the need itself where none is.

    What edits gain is learned from searches of training needs, by a linear model of the words that they change and of
    those beside them, see `recr1.baselines.edit_model`. Needs of other splits are not searched. It has no language
    model: what a trained policy gains beyond it, it gains by reading.

    Args:
        measure: what is raised, such as nDCG@10; its cutoff is at most the recipe's k.
        at_least: how much each change must be expected to add to it.
        rounds: edits that are combined, at most.
        beam: queries from which each round after the first goes on.
        tried: queries tried for a need in each round, at most.
        added: words of other needs among them, at most.
        needs: how many training needs it learns from, from the first on; null for all.
    """

    name = "linear_edits"
    sees: tuple[Visible, ...] = ("training rewards",)

    def __init__(
        self,
        *,
        measure: str = "nDCG@10",
        at_least: PositiveFloat = 0.05,
        rounds: PositiveInt = 2,
        beam: PositiveInt = 3,
        tried: PositiveInt = TRIED,
        added: NonNegativeInt = ADDED,
        needs: PositiveInt | None = None,
    ) -> None:
        super().__init__(measure)
        self.at_least, self.rounds, self.beam, self.tried = at_least, rounds, beam, tried
        self.added, self.needs = added, needs

    def prepare(self, env: Environment) -> None:
        """Search edits of training needs and learn what they gain; raises `UserError` for a measure deeper than k."""
        super().prepare(env)
        needs = list(env.task.needs("train"))
        note(f"{self.name} learns from searches of {len(needs[: self.needs])} training needs; many take minutes")
        edits = Edits((need.text for need in needs), self.added)
        self._search = EditSearch(edits, self.rounds, self.beam, self.tried)
        self._model = learn([one for tried in self._tried(needs[: self.needs]) for one in tried])

    def _tried(self, needs: Sequence[Need]) -> Iterator[list[Attempt]]:
        for start in range(0, len(needs), BLOCK):
            block = needs[start : start + BLOCK]
            qrels = [self._env.task.qrels[need.id] for need in block]
            yield from attempts(self._search, [need.text for need in block], partial(self._values, qrels))

    def _values(self, of_needs: Sequence[Qrels], places: Sequence[int], queries: Sequence[str]) -> Floats:
        return measure_values(self._env, self.measure, queries, [of_needs[place] for place in places])

    def _queries(self, prompts: Sequence[str]) -> list[str]:
        found = self._model.best(self._search, prompts, self.at_least)
        return [edits[0].query if edits else text for edits, text in zip(found, prompts, strict=True)]
