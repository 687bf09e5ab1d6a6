"""Whether the guards stop a policy that bloats: `OMP_NUM_THREADS=1 python benchmarks/guards.py --out FOLDER`.

As it ships, the quickstart has nothing to stop: queries stay at three or four words. Here more words pay: the reward is
R@100, the steps of the optimizer are three times as large, and a completion may be 24 tokens long. Each seed trains
without any term on length, with the guards as rewards, and with `length` alone, in the shop of that seed. The last
policy is kept, so that no choice is in it. nDCG@10 is of greedy queries on the held-out needs of `test`.

A minute or two of one core for each. What is done lies in FOLDER and is not done again.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from arms import SAMPLED, difference, needs_of, result_of

BLOATING = (
    "k=100",
    "policy.max_new_tokens=24",
    "trainer.trl.learning_rate=3.0e-3",
    "evaluate.keep=last",
    "evaluate.alarm.action=warn",
)
MEASURE = "{type: measure, measure: R@100}"
GUARDS = (
    "{type: repetition, weight: 0.2}, {type: unmatched, weight: 0.2}, {type: group_length, free: 3, weight: 0.2}, "
    "{type: copied, weight: 0.2}"
)
ARMS: Mapping[str, str] = {
    "R@100": f"[{MEASURE}]",
    "R@100 and guards": f"[{MEASURE}, {GUARDS}]",
    "R@100 and `length`": f"[{MEASURE}, {{type: length, budget: 6}}]",
}
"""Arm -> its rewards."""
BARE = "R@100"
OWN = "bm25"


def main() -> None:
    """Train what is not there yet, then print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="where results are kept")
    parser.add_argument("--steps", type=int, default=80)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    args = parser.parse_args()
    results: dict[str, list[dict[str, Any]]] = {arm: [] for arm in ARMS}
    for seed in args.seeds:
        for arm, rewards in ARMS.items():
            values = [*BLOATING, f"trainer.steps={args.steps}", f"rewards={rewards}"]
            folder = args.out / f"steps-{args.steps}" / arm.replace("`", "").replace(" ", "-") / f"seed-{seed}"
            results[arm].append(result_of(folder, values, seed, {}, bounds=False))
    print(_table(results, args.seeds))
    print("\n| arm | nDCG@10 against R@100 alone, by seed | over needs |\n|---|---|---|")
    for arm, of_arm in results.items():
        if arm != BARE:
            print(f"| {arm} | {difference(of_arm, results[BARE], OWN)} |")
    for arm, of_arm in results.items():
        print(f"\n{arm}: {'; '.join(of_arm[0]['examples'][:5])}")


def _table(results: Mapping[str, Sequence[Mapping[str, Any]]], seeds: Sequence[int]) -> str:
    """What is found and what the queries are like: greedy ones on the test, and those sampled in the last steps."""
    lines = [
        "| seed | rewards | nDCG@10 | words | repeated | unknown | sampled: " + " | ".join(SAMPLED) + " |",
        "|" + "---|" * (6 + len(SAMPLED)),
    ]
    for place, seed in enumerate(seeds):
        for arm, of_arm in results.items():
            result = of_arm[place]
            greedy, sampled = result["greedy"], result["sampled"]
            cells = [
                str(seed),
                arm,
                f"{needs_of(result, OWN).mean():.3f}",
                f"{greedy['words']:.1f}",
                f"{greedy['repeated']:.1%}",
                f"{greedy['unknown']:.1%}",
                f"{sampled['words']:.1f}",
                f"{sampled['repeated']:.1%}",
                f"{sampled['unknown']:.1%}",
                f"{sampled['unique']:.2f}",
            ]
            lines.append("| " + " | ".join(cells) + " |")
        bounds = results[BARE][place]["engines"][OWN]
        lines.append(
            f"\nseed {seed}: nDCG@10 of the floor {bounds['floor']:.3f}, of the ceiling {bounds['ceiling']:.3f}\n"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
