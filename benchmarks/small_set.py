"""Which policies gain on a small judged set: `python benchmarks/small_set.py RECIPE --policies linear_edits keywords`.

Cross-validation: all needs that the task of the recipe judges are dealt into folds, and each fold is answered by a
policy that was fitted to the others, so that every need is held out once. Needs of equal words are in one fold. With
several seeds, folds are dealt as often, and the mean of each need is tested. Policies are those of `recr1 compare`;
one that reads the answers is a bound.

Printed are the gain over the raw need with its interval, p of one paired test over all needs, p after Holm's correction
for all policies listed (list all that were tried), needs won, tied and lost, the deviation of the differences of needs,
the least gain that would have p < 0.01 with it, and how many needs would show this gain with p < 0.01 four times in
five. `--values FILE` keeps the differences of each policy; a FILE that is there counts in the correction.
"""

from __future__ import annotations

import argparse
import copy
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recr1.baselines.access import NeedsAccess
from recr1.compare.policies import read_policies
from recr1.config.build import Part, build
from recr1.env import Environment, open_environment
from recr1.evaluate import Evaluator
from recr1.judge.stats import bootstrap_interval, holm, randomisation_test
from recr1.recipe import load_recipe
from recr1.tasks.base import Task, splits_of
from recr1.tasks.splits import group_key, unit_hash
from rewards.base import Need

CERTAIN, POWER = 2.576, 0.842
"""Quantiles of the normal distribution: p = 0.01 from two sides, and four times in five."""
PERMUTATIONS = 200_000


def folds_of(needs: Sequence[Need], count: int, seed: int) -> NDArray[np.intp]:
    """(N,) the fold of each need: different texts are dealt one by one, in the order of a hash."""
    keys = sorted({group_key(need.text) for need in needs}, key=lambda key: (unit_hash(seed, key), key))
    fold = {key: place % count for place, key in enumerate(keys)}
    return np.array([fold[group_key(need.text)] for need in needs], np.intp)


def divided(task: Task, train: Sequence[Need], test: Sequence[Need]) -> Any:
    """The same task with other splits."""
    other: Any = copy.copy(task)
    other.needs = {"train": train, "validation": (), "test": test}.__getitem__
    return other


def held_out(env: Environment, part: Part, measure: str, folds: int, seed: int) -> NDArray[np.floating]:
    """(2, N) the measure of what a policy writes for each need, and of the need as it is."""
    needs = [need for of_split in splits_of(env.task).values() for need in of_split]
    fold_N = folds_of(needs, folds, seed)
    if not isinstance(build("policy", part), NeedsAccess):
        fold_N[:] = 0  # it is fitted to nothing
    values = np.full((2, len(needs)), np.nan)
    for fold in np.unique(fold_N):
        train = [need for need, own in zip(needs, fold_N, strict=True) if own != fold]
        test = [need for need, own in zip(needs, fold_N, strict=True) if own == fold]
        of_fold = Environment(divided(env.task, train, test), env.retriever, env.rewards, env.k)
        evaluation = Evaluator(of_fold, "test", [measure])(build("policy", part))
        values[:, fold_N == fold] = [evaluation.per_need(measure), evaluation.references.floor[measure]]
    return values


def line(differences_N: NDArray[np.floating], p: float, corrected: float) -> str:
    """The cells of a policy, after its name."""
    mean, low, high = bootstrap_interval(differences_N, seed=0)
    spread, size = float(differences_N.std(ddof=1)), len(differences_N)
    wins, losses = int((differences_N > 0).sum()), int((differences_N < 0).sum())
    needed = f"{((CERTAIN + POWER) * spread / mean) ** 2:,.0f}" if mean > 0 else ""
    cells = [f"{mean:+.4f} [{low:+.4f}, {high:+.4f}]", f"{p:.5f}", f"{corrected:.4f}"]
    cells += [f"{wins}/{size - wins - losses}/{losses}", f"{spread:.3f}", f"{CERTAIN * spread / size**0.5:.3f}", needed]
    return " | ".join(cells)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe")
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--policies", nargs="+", required=True)
    parser.add_argument("--measure", default="nDCG@10")
    parser.add_argument("--folds", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--values", type=Path, help="JSON of the differences of each policy, by its label")
    args = parser.parse_args()
    recipe = load_recipe(args.recipe, args.overrides)
    env = open_environment(recipe.task, recipe.retriever, recipe.rewards, recipe.k)
    found = json.loads(args.values.read_text()) if args.values and args.values.exists() else {}
    for one in read_policies(args.policies, recipe, args.measure):
        values_S2N = np.array([held_out(env, one.parts[0], args.measure, args.folds, s) for s in range(args.seeds)])
        found[one.label] = (values_S2N[:, 0] - values_S2N[:, 1]).mean(axis=0).tolist()
        gains = ", ".join(f"{gain:+.4f}" for gain in (values_S2N[:, 0] - values_S2N[:, 1]).mean(axis=1))
        print(f"{one.label}: floor {values_S2N[0, 1].mean():.4f}, gain by seed {gains}", flush=True)
        if args.values:
            args.values.write_text(json.dumps(found) + "\n")
    p = [randomisation_test(np.array(values), seed=0, permutations=PERMUTATIONS) for values in found.values()]
    print("policy | gain | p | Holm | won/tied/lost | deviation | least gain | needs")
    for label, own, corrected in zip(found, p, holm(p).tolist(), strict=True):
        print(f"{label} | {line(np.array(found[label]), own, corrected)}")


if __name__ == "__main__":
    main()
