"""What rewards by rank and rewards of several retrievers teach on the hard shop, beside plain nDCG@10.

    OMP_NUM_THREADS=1 python benchmarks/reward_shapes.py --out FOLDER

The hard shop is the quickstart's, but shoppers use none of the shop's words (`task.shared=0`) and describe most
things without naming them (`task.indirect=0.9`): most completions of the policy that ships find nothing relevant
among the first ten. Every reward trains for the same steps, and the last policy is kept, so that nothing is selected.
Each seed is another shop. nDCG@10 is of greedy queries on the held-out needs of `test`, searched by the engine of the
training and by others: `dense` is one that the rewards of several retrievers train on; `rank_bm25` and `trigrams`
(runs of three characters, hashed) are new to all.

About a minute of one core for each reward and seed. Results that are already in FOLDER are not computed again.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from arms import difference, needs_of, result_of

HARD = ("task.shared=0", "task.indirect=0.9", "task.validation=400", "k=100", "evaluate.every=10", "evaluate.keep=last")
DENSE = "{type: dense, encoder: {type: hashing}, store: null}"
ACROSS = f"{{type: across, reward: {{type: measure, measure: nDCG@10}}, retrievers: [{DENSE}], how: %s}}"
REWARDS: Mapping[str, str] = {
    "nDCG@10": "{type: measure, measure: nDCG@10}",
    "nDCG@100": "{type: measure, measure: nDCG@100}",
    "log_rank": "{type: log_rank, cutoff: 100}",
    "rank_tiers": "{type: rank_tiers, places: [1, 10, 100], pays: [1.0, 0.5, 0.1]}",
    "annealed": "{type: annealed, measure: nDCG@10, start: 100, steps: 20}",
    "gain": "{type: gain, measure: nDCG@10}",
    "across mean": ACROSS % "mean",
    "across worst": ACROSS % "worst",
}
"""Reward -> how a recipe writes it, in the place of the quickstart's measure; `length` stays."""
PLAIN = "nDCG@10"
OWN = "bm25"
ENGINES: Mapping[str, Mapping[str, Any]] = {
    "rank_bm25": {"type": "rank_bm25"},
    "dense": {"type": "dense", "encoder": {"type": "hashing"}, "store": None},
    "trigrams": {"type": "dense", "encoder": {"type": "hashing", "ngrams": 3}, "store": None},
}


def main() -> None:
    """Train what is not there yet, then print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="where results are kept")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--rewards", nargs="+", choices=list(REWARDS), default=list(REWARDS))
    args = parser.parse_args()
    names = [PLAIN, *(name for name in args.rewards if name != PLAIN)]
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for seed in args.seeds:  # all rewards of a seed in a row: a machine that grows busy is the same for all
        for name in names:
            values = [*HARD, f"trainer.steps={args.steps}", f"rewards=[{REWARDS[name]}, {{type: length, budget: 6}}]"]
            folder = args.out / f"steps-{args.steps}" / name.replace(" ", "-") / f"seed-{seed}"
            results[name].append(result_of(folder, values, seed, ENGINES, bounds=name == PLAIN))
    print(_curves(results, args.seeds))
    print(_engines(results))


def _curves(results: Mapping[str, Sequence[Mapping[str, Any]]], seeds: Sequence[int]) -> str:
    """nDCG@10 of validation as training went on, and of the test at its end."""
    steps = list(results[PLAIN][0]["curve"])
    lines = [
        f"| seed | reward | {' | '.join(f'step {step}' for step in steps)} | test | words | CPU s |",
        "|" + "---|" * (len(steps) + 5),
    ]
    for place, seed in enumerate(seeds):
        for name, of_reward in results.items():
            result = of_reward[place]
            curve = " | ".join(f"{result['curve'][step]:.3f}" for step in steps)
            test, words = needs_of(result, OWN).mean(), result["greedy"]["words"]
            lines.append(f"| {seed} | {name} | {curve} | {test:.3f} | {words:.1f} | {result['seconds']:.0f} |")
        first = results[PLAIN][place]["engines"][OWN]
        lines.append(f"\nseed {seed}: test floor {first['floor']:.3f}, ceiling {first['ceiling']:.3f}\n")
    return "\n".join(lines)


def _engines(results: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """The test by engine, against plain nDCG@10 on the same engine and needs."""
    lines = [
        "| engine | reward | test, by seed | difference to nDCG@10, by seed | over needs |",
        "|---|---|---|---|---|",
    ]
    for engine in (OWN, *ENGINES):
        for name, of_reward in results.items():
            tests = ", ".join(f"{needs_of(one, engine).mean():.3f}" for one in of_reward)
            against = " | " if name == PLAIN else difference(of_reward, results[PLAIN], engine)
            lines.append(f"| {engine} | {name} | {tests} | {against} |")
        floors = ", ".join(f"{one['engines'][engine]['floor']:.3f}" for one in results[PLAIN])
        ceilings = ", ".join(f"{one['engines'][engine]['ceiling']:.3f}" for one in results[PLAIN])
        lines.append(f"| {engine} | floor; ceiling | {floors}; {ceilings} | | |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
