"""Rewards before training: of random words, of the raw need, and of the best known query."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.random import Generator

from recr1.baselines.plain import PlainFormat
from recr1.doctor.base import Fault, Finding, Setup, finding
from recr1.env import Step, unjudged_metrics
from recr1.evaluate.references import answer_queries, best_order
from recr1.ranking import Ranking, WritesLists
from recr1.tasks.base import plain_answers
from retrievers.base import Floats
from rewards.base import Need

NEEDS = 64
"""Most needs that are used; each has three groups of queries."""
BLIND = 0.9
"""Above this share of rankings without a judged item there is a warning."""
MOST_FLAT = 0.9
"""Above this share of groups whose answers all earn the same there is a warning."""
FLAT = 1e-6
"""A group whose rewards differ by no more than this gives no gradient."""


def rewards(setup: Setup) -> Finding:
    """The distribution of the weighted reward, and the groups whose queries all have the same.

    A group is G queries for one need: random words of the catalog (as many as needs have, but at most six), random
    halves of the raw need (about where a policy starts), or random halves of the best query of the ceiling.
    """
    needs = setup.sampled(setup.judged_needs, "rewards", min(NEEDS, setup.sample))
    if not needs:
        return Finding("rewards", "error", "no need has a valid answer key: see the check qrels", {})
    if setup.env.answers:
        return _of_answers(setup, [need for need in needs if setup.env.task.qrels[need.id].gold is not None])
    if setup.env.reranks:
        return _of_lists(setup, needs)
    if not setup.vocabulary:
        return Finding("rewards", "error", "the catalog has no words for queries: see the check index", {})
    step = setup.reward(needs, [need.text for need in needs])
    raw = step.rewards
    best_queries, best = _best(setup, needs)
    rng, owners = setup.rng("rewards"), [need for need in needs for _ in range(setup.group)]
    length = int(np.clip(np.median([len(need.text.split()) for need in needs]), 1, 6))
    groups = {
        "random": [
            " ".join(setup.vocabulary[i] for i in rng.integers(0, len(setup.vocabulary), length)) for _ in owners
        ],
        "raw": [_half(rng, need.text) for need in owners],
        "best": [_half(rng, query) for query in best_queries for _ in range(setup.group)],
    }
    earned = {name: setup.reward(owners, queries).rewards for name, queries in groups.items()}
    random = earned["random"]
    flat = {
        name: float((np.ptp(values.reshape(-1, setup.group), axis=1) <= FLAT).mean()) for name, values in earned.items()
    }
    summaries = {"random": _summary(random), "raw": _summary(raw), "best": _summary(best)}
    numbers = {"needs": len(needs), "group": setup.group, **summaries, "zero_variance_groups": flat}
    unjudged = unjudged_metrics(step.batch)
    everything = np.concatenate([raw, best, *earned.values()])
    problems = _problems(everything, float(random.mean()), float(best.mean()), flat["raw"])
    blind = next(share for name, share in unjudged.items() if "blind" in name)
    if blind > BLIND:
        what = f"for {blind:.0%} of raw needs with hits, none of the first items is judged: their rewards mean nothing"
        problems.append(Fault("warning", f"{what}; judge more items, or search and measure deeper"))
    means = f"{random.mean():.3f} for random words, {raw.mean():.3f} for raw needs"
    means += f" ({_lowest_part(step, setup)})" if raw.mean() < random.mean() else ""
    groups_flat = ", ".join(f"{share:.0%} of {name}" for name, share in flat.items())
    ok = (
        f"the mean reward is {means}, {best.mean():.3f} for the best queries; all {setup.group} queries of a group "
        f"have the same reward in {groups_flat} groups"
    )
    return finding("rewards", problems, ok, numbers | unjudged)


def _of_answers(setup: Setup, needs: Sequence[Need]) -> Finding:
    """The same of answers in text: what needs no model, the gold answers, and groups of gold answers to other needs."""
    if not needs:
        return Finding("rewards", "ok", "not checked: no sampled need is answered in text", {})
    task, rng = setup.env.task, setup.rng("rewards")
    answers: dict[str, list[str]] = {}
    for need in needs:
        answers.setdefault(need.family, []).append(str(task.qrels[need.id].gold))
    owners = [need for need in needs for _ in range(setup.group)]
    guessed = [answers[need.family][int(rng.integers(len(answers[need.family])))] for need in owners]

    def earned(asked: Sequence[Need], texts: Sequence[str]) -> Floats:
        return setup.reward(asked, texts, PlainFormat()).rewards

    random = earned(owners, guessed)
    best = earned(needs, [str(task.qrels[need.id].gold) for need in needs])
    plain = earned(needs, [next(iter(plain_answers(task, need).values()), need.text) for need in needs])
    flat = float((np.ptp(random.reshape(-1, setup.group), 1) <= FLAT).mean())
    everything = np.concatenate([random, best, plain])
    problems = _problems(everything, float(random.mean()), float(best.mean()), 0)
    if flat > MOST_FLAT:
        what = f"in {flat:.0%} of groups of guesses all have the same reward, so nothing is learned"
        problems.append(Fault("warning", f"{what}: use another measure, or a larger group"))
    summaries = {name: _summary(of) for name, of in {"random": random, "plain": plain, "best": best}.items()}
    numbers = {"needs": len(needs), "group": setup.group, **summaries, "zero_variance_groups": {"random": flat}}
    ok = (
        f"the mean reward is {random.mean():.3f} for answers to other needs, {plain.mean():.3f} for what needs no "
        f"model, {best.mean():.3f} for gold answers; all {setup.group} guesses of a group have the same reward in "
        f"{flat:.0%} of groups"
    )
    return finding("rewards", problems, ok, numbers)


def _of_lists(setup: Setup, needs: Sequence[Need]) -> Finding:
    """The same of lists: the order shown, the best one, and groups of random ones and of the best with two swapped."""
    form = setup.env.format if isinstance(setup.env.format, WritesLists) else Ranking()
    rng, owners = setup.rng("rewards"), [need for need in needs for _ in range(setup.group)]
    best_orders = {need.id: best_order(need, setup.env.task.qrels[need.id]) for need in needs}

    def earned(asked: Sequence[Need], orders: Sequence[Sequence[int]]) -> Floats:
        texts = [form.write_for(need, order) for need, order in zip(asked, orders, strict=True)]
        return setup.reward(asked, texts, form).rewards

    shown = earned(needs, [[one.row for one in need.candidates] for need in needs])
    best = earned(needs, [best_orders[need.id] for need in needs])
    groups = {
        "random": earned(owners, [rng.permutation(best_orders[need.id]).tolist() for need in owners]),
        "best": earned(owners, [_swapped(rng, best_orders[need.id]) for need in owners]),
    }
    random = groups["random"]
    flat = {name: float((np.ptp(of.reshape(-1, setup.group), 1) <= FLAT).mean()) for name, of in groups.items()}
    problems = _problems(np.concatenate([shown, best, *groups.values()]), float(random.mean()), float(best.mean()), 0)
    if flat["random"] > MOST_FLAT:
        what = f"in {flat['random']:.0%} of groups of random lists all have the same reward, so nothing is learned"
        problems.append(Fault("warning", f"{what}: take more candidates, or candidates of different grades"))
    summaries = {name: _summary(of) for name, of in {**groups, "shown": shown, "best": best}.items()}
    numbers = {"needs": len(needs), "group": setup.group, **summaries, "zero_variance_groups": flat}
    ok = (
        f"the mean reward is {random.mean():.3f} for random lists, {shown.mean():.3f} for candidates as shown, "
        f"{best.mean():.3f} by grade; all {setup.group} lists of a group have the same reward in "
        f"{flat['random']:.0%} of random groups"
    )
    return finding("rewards", problems, ok, numbers)


def _swapped(rng: Generator, order: Sequence[int]) -> list[int]:
    """An order with two of its places, which may be one, exchanged."""
    one, other = rng.integers(0, len(order), 2).tolist()
    swapped = list(order)
    swapped[one], swapped[other] = order[other], order[one]
    return swapped


def _lowest_part(step: Step, setup: Setup) -> str:
    parts = {reward.name: weight * float(step.parts[reward.name].mean()) for reward, weight in setup.env.rewards}
    name = min(parts, key=lambda name: parts[name])
    return f"less than random words: '{name}' gives raw needs {parts[name]:.3f}"


def _problems(everything: Floats, random: float, best: float, flat: float) -> list[Fault]:
    if float(np.ptp(everything)) <= FLAT:
        what = f"every answer has reward {everything[0]:.3f}: the reward is constant, and nothing can be learned"
        return [Fault("error", f"{what}; check what each reward of the recipe looks at")]
    problems = []
    if best <= random + FLAT:
        what = f"the best answers have reward {best:.3f} and random ones {random:.3f}: better ones are not rewarded"
        problems.append(Fault("error", f"{what}; check the answer keys and the weights"))
    if flat > MOST_FLAT:
        what = f"in {flat:.0%} of groups near the raw need all queries have the same reward, so nothing is learned"
        remedy = "use a measure with a deeper cutoff, a larger group, or easier needs"
        problems.append(Fault("warning", f"{what}: {remedy}"))
    return problems


def _best(setup: Setup, needs: Sequence[Need]) -> tuple[list[str], Floats]:
    """For each need, the query of the ceiling with the highest reward, and that reward."""
    task = setup.env.task
    queries = [[need.text, *answer_queries(task.qrels[need.id], task.catalog)] for need in needs]
    owners = [need for need, of_need in zip(needs, queries, strict=True) for _ in of_need]
    earned = setup.reward(owners, [query for of_need in queries for query in of_need]).rewards
    parts = np.split(earned, np.cumsum([len(of_need) for of_need in queries])[:-1])
    chosen = [of_need[int(np.argmax(part))] for of_need, part in zip(queries, parts, strict=True)]
    return chosen, np.array([part.max() for part in parts], np.float32)


def _half(rng: Generator, text: str) -> str:
    """About half of a text's words, at least one, in their order."""
    words = text.split()
    kept = [word for word, keep in zip(words, rng.random(len(words)) < 0.5, strict=True) if keep]
    return " ".join(kept or words[:1]) or "x"


def _summary(values: Floats) -> dict[str, Any]:
    low, middle, high = (float(value) for value in np.percentile(values, [10, 50, 90]))
    return {"mean": float(values.mean()), "std": float(values.std()), "p10": low, "p50": middle, "p90": high}
