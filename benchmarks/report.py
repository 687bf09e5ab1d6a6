"""Time and size of the report of a run of 1,000 steps: `python benchmarks/report.py`.

The run is synthetic, with the files and names that training, `recr1 eval` and `recr1 compare` write: metrics of each
step, 128 rollouts every tenth step, three policies on 1,000 needs with five measures, and a comparison of nine.
Seconds are wall time, with CPU time in brackets. Each report is made by a process of its own, so that loading the
plotting library is included.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from recr1.judge.difference import paired_test
from recr1.judge.stats import bootstrap_interval
from recr1.runs import Run

GOAL_SECONDS, GOAL_MB = 20, 5
MEASURES = ("nDCG@10", "RR@10", "Success@1", "R@100", "AP@100")
CURVES = {
    "reward": (0.2, 0.8),
    "query/words": (4, 12),
    "query/repeated": (0, 0.1),
    "query/unique": (1, 0.5),
    "entropy": (1.4, 0.3),
    "kl": (0, 0.4),
    "frac_reward_zero_std": (0.1, 0.4),
    "outcome/ok": (0.7, 0.95),
    "outcome/no_hits": (0.2, 0.03),
    "outcome/invalid": (0.1, 0.02),
    "time/step": (2, 2),
    "time/search": (0.1, 0.1),
}
WORDS = "amber bamboo compact desk ergonomic foldable grey handmade indoor lamp mug oak".split()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--needs", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=3, help="of the pooled report")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        runs = [make_run(Path(folder) / f"seed-{seed}", args.steps, args.needs, seed) for seed in range(args.seeds)]
        measure(runs[:1], f"one run of {args.steps} steps, {args.needs} needs")
        measure(runs, f"{args.seeds} such runs, pooled")
    print(f"goals: under {GOAL_SECONDS} s and {GOAL_MB} MB")


def measure(runs: Sequence[Path], label: str) -> None:
    """Write a report in a process of its own, and print what it took."""
    out = runs[0].parent / "report.html"
    before, start = _processor(), time.perf_counter()
    command = [sys.executable, "-m", "recr1", "report", *map(str, runs), "--out", str(out)]
    subprocess.run(command, check=True, capture_output=True)
    seconds, processor = time.perf_counter() - start, _processor() - before
    print(f"{label}: {seconds:.1f} s ({processor:.1f}), {out.stat().st_size / 1e6:.2f} MB")


def _processor() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def make_run(folder: Path, steps: int, needs: int, seed: int) -> Path:
    """A finished run with everything that a report reads."""
    rng = np.random.default_rng(seed)
    recipe = {"seed": seed, "task": {"type": "synthetic"}, "retriever": {"type": "bm25"}, "k": 100}
    run = Run.create(folder, recipe, {"seed": seed, "catalog": "0" * 16, "retriever": "1" * 16})
    for step in range(1, steps + 1):
        done = step / steps
        run.log(step, {f"train/{name}": a + (b - a) * done + rng.normal(0, 0.02) for name, (a, b) in CURVES.items()})
        if step % 20 == 0:
            run.log(step, _validation(done))
    _write_rollouts(folder / "rollouts.jsonl", steps, rng)
    run.finish("finished")
    floor = np.clip(rng.normal(0.3, 0.2, (len(MEASURES), needs)), 0, 1)
    for name, gain in (("untrained", 0.02), ("best_of_8", 0.2), ("trained", 0.4)):
        values = np.clip(floor + rng.normal(gain, 0.2, floor.shape), 0, 1)
        _write_evaluation(folder / "eval/test" / name, name, values, floor, rng, seed)
    _write_comparison(folder / "compare/test", needs, rng)
    return folder


def _write_comparison(folder: Path, needs: int, rng: np.random.Generator) -> None:
    """What `recr1 compare` writes of nine policies, with the values of each need."""
    labels = [f"policy_{place}" for place in range(9)]
    values = {label: rng.random((len(MEASURES), needs)) for label in labels}
    policies = {
        label: {
            "seeds": 1,
            "sees": [],
            "bound": False,
            "trained": place == 0,
            "notes": [],
            "measures": {m: bootstrap_interval(row, seed=0)._asdict() for m, row in zip(MEASURES, rows, strict=True)},
            "cost": dict.fromkeys(
                ("milliseconds", "tokens_read", "tokens_written", "setup_seconds", "setup_tokens"), 1.0
            ),
            "behaviour": dict.fromkeys(("query_words", "invalid", "no_hits"), 0.1),
            "per_need": {measure: row.tolist() for measure, row in zip(MEASURES, rows, strict=True)},
            "queries": [_query(rng) for _ in range(needs)],
        }
        for place, (label, rows) in enumerate(values.items())
    }
    interval = {"mean": 0.1, "low": 0.0, "high": 0.2}
    test = {"p_holm": 0.01, "effect": 0.1, "wins": 5, "ties": 1, "losses": 4, "against": labels[0]}
    held = {
        "split": "test",
        "measures": MEASURES,
        "main": MEASURES[0],
        "first": labels[0],
        "subject": labels[1],
        "verdict": f"{labels[1]}: better than {labels[0]}.",
        "setting": {},
        "needs": [f"n{need}" for need in range(needs)],
        "policies": policies,
        "comparisons": [{**test, "measure": measure, "policy": label} for label in labels[1:] for measure in MEASURES],
        "slices": [
            {
                "by": "category",
                "name": f"kind {place}",
                "needs": needs // 20,
                "policies": dict.fromkeys(labels, interval),
                "differences": dict.fromkeys(labels[1:], interval),
            }
            for place in range(20)
        ],
        "settings": {"tests": 68, "catalog": "0" * 16},
    }
    folder.mkdir(parents=True)
    (folder / "compare.json").write_text(json.dumps(held))


def _validation(done: float) -> dict[str, float]:
    under, numbers = "eval/validation", {}
    for measure in MEASURES:
        bounds = {"": 0.3 + 0.5 * done, "/floor": 0.3, "/ceiling": 0.95, "/stderr": 0.01}
        numbers |= {f"{under}/{measure}{suffix}": value for suffix, value in bounds.items()}
    return numbers


def _query(rng: np.random.Generator) -> str:
    return " ".join(rng.choice(WORDS, rng.integers(2, 9)))


def _write_rollouts(path: Path, steps: int, rng: np.random.Generator) -> None:
    with path.open("w", encoding="utf-8") as file:
        for step in range(10, steps + 1, 10):
            for row in range(128):
                query, reward = _query(rng), float(rng.random())
                kept = {"step": step, "need": f"train-{row // 8}", "completion": query, "query": query, "outcome": "ok"}
                file.write(
                    json.dumps({**kept, "parts": {"nDCG@10": reward}, "reward": reward, "first_relevant": 2}) + "\n"
                )


def _write_evaluation(
    folder: Path, name: str, values_MN: np.ndarray, floor_MN: np.ndarray, rng: np.random.Generator, seed: int
) -> None:
    folder.mkdir(parents=True)
    found = [{"id": str(place), "title": _query(rng), "relevant": place == 1} for place in range(3)]
    needs = values_MN.shape[1]
    text = np.random.default_rng(seed + 1000)
    with (folder / "per_need.jsonl").open("w", encoding="utf-8") as file:
        for need in range(needs):
            measures = {
                measure: {"policy": values_MN[place, need], "floor": floor_MN[place, need], "ceiling": 1.0}
                for place, measure in enumerate(MEASURES)
            }
            rank = [int(rng.integers(1, 100))]
            line = {
                "need": f"n{need}",
                "text": _query(text),
                "query": _query(rng),
                "relevant_ranks": rank,
                "found": found,
                "popularity": {"training": "head" if need % 3 else "tail"},
                "fields": {"category": WORDS[need % len(WORDS)]},
            }
            raw = {"relevant_ranks": [int(rng.integers(1, 100))], "found": found}
            file.write(json.dumps({**line, "floor": raw, "measures": measures}) + "\n")
    told = {
        measure: {
            "policy": bootstrap_interval(values_MN[place], seed=0)._asdict(),
            "floor": bootstrap_interval(floor_MN[place], seed=0)._asdict(),
            "ceiling": {"mean": 1.0, "low": 1.0, "high": 1.0},
            "versus_floor": paired_test(values_MN[place], floor_MN[place], seed=0)._asdict(),
        }
        for place, measure in enumerate(MEASURES)
    }
    summary = {"policy": name, "split": "test", "needs": needs, "k": 100, "no_hits": 0.0, "invalid": 0.0}
    (folder / "eval.json").write_text(json.dumps({**summary, "measures": told, "settings": {"seed": 0}}))


if __name__ == "__main__":
    main()
