"""Each policy against each other on the main measure, against the first on the rest; all corrected as one family."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import combinations
from typing import Any, Literal

import numpy as np

from recr1.compare.entry import Entry, as_mapping
from recr1.compare.slices import slice_mapping
from recr1.evaluate.report import check_same_needs
from recr1.evaluate.slices import Slice, slices_of
from recr1.judge.phrases import ALPHA, tone_of
from recr1.judge.seeds import pooled
from recr1.judge.stats import (
    LEVEL,
    PERMUTATIONS,
    RESAMPLES,
    bootstrap_interval,
    bootstrap_test,
    effect_size,
    holm,
    randomisation_tests,
)
from recr1.runs.provenance import surroundings

FORMAT = 1
"""Of `compare.json`; it changes when a name in it does."""


@dataclass(frozen=True)
class Difference:
    """One policy against another on one measure."""

    measure: str
    policy: str
    against: str
    difference: float
    low: float
    high: float
    """Bounds of the difference's own interval, not corrected."""
    p: float
    """Of this test alone."""
    p_holm: float
    """Corrected for all tests of the comparison."""
    p_bootstrap: float | None
    """Of the studentised bootstrap, beside it; None where seeds are pooled."""
    effect: float | None
    """Cohen's d of the per-need differences."""
    wins: int
    ties: int
    losses: int
    test: Literal["randomisation", "seeds and needs"]

    @property
    def real(self) -> bool:
        """Whether it is called a difference."""
        return tone_of(self.difference, self.p_holm) != "open"

    def reversed(self) -> Difference:
        """The same from the other side."""
        return replace(
            self,
            policy=self.against,
            against=self.policy,
            difference=-self.difference,
            low=-self.high,
            high=-self.low,
            effect=None if self.effect is None else -self.effect,
            wins=self.losses,
            losses=self.wins,
        )


class Comparison:
    """Entries on the same needs; the first is what the others are compared with."""

    def __init__(
        self, entries: Sequence[Entry], *, category: str | None = None, setting: Mapping[str, Any] | None = None
    ) -> None:
        """Check that the entries fit together.

        Args:
            entries: At least one; the first is usually the raw need.
            category: The catalog field that needs are sliced by; None takes a usual name where there is one.
            setting: What all of them were measured with, as `recr1.runs.setting_of` says; None where no recipe says it.

        Raises:
            ValueError: For entries of other needs or measures, or equal labels.
        """
        for entry in entries[1:]:
            check_same_needs(entries[0].first, entry.first)
        if len({entry.label for entry in entries}) < len(entries):
            raise ValueError(f"labels must differ: {', '.join(entry.label for entry in entries)}")
        self.entries, self.seed, self._category = list(entries), entries[0].first.seed, category
        self._setting = dict(setting or {})

    @property
    def measures(self) -> list[str]:
        """The names of the measures, the main one first."""
        return list(self.entries[0].first.values)

    @property
    def main(self) -> str:
        """The measure that verdicts and slices are about."""
        return self.measures[0]

    @property
    def subject(self) -> Entry:
        """What the verdict is about: the first trained policy, or else the best of the rivals."""
        rivals = [entry for entry in self.entries[1:] if not entry.bound] or self.entries
        trained = [entry for entry in rivals if entry.trained]
        return trained[0] if trained else max(rivals, key=lambda entry: float(entry.per_need(self.main).mean()))

    @cached_property
    def differences(self) -> list[Difference]:
        """All that was tested: all pairs on the main measure, each against the first on the others."""
        first, others = self.entries[0], self.entries[1:]
        pairs = [(self.main, after, before) for before, after in combinations(self.entries, 2)]
        pairs += [(measure, other, first) for measure in self.measures[1:] for other in others]
        found = [self._difference(*pair) for pair in pairs]
        single = [place for place, one in enumerate(found) if one.test == "randomisation"]
        if single:
            differences = np.array([self._per_need(*pairs[place]) for place in single])
            p = randomisation_tests(differences, seed=self.seed, permutations=self.permutations)
            for place, value in zip(single, p, strict=True):
                found[place] = replace(found[place], p=float(value))
        corrected = holm([one.p for one in found])
        return [replace(one, p_holm=float(value)) for one, value in zip(found, corrected, strict=True)]

    @property
    def permutations(self) -> int:
        """So many that a corrected p can be below 0.001, which takes more the more tests there are."""
        count, rest = len(self.entries), len(self.measures) - 1
        return max(PERMUTATIONS, 1_500 * (count * (count - 1) // 2 + rest * (count - 1)))

    def _per_need(self, measure: str, policy: Entry, against: Entry) -> Any:
        return policy.per_need(measure) - against.per_need(measure)

    def _difference(self, measure: str, policy: Entry, against: Entry) -> Difference:
        differences = self._per_need(measure, policy, against)
        wins, losses = int((differences > 0).sum()), int((differences < 0).sum())
        counted = (wins, len(differences) - wins - losses, losses)
        effect = effect_size(differences)
        names = (measure, policy.label, against.label)
        if max(len(policy.evaluations), len(against.evaluations)) > 1:
            over = pooled(policy.by_seed(measure), against.by_seed(measure))
            return Difference(*names, *over[:4], 1.0, None, effect, *counted, "seeds and needs")
        interval = bootstrap_interval(differences, seed=self.seed)
        p_bootstrap = bootstrap_test(differences, seed=self.seed)
        return Difference(*names, *interval, 1.0, 1.0, p_bootstrap, effect, *counted, "randomisation")

    def difference(self, measure: str, policy: str, against: str) -> Difference:
        """One that was tested, from either side; raises `KeyError` for one that was not."""
        for one in self.differences:
            if (one.measure, one.policy, one.against) == (measure, policy, against):
                return one
            if (one.measure, one.policy, one.against) == (measure, against, policy):
                return one.reversed()
        raise KeyError(f"{policy} was not compared with {against} in {measure}")

    @cached_property
    def slices(self) -> list[Slice]:
        """Parts of the needs."""
        return slices_of(self.entries[0].first.env.task, self.entries[0].first.needs, self._category)

    @cached_property
    def summary(self) -> dict[str, Any]:
        """Every number that `compare.json` holds, but for the sentences."""
        first = self.entries[0].first
        return {
            "format": FORMAT,
            "split": first.split,
            "k": first.env.k,
            "measures": self.measures,
            "main": self.main,
            "first": self.entries[0].label,
            "subject": self.subject.label,
            "setting": self._setting,
            "needs": [need.id for need in first.needs],
            "texts": [need.text for need in first.needs],
            "policies": {entry.label: as_mapping(entry, self.seed) for entry in self.entries},
            "comparisons": [asdict(one) for one in self.differences],
            "slices": [slice_mapping(part, self.entries, self.main, self.seed) for part in self.slices],
            "settings": {
                "seed": self.seed,
                "level": LEVEL,
                "alpha": ALPHA,
                "resamples": RESAMPLES,
                "permutations": self.permutations,
                "tests": len(self.differences),
                "retriever": type(first.env.retriever).__name__,
                "catalog": first.env.task.catalog.fingerprint,
            },
            "versions": surroundings()["versions"],
        }
