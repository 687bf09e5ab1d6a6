"""What would queries earn before anything is learned? Random words, the raw need, and the best query there is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.random import Generator

from recr1.doctor.base import Finding, Patient, Symptom, finding
from recr1.env import Step
from recr1.env.unjudged import hole_metrics
from recr1.evaluate.references import answer_queries
from retrievers.base import Floats
from rewards.base import Need

NEEDS = 64
"""Needs that are paid for, at most: each has three groups of queries."""
BLIND = 0.9
"""From this share on of rankings in which nothing is judged, rewards say next to nothing."""
FLAT = 1e-6
"""Rewards of a group no further apart than this give no gradient."""


def rewards(patient: Patient) -> Finding:
    """The distribution of the weighted reward, and the groups whose queries all earn the same.

    A group is G queries for one need: of random words of the catalog, of random halves of the raw need (about where a
    policy begins), and of random halves of the query that earns most among those of the ceiling.
    """
    needs = patient.some(patient.judged, "rewards", min(NEEDS, patient.sample))
    if not needs:
        return Finding("rewards", "error", "no need has an answer key that can be used: see the check qrels", {})
    if not patient.vocabulary:
        return Finding("rewards", "error", "the catalog has no words to write queries with: see the check index", {})
    step = patient.pay(needs, [need.text for need in needs])
    raw = step.rewards
    best_queries, best = _best(patient, needs)
    rng, length = patient.rng("rewards"), _length(needs)
    groups = {
        "random": [_random(rng, patient.vocabulary, length) for _ in needs for _ in range(patient.group)],
        "raw": [_half(rng, need.text) for need in needs for _ in range(patient.group)],
        "best": [_half(rng, query) for query in best_queries for _ in range(patient.group)],
    }
    owners = [need for need in needs for _ in range(patient.group)]
    paid = {name: patient.pay(owners, queries).rewards for name, queries in groups.items()}
    flat = {name: _flat(values.reshape(-1, patient.group)) for name, values in paid.items()}
    numbers = {
        "needs": len(needs),
        "group": patient.group,
        "random": _summary(paid["random"]),
        "raw": _summary(raw),
        "best": _summary(best),
        "zero_variance_groups": flat,
        **hole_metrics(step.batch),
    }
    everything = np.concatenate([raw, best, *paid.values()])
    symptoms = _symptoms(everything, float(paid["random"].mean()), float(best.mean()), flat["raw"])
    symptoms += _blindness(step)
    means = f"random words earn {paid['random'].mean():.3f}, raw needs {raw.mean():.3f}, best queries {best.mean():.3f}"
    if raw.mean() < paid["random"].mean():
        means += f" ({_least_part(step, patient)})"
    of_groups = ", ".join(f"{share:.0%} of {name}" for name, share in flat.items())
    fine = f"{means} on average; all {patient.group} queries of a group earn the same in {of_groups} groups"
    return finding("rewards", symptoms, fine, numbers)


def _least_part(step: Step, patient: Patient) -> str:
    """Which reward makes raw needs earn so little."""
    paid = {reward.name: weight * float(step.parts[reward.name].mean()) for reward, weight in patient.env.rewards}
    name = min(paid, key=lambda name: paid[name])
    return f"raw needs earn less than random words: '{name}' gives them {paid[name]:.3f}"


def _symptoms(everything: Floats, random: float, best: float, flat: float) -> list[Symptom]:
    if float(np.ptp(everything)) <= FLAT:
        what = f"every query earns {everything[0]:.3f}: the reward is constant, and nothing can be learned"
        return [Symptom("error", f"{what}; see what each reward of the recipe looks at")]
    symptoms = []
    if best <= random + FLAT:
        what = f"the best queries earn {best:.3f} and random words {random:.3f}: the reward does not know good from bad"
        symptoms.append(Symptom("error", f"{what}; check the answer keys and the weights"))
    if flat > 0.9:
        what = f"in {flat:.0%} of groups near the raw need all queries earn the same, which teaches nothing"
        remedy = "take a measure with a deeper cutoff, a larger group, or needs that are easier to serve"
        symptoms.append(Symptom("warning", f"{what}: {remedy}"))
    return symptoms


def _blindness(step: Step) -> list[Symptom]:
    """Whether the answer keys know anything of what raw needs find."""
    blind = next(share for name, share in hole_metrics(step.batch).items() if "blind" in name)
    if blind <= BLIND:
        return []
    what = f"for {blind:.0%} of raw needs with hits, none of the first items is judged: their rewards say nothing"
    return [Symptom("warning", f"{what}; judge more items, or search and measure deeper")]


def _best(patient: Patient, needs: Sequence[Need]) -> tuple[list[str], Floats]:
    """The query of the ceiling that earns most with the recipe's weights, for each need."""
    task = patient.env.task
    queries = [[need.text, *answer_queries(task.qrels[need.id], task.catalog)] for need in needs]
    owners = [need for need, of_need in zip(needs, queries, strict=True) for _ in of_need]
    paid = patient.pay(owners, [query for of_need in queries for query in of_need]).rewards
    parts = np.split(paid, np.cumsum([len(of_need) for of_need in queries])[:-1])
    chosen = [of_need[int(np.argmax(part))] for of_need, part in zip(queries, parts, strict=True)]
    return chosen, np.array([part.max() for part in parts], np.float32)


def _length(needs: Sequence[Need]) -> int:
    """Words of a random query: as many as needs have, but no more than six."""
    return int(np.clip(np.median([len(need.text.split()) for need in needs]), 1, 6))


def _random(rng: Generator, vocabulary: Sequence[str], length: int) -> str:
    return " ".join(vocabulary[place] for place in rng.integers(0, len(vocabulary), length))


def _half(rng: Generator, text: str) -> str:
    """About half of a text's words, at least one, in their order."""
    words = text.split()
    kept = [word for word, keep in zip(words, rng.random(len(words)) < 0.5, strict=True) if keep]
    return " ".join(kept or words[:1]) or "x"


def _flat(rewards_NG: Floats) -> float:
    return float((np.ptp(rewards_NG, axis=1) <= FLAT).mean())


def _summary(values: Floats) -> dict[str, Any]:
    low, middle, high = (float(value) for value in np.percentile(values, [10, 50, 90]))
    return {"mean": float(values.mean()), "std": float(values.std()), "p10": low, "p50": middle, "p90": high}
