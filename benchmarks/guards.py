"""Whether guards stop a policy that writes ever longer queries: `python benchmarks/guards.py --out FOLDER`.

With the settings that ship, queries of the quickstart stay at three or four words, and guards have nothing to stop.
At a sampling temperature of 1.5, with 24 tokens instead of 12 and without the reward on length, the policy repeats
words. Paid by R@100, with twice the learning rate, it fills all tokens with repetitions. Each seed trains without
guards, with the guards as rewards, and with `length` alone, in the shop of that seed. The last policy is kept, so
that nothing is selected. nDCG@10 is of greedy queries on the held-out needs of `test`.

One or two minutes of one core for each; set OMP_NUM_THREADS=1. Results that are already in FOLDER are not computed
again.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from arms import SAMPLED, difference, needs_of, result_of

BLOATING = (
    "policy.max_new_tokens=24",
    "trainer.trl.temperature=1.5",
    "evaluate.keep=last",
    "evaluate.alarm.action=warn",
)
PAID: Mapping[str, Sequence[str]] = {"nDCG@10": (), "R@100": ("k=100", "trainer.trl.learning_rate=2.0e-3")}
"""Measure that is paid -> what else the recipe says then."""
GUARDS = (
    "{type: repetition, weight: 0.2}, {type: unmatched, weight: 0.2}, {type: group_length, free: 3, weight: 0.2}, "
    "{type: copied, weight: 0.2}"
)
ARMS: Mapping[str, str] = {"": "", " and guards": f", {GUARDS}", " and `length`": ", {type: length, budget: 6}"}
"""What an arm is called after its measure -> its rewards after that."""
OWN = "bm25"


def main() -> None:
    """Train what is not there yet, then print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="where results are kept")
    parser.add_argument("--steps", type=int, default=80)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--paid", nargs="+", choices=list(PAID), default=list(PAID))
    args = parser.parse_args()
    for measure in args.paid:
        results: dict[str, list[dict[str, Any]]] = {measure + arm: [] for arm in ARMS}
        for seed in args.seeds:
            for arm, others in ARMS.items():
                rewards = f"rewards=[{{type: measure, measure: {measure}}}{others}]"
                values = [*BLOATING, *PAID[measure], f"trainer.steps={args.steps}", rewards]
                name = f"{measure}{arm}".replace("`", "").replace(" ", "-")
                folder = args.out / f"steps-{args.steps}" / name / f"seed-{seed}"
                results[measure + arm].append(result_of(folder, values, seed, {}, bounds=False))
        _show(results, measure, args.seeds)


def _show(results: Mapping[str, Sequence[Mapping[str, Any]]], bare: str, seeds: Sequence[int]) -> None:
    """The table of a measure, the differences to it alone, and queries of the first seed."""
    print(_table(results, bare, seeds))
    print(f"\n| rewards | nDCG@10 against {bare} alone, by seed | over needs |\n|---|---|---|")
    for arm, of_arm in results.items():
        if arm != bare:
            print(f"| {arm} | {difference(of_arm, results[bare], OWN)} |")
    for arm, of_arm in results.items():
        print(f"\n{arm}: {'; '.join(str(query) for query in of_arm[0]['examples'][:5])}")


def _table(results: Mapping[str, Sequence[Mapping[str, Any]]], bare: str, seeds: Sequence[int]) -> str:
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
        bounds = results[bare][place]["engines"][OWN]
        lines.append(f"\nseed {seed}: floor {bounds['floor']:.3f}, ceiling {bounds['ceiling']:.3f}\n")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
