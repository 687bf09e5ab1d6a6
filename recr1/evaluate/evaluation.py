"""The results of a policy on every need of a split, beside a floor and a ceiling."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recr1.choosing import PickOne
from recr1.env import Environment, answer_metrics, copies_share, known_share, words
from recr1.evaluate.answers import families, rating_errors
from recr1.evaluate.gated import gated
from recr1.evaluate.references import References
from recr1.evaluate.reindex import reindexed
from recr1.evaluate.second import SecondOpinion, opinion
from recr1.gate import Gate
from recr1.judge.difference import against_floor
from recr1.judge.stats import LEVEL, PERMUTATIONS, RESAMPLES, Doubles, standard_error
from recr1.runs.provenance import surroundings
from retrievers.base import Floats, Hits
from rewards.base import Action, Answer, Graded, Invalid, Need, Qrels, Search
from rewards.measures import CORPUS_MEASURES, parse_measure


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
