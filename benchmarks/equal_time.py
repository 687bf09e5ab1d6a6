"""Which trainer is best in the same time: `OMP_NUM_THREADS=1 python benchmarks/equal_time.py --out FOLDER`.

Every arm trains for the same number of CPU seconds of this process; loading and validation are not counted. Then
nDCG@10 of the greedy policy on the held-out needs of `test`, and the difference of each arm to the best of its shop,
on the same needs. Two shops:

- quickstart: the recipes of GRPO, RLOO and PPO as they ship.
- hard: most needs earn nothing at the start, because shoppers use none of the shop's words and only a first item that
  meets every wish is paid. GRPO as it ships, with dynamic sampling, and with a curriculum by learnability.

Each seed is another shop (`seed` and `task.seed`). Results that are already in FOLDER are not computed again: after a
crash, or for the table alone, start it again.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from recr1.config.build import EvaluationSpec, Part, build
from recr1.env import Environment, open_environment
from recr1.evaluate import Evaluation, Evaluator
from recr1.judge.difference import paired_test
from recr1.recipe import Recipe, load_recipe
from recr1.runs import Run

MEASURE = "nDCG@10"
VALIDATION = f"eval/validation/{MEASURE}"
EVERY = 20
"""Steps between validations, which draw the curve and choose nothing."""
WITHOUT_END = ["trainer.steps=100000", "trainer.trl.save_strategy=no"]
HARD = [
    "task.shared=0",
    "task.indirect=0.9",
    "rewards=[{type: measure, measure: Success(rel=3)@1}, {type: length, budget: 6}]",
]
SHOPS: Mapping[str, Mapping[str, tuple[str, Sequence[str]]]] = {
    "quickstart": {
        "GRPO": ("quickstart", ()),
        "RLOO": ("quickstart_rloo", ()),
        "PPO": ("quickstart_ppo", ()),
    },
    "hard": {
        "plain": ("quickstart", HARD),
        "resample": ("quickstart", [*HARD, "trainer.dynamic_sampling=2"]),
        "curriculum": ("quickstart", [*HARD, "trainer.curriculum=learnability"]),
    },
}
"""Shop -> arm -> its recipe with overrides."""


class Spent(Exception):  # noqa: N818 - no error: the time is over
    """The CPU time of a run is spent."""


class Clocked(Run):
    """A run that ends after a given number of CPU seconds of training."""

    def __init__(self, path: Path, **options: Any) -> None:
        super().__init__(path, **options)
        self.budget = 0.0
        self.seconds, self.steps = 0.0, 0
        self.curve: list[tuple[float, float]] = []
        """(CPU seconds of training before it, nDCG@10) of each validation."""
        self.flat: list[float] = []
        """The share of groups without spread in each step, before any was replaced."""
        self._last: float | None = None

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Count what training took since the last log."""
        super().log(step, metrics)
        now = time.process_time()
        if VALIDATION in metrics:
            self.curve.append((self.seconds, metrics[VALIDATION]))
        else:
            self.seconds += now - (self._last or now)
            self.steps = step
            flat = metrics.get("train/frac_reward_zero_std")
            if flat is not None:
                self.flat.append(flat + metrics.get("train/dynamic_sampling/replaced", 0.0))
            if self.seconds >= self.budget:
                raise Spent
        self._last = time.process_time()

    def at(self, seconds: float) -> float:
        """The last validation up to then."""
        return [measure for when, measure in self.curve if when <= seconds][-1]


class Two(NamedTuple):
    """One arm and the best one, on the same needs: a row of nDCG@10 for each seed, one number a need."""

    other: Sequence[Sequence[float]]
    best: Sequence[Sequence[float]]

    def by_seed(self) -> list[float]:
        """The mean difference in each seed's shop."""
        return [float(np.mean(np.subtract(*pair))) for pair in zip(self.other, self.best, strict=True)]

    def over_needs(self) -> str:
        """The difference with its interval and p, the needs of all seeds together: these trainings, other needs."""
        test = paired_test(np.concatenate(self.other), np.concatenate(self.best), seed=0)
        p = "p < 0.001" if test.p < 0.001 else f"p = {test.p:.3f}"
        return f"{test.difference:+.3f} [{test.low:+.3f}, {test.high:+.3f}] {p}"

    def over_seeds(self, resamples: int = 4000) -> str:
        """The interval with other trainings too: seeds are drawn, then the needs of each."""
        rng = np.random.default_rng(0)
        differences = [np.subtract(*pair) for pair in zip(self.other, self.best, strict=True)]
        means = [
            np.mean([rng.choice(row, len(row)).mean() for row in rng.choice(np.array(differences), len(differences))])
            for _ in range(resamples)
        ]
        low, high = np.quantile(means, [0.025, 0.975])
        return f"[{low:+.3f}, {high:+.3f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="where results are kept")
    parser.add_argument("--seconds", type=float, default=180, help="CPU seconds of training for each run")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--shops", nargs="+", choices=list(SHOPS), default=list(SHOPS))
    args = parser.parse_args()
    for shop in args.shops:
        for seed in args.seeds:  # all arms of a seed in a row: a machine that grows busy is the same for all
            for arm in SHOPS[shop]:
                folder = args.out / f"{shop}-{args.seconds:g}" / arm / f"seed-{seed}"
                if not (folder / "result.json").exists():
                    _run(shop, arm, seed, args.seconds, folder)
        print(_table(shop, args.seeds, args.out / f"{shop}-{args.seconds:g}"), flush=True)


