"""The tests of a comparison: all pairs on the main measure, each against the first on the others, one correction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import combinations
from typing import Any, Literal

import numpy as np

from recr1.compare.policies import ComparedPolicy
from recr1.evaluate.gated import gated
from recr1.evaluate.report import check_same_needs
from recr1.evaluate.second import SecondOpinion, opinion
from recr1.evaluate.slices import Slice, slices_of
from recr1.judge import stats
from recr1.judge.difference import ALPHA, Difference, paired_test, tally
from recr1.judge.stats import Doubles, bootstrap_interval
from recr1.runs.provenance import surroundings

FORMAT = 1
"""Version of `compare.json`; it changes when a key does."""


@dataclass(frozen=True)
class PolicyPair:
    """One policy against another on one measure; one of the `comparisons` of `compare.json`."""

    measure: str
    policy: str
    against: str
    difference: float
    low: float
    high: float
    """Bounds of the difference's own interval, not corrected."""
    p: float  # of this test alone
    p_holm: float  # corrected for all tests of the comparison
    p_bootstrap: float | None
    """Of the studentised bootstrap; None if seeds are pooled."""
    effect: float | None  # Cohen's d of the per-need differences
    wins: int
    ties: int
    losses: int
    test: Literal["randomisation", "seeds and needs"]

    @property
    def corrected(self) -> Difference:
        """The difference, with the corrected p."""
        return Difference(self.difference, self.low, self.high, self.p_holm, self.wins, self.ties, self.losses)

    def reversed(self) -> PolicyPair:
        """The second policy against the first."""
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
    """Policies on the same needs; all others are compared with the first."""

    def __init__(
        self,
        policies: Sequence[ComparedPolicy],
        *,
        category: str | None = None,
        setting: Mapping[str, Any] | None = None,
    ) -> None:
        """Check that the policies can be compared.

        Args:
            policies: At least one; the first is usually the raw need.
            category: The catalog field to slice needs by; None takes a field with a usual name, if there is one.
            setting: Task, retriever, k and catalog (`recr1.runs.setting_of`); None without a recipe.

        Raises:
            ValueError: For different needs or measures, or equal labels.
        """
        check_same_needs([policy.first for policy in policies])
        labels = [policy.label for policy in policies]
        if len(set(labels)) < len(labels):
            raise ValueError(f"labels must differ, got {', '.join(labels)}")
        self.policies, self.seed, self._category = list(policies), policies[0].first.seed, category
        self._setting = dict(setting or {})
        self.measures = list(policies[0].first.values)
        self.main = self.measures[0]
        """The measure that verdicts and slices are about."""
        # Every pair on the main measure, each policy against the first on the others.
        self._asked = [(self.main, after, before) for before, after in combinations(policies, 2)]
        self._asked += [(measure, other, policies[0]) for measure in self.measures[1:] for other in policies[1:]]
        # Enough for a corrected p below 0.001, which takes more the more tests there are.
        self.permutations = max(stats.PERMUTATIONS, 1_500 * len(self._asked))

    @property
    def subject(self) -> ComparedPolicy:
        """What the verdict is about: the first trained policy, or else the best of the rivals."""
        rivals = [policy for policy in self.policies[1:] if not policy.bound] or self.policies
        trained = [policy for policy in rivals if policy.trained]
        return trained[0] if trained else max(rivals, key=lambda policy: float(policy.per_need(self.main).mean()))

    @cached_property
    def pairs(self) -> list[PolicyPair]:
        """All tests: every pair on the main measure, each policy against the first on the others."""
        found = [self._pair(*one) for one in self._asked]
        single = [place for place, one in enumerate(found) if one.test == "randomisation"]
        if single:
            differences = np.array([_per_need(*self._asked[place]) for place in single])
            p = stats.randomisation_tests(differences, seed=self.seed, permutations=self.permutations)
            for place, value in zip(single, p.tolist(), strict=True):
                found[place] = replace(found[place], p=value)
        corrected = stats.holm([one.p for one in found]).tolist()
        return [replace(one, p_holm=value) for one, value in zip(found, corrected, strict=True)]

    def _pair(self, measure: str, policy: ComparedPolicy, against: ComparedPolicy) -> PolicyPair:
        differences = _per_need(measure, policy, against)
        several = max(len(policy.evaluations), len(against.evaluations)) > 1
        if several:
            test = paired_test(policy.by_seed(measure), against.by_seed(measure), seed=self.seed)
        else:  # p comes from one randomisation test of all pairs, see `pairs`
            test = Difference(*bootstrap_interval(differences, seed=self.seed), 1.0, *tally(differences))
        return PolicyPair(
            measure,
            policy.label,
            against.label,
            **test._asdict(),
            p_holm=1.0,
            p_bootstrap=None if several else stats.bootstrap_test(differences, seed=self.seed),
            effect=stats.effect_size(differences),
            test="seeds and needs" if several else "randomisation",
        )

    def pair(self, measure: str, policy: str, against: str) -> PolicyPair:
        """One pair that was tested, from either side; raises `KeyError` if it was not."""
        for one in self.pairs:
            for seen in (one, one.reversed()):
                if (seen.measure, seen.policy, seen.against) == (measure, policy, against):
                    return seen
        raise KeyError(f"{policy} was not compared with {against} in {measure}")

    @cached_property
    def summary(self) -> dict[str, Any]:
        """The content of `compare.json`, without the sentences."""
        first = self.policies[0].first
        return {
            "format": FORMAT,
            "split": first.split,
            "k": first.env.k,
            "measures": self.measures,
            "main": self.main,
            "first": self.policies[0].label,
            "subject": self.subject.label,
            "setting": self._setting,
            "needs": [need.id for need in first.needs],
            "texts": [need.text for need in first.needs],
            "policies": {policy.label: policy.as_mapping(self.seed) for policy in self.policies},
            "comparisons": [asdict(one) for one in self.pairs],
            "slices": [self._slice(part) for part in slices_of(first.env.task, first.needs, self._category)],
            **({"second_opinion": self._opinions(first.second)} if first.second else {}),
            **({"gates": gates} if (gates := self._gates()) else {}),
            "settings": first.settings | {"alpha": ALPHA, "permutations": self.permutations, "tests": len(self.pairs)},
            "versions": surroundings()["versions"],
        }

    def _opinions(self, second: SecondOpinion) -> dict[str, Any]:
        """What each policy gains over the raw need on labels that never paid; an upper bound reads those that did."""
        rivals = [policy for policy in self.policies if not (policy.bound or policy.spec == "raw")]
        return {policy.label: opinion(policy.evaluations, second) for policy in rivals}

    def _gates(self) -> dict[str, Any]:
        return {one.label: gated(one.evaluations) for one in self.policies if one.gates}

    def _slice(self, part: Slice) -> dict[str, Any]:
        """Each policy's mean on a slice and its difference to the first, each with an interval."""
        means = {policy.label: policy.per_need(self.main)[part.rows] for policy in self.policies}
        base, *others = means
        differences = {label: means[label] - means[base] for label in others}
        return {
            "by": part.by,
            "name": part.name,
            "needs": len(part.rows),
            "rows": part.rows.tolist(),
            "policies": self._intervals(means),
            "differences": self._intervals(differences),
        }

    def _intervals(self, values: Mapping[str, Doubles]) -> dict[str, dict[str, float]]:
        return {label: bootstrap_interval(values_N, seed=self.seed)._asdict() for label, values_N in values.items()}


def _per_need(measure: str, policy: ComparedPolicy, against: ComparedPolicy) -> Doubles:
    return policy.per_need(measure) - against.per_need(measure)
