"""The quickstart on three seeds, each in a shop with other words: `python benchmarks/quickstart.py`.

Runs the command line as a user does (`recr1 train quickstart`, `recr1 eval RUN --split test`) and prints a row for
each seed: wall time of training with its validations, held-out nDCG@10 of floor, untrained policy, trained policy and
ceiling, and words per query.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

GOAL_SECONDS, GOAL_NDCG, GOAL_RATIO, GOAL_WORDS = 120, 0.60, 2.0, 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    args = parser.parse_args()
    print("seed  train s  floor  untrained  trained  ceiling  trained/floor  words  reached")
    with tempfile.TemporaryDirectory() as folder:
        for seed in args.seeds:
            print(_row(seed, Path(folder) / f"seed-{seed}"), flush=True)
    print(
        f"goal: {GOAL_SECONDS} s of training, nDCG@10 of {GOAL_NDCG} and {GOAL_RATIO:g} times the floor, "
        f"{GOAL_WORDS} words"
    )


def _row(seed: int, out: Path) -> str:
    _recr1("train", "quickstart", f"seed={seed}", f"task.seed={seed}", "--out", str(out))
    _recr1("eval", str(out), "--split", "test", "--measures", "nDCG@10")
    seconds = json.loads((out / "metrics.jsonl").read_text().splitlines()[-1])["time"]
    before, after = (
        json.loads((out / "eval" / "test" / name / "eval.json").read_text()) for name in ("untrained", "trained")
    )
    measured = after["measures"]["nDCG@10"]
    floor, trained, ceiling = (measured[name]["mean"] for name in ("floor", "policy", "ceiling"))
    untrained, words = before["measures"]["nDCG@10"]["policy"]["mean"], after["query_words"]
    reached = seconds <= GOAL_SECONDS and trained >= max(GOAL_NDCG, GOAL_RATIO * floor) and words <= GOAL_WORDS
    return (
        f"{seed:4d}  {seconds:7.1f}  {floor:.3f}  {untrained:9.3f}  {trained:7.3f}  {ceiling:7.3f}  "
        f"{trained / floor:13.1f}  {words:5.1f}  {'yes' if reached else 'NO'}"
    )


def _recr1(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "recr1", *arguments], check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