def _run(shop: str, arm: str, seed: int, budget: float, folder: Path) -> None:
    """Train and measure one arm, and keep what came out."""
    print(f"{time.strftime('%H:%M:%S')}  {shop} {arm} seed {seed}: training for {budget:g} CPU seconds", flush=True)
    shutil.rmtree(folder, ignore_errors=True)  # of a run that was cut off
    name, overrides = SHOPS[shop][arm]
    recipe = load_recipe(name, [*overrides, *WITHOUT_END, f"seed={seed}", f"task.seed={seed}"])
    env = open_environment(recipe.task, recipe.retriever, recipe.rewards, recipe.k)
    run = Clocked.create(folder, recipe.to_dict(), {})
    assert isinstance(run, Clocked)
    _train(recipe, env, run, seed, budget)
    measured = _measured(recipe, env, run)
    per_need = measured.per_need(MEASURE)
    result = {
        "floor": float(measured.references.floor[MEASURE].mean(dtype=np.float64)),
        "ceiling": float(measured.references.ceiling[MEASURE].mean(dtype=np.float64)),
        "needs": per_need.tolist(),
        "words": measured.behaviour()["query_words"],
        "steps": run.steps,
        "seconds": run.seconds,
        "flat": float(np.mean(run.flat[:5])) if run.flat else None,
        "start": run.at(0.0),
        "third": run.at(budget / 3),
        "two thirds": run.at(budget * 2 / 3),
        "curve": run.curve,
    }
    (folder / "result.json").write_text(json.dumps(result))
    print(f"{time.strftime('%H:%M:%S')}  {run.steps} steps, test {MEASURE} {per_need.mean():.3f}", flush=True)


def _train(recipe: Recipe, env: Environment, run: Clocked, seed: int, budget: float) -> None:
    assert recipe.trainer is not None
    run.budget = budget
    spec = EvaluationSpec(split="validation", measures=(MEASURE,), every=EVERY)
    try:
        build("trainer", recipe.trainer).train(recipe.policy, env, run, seed=seed, evaluation=spec)
    except Spent:
        run.finish("interrupted")


def _measured(recipe: Recipe, env: Environment, run: Run) -> Evaluation:
    """The trained policy on the held-out needs."""
    trained = Part(recipe.policy.type, {**recipe.policy.options, "model": str(run.policy_path)})
    return Evaluator(env, "test", [MEASURE])(build("policy", trained))


def _table(shop: str, seeds: Sequence[int], folder: Path) -> str:
    results = {
        arm: [json.loads((folder / arm / f"seed-{seed}" / "result.json").read_text()) for seed in seeds]
        for arm in SHOPS[shop]
    }
    means = {arm: _mean(np.mean(result["needs"]) for result in of_arm) for arm, of_arm in results.items()}
    best = max(means, key=lambda arm: means[arm])
    first = results[best]
    lines = [
        f"\n{shop}: {MEASURE} on {len(first[0]['needs'])} needs of test, seeds {', '.join(map(str, seeds))}",
        f"floor {_row(result['floor'] for result in first)}, ceiling {_row(result['ceiling'] for result in first)}, "
        f"validation at the start {_row(result['start'] for result in first)}",
        "| arm | test, by seed | mean | over the floor | validation after 1/3, 2/3 of the time | words | steps | "
        "CPU s | flat groups at first | difference to the best, by seed | over needs | interval over seeds and needs |",
        "|" + "---|" * 12,
    ]
    floor = _mean(result["floor"] for result in first)
    for arm, of_arm in results.items():
        two = Two([result["needs"] for result in of_arm], [result["needs"] for result in first])
        cells = [
            arm,
            _row(np.mean(result["needs"]) for result in of_arm),
            f"{means[arm]:.3f}",
            f"{means[arm] / floor:.1f}",
            f"{_mean(result['third'] for result in of_arm):.3f}, {_mean(r['two thirds'] for r in of_arm):.3f}",
            f"{_mean(result['words'] for result in of_arm):.1f}",
            ", ".join(str(result["steps"]) for result in of_arm),
            ", ".join(f"{result['seconds']:.0f}" for result in of_arm),
            "" if of_arm[0]["flat"] is None else _row(result["flat"] for result in of_arm),
            *(["best", "", ""] if arm == best else [_signed(two.by_seed()), two.over_needs(), two.over_seeds()]),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _mean(values: Any) -> float:
    return float(np.mean(list(values)))


def _row(values: Any) -> str:
    return ", ".join(f"{value:.3f}" for value in values)


def _signed(values: Sequence[float]) -> str:
    return ", ".join(f"{value:+.3f}" for value in values)


if __name__ == "__main__":
    main()
