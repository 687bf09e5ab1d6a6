"""Whether dynamic sampling pays: `python benchmarks/dynamic_sampling.py`.

A shop where most needs earn nothing at the start: shoppers use none of its words, and only a first item that meets
every wish is paid. GRPO on each seed with and without rounds of dynamic sampling, for the same CPU time of training
(validation is not counted). Then nDCG@10 of the greedy policy on 400 held-out needs, and its mean over the last third
of the time. `--rounds` and `--tolerance` are what is compared.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from recr1.config.build import EvaluationSpec, build
from recr1.env import open_environment
from recr1.recipe import Recipe, load_recipe
from recr1.runs import Run

HARD = [
    "task.shared=0",
    "task.indirect=0.9",
    "task.validation=400",
    "rewards=[{type: measure, measure: Success(rel=3)@1}, {type: length, budget: 6}]",
    "trainer.steps=100000",
    "trainer.trl.save_strategy=no",
]
MEASURE = "eval/validation/nDCG@10"


class Spent(Exception):  # noqa: N818 - no error: the time is over
    """The CPU time of a run is spent."""


class Point(NamedTuple):
    """A validation, and the CPU seconds of training before it."""

    seconds: float
    measure: float


class Clocked(Run):
    """A run that ends after a given number of CPU seconds of training."""

    budget = 60.0

    def __init__(self, path: Path, **options: Any) -> None:
        super().__init__(path, **options)
        self.points: list[Point] = []
        self.shares: list[float] = []
        self.flat: list[float] = []
        self.seconds, self.steps = 0.0, 0
        self.last: float | None = None

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Count what training took since the last log."""
        now = time.process_time()
        if MEASURE in metrics:
            self.points.append(Point(self.seconds, metrics[MEASURE]))
            if self.seconds >= self.budget:
                raise Spent
        else:
            self.seconds += now - (self.last or now)
            self.steps = step
            self.shares.append(metrics.get("train/dynamic_sampling/replaced", 0.0))
            self.flat.append(metrics["train/frac_reward_zero_std"])
        self.last = time.process_time()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rounds", type=int, nargs="+", default=[0, 2])
    parser.add_argument("--tolerance", type=float, default=1e-6)
    parser.add_argument("--seconds", type=float, default=60, help="CPU seconds of training for each run")
    parser.add_argument("--every", type=int, default=5, help="steps between validations")
    parser.add_argument("--set", nargs="*", default=[], help="more overrides of the recipe")
    args = parser.parse_args()
    Clocked.budget = args.seconds
    print("seed  rounds  steps  flat at first  flat  replaced  nDCG@10 start   end  last third")
    for seed in args.seeds:
        for rounds in args.rounds:
            options = [f"seed={seed}", f"task.seed={seed}", f"trainer.dynamic_sampling={rounds}"]
            options += [f"trainer.dynamic_sampling_tolerance={args.tolerance}"]
            print(_row(seed, rounds, load_recipe("quickstart", [*HARD, *options, *args.set]), args.every), flush=True)


def _row(seed: int, rounds: int, recipe: Recipe, every: int) -> str:
    assert recipe.trainer is not None
    env = open_environment(recipe.task, recipe.retriever, recipe.rewards, recipe.k)
    spec = EvaluationSpec(split="validation", measures=("nDCG@10",), every=every)
    with tempfile.TemporaryDirectory() as folder:
        run = Clocked.create(Path(folder) / "run", recipe.to_dict(), {})
        assert isinstance(run, Clocked)
        try:
            build("trainer", recipe.trainer).train(recipe.policy, env, run, seed=seed, evaluation=spec)
        except Spent:
            pass
    late = [point.measure for point in run.points if point.seconds >= 2 / 3 * Clocked.budget]
    mean = sum(late) / len(late)
    first = sum(run.flat[:5]) / 5 + sum(run.shares[:5]) / 5
    flat, replaced = (sum(values) / len(values) for values in (run.flat, run.shares))
    return (
        f"{seed:4d}  {rounds:6d}  {run.steps:5d}  {first:13.2f}  {flat:4.2f}  {replaced:8.2f}  "
        f"{run.points[0].measure:13.3f}  {run.points[-1].measure:.3f}  {mean:10.3f}"
    )


if __name__ == "__main__":
    main()
