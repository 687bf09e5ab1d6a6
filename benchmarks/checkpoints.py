"""Time of checkpoints and of resuming: `OMP_NUM_THREADS=1 python benchmarks/checkpoints.py`.

Two policies: the quickstart as it ships, and random weights with some seventy million parameters for a few steps.
Prints seconds of a step, of a checkpoint and of loading the policy; the share of checkpoints in the time of a run;
and how many steps a run needs so that this share is under 5% with the default of ten checkpoints a run. Then, for a
stopped run, the time from the start of `recr1 train RUN` to its first new step. Seconds are wall time; CPU time,
which depends less on what else the machine does, is in brackets.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recr1.config.build import EvaluationSpec, build
from recr1.env import open_environment
from recr1.recipe import load_recipe
from recr1.runs import Run
from recr1.trainers.base import SAVES
from recr1.trainers.trl.additions import Extended

GOAL_SHARE, GOAL_RESUME = 0.05, 10.0


@dataclass
class Clock:
    """Seconds, by a clock and of the processor, of something that is done again and again."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Time what is done in here."""
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        self.wall.append(time.perf_counter() - wall)
        self.cpu.append(time.process_time() - cpu)

    def __str__(self) -> str:
        return f"{statistics.median(self.wall):.2f} ({statistics.median(self.cpu):.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=512, help="of the larger policy")
    parser.add_argument("--layers", type=int, default=16, help="of the larger policy")
    parser.add_argument("--steps", type=int, default=4, help="of the larger policy")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        _costs("quickstart", [], 80, home / "small")
        _resumes("quickstart", [], home / "small-stopped")
        model = [f"policy.model={_random_policy(home / 'model', args.width, args.layers)}"]
        saved = [*model, f"trainer.steps={args.steps}", "trainer.trl.save_steps=2", "trainer.trl.save_total_limit=2"]
        _costs("larger policy", saved, args.steps, home / "large")
        _resumes("larger policy", model, home / "large-stopped")


def _random_policy(folder: Path, width: int, layers: int) -> Path:
    import torch

    from recr1.assets.make_tiny_shopper import make_model, make_tokenizer
    from recr1.tasks.shop.lexicon import load_lexicon

    torch.manual_seed(0)
    tokenizer = make_tokenizer(load_lexicon(), vocabulary=1024)
    make_model(tokenizer, width=width, layers=layers, heads=8, inner=4 * width).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _costs(name: str, overrides: Sequence[str], steps: int, folder: Path) -> None:
    """Train, and print what its checkpoints took."""
    recipe = load_recipe("quickstart", overrides)
    assert recipe.trainer is not None
    env = open_environment(recipe.task, recipe.retriever, recipe.rewards, recipe.k)
    loads, whole = Clock(), Clock()
    with loads.running():
        parameters = build("policy", recipe.policy).model.num_parameters()
    run = Run.create(folder, recipe.to_dict(), {})
    spec = EvaluationSpec(split="validation", measures=("nDCG@10",), every=10**6, needs=20)
    with _timed_saves() as saves, whole.running():
        build("trainer", recipe.trainer).train(recipe.policy, env, run, seed=0, evaluation=spec)
    run.finish("finished")
    lines = [line for line in run.read_metrics() if "train/time/step" in line]
    step = statistics.median(line["train/time/step"] for line in lines[1:])
    save, took = statistics.median(saves.wall), sum(saves.wall) / whole.wall[0]
    print(f"{name}, {parameters / 1e6:.1f} million parameters, {steps} steps:")
    print(f"  seconds of a step {step:.2f}; of a checkpoint {saves}, {len(saves.wall)} of them; of loading {loads}")
    used = sum(saves.cpu) / whole.cpu[0]
    print(f"  share of the run's time in checkpoints {took:.1%} ({used:.1%})")
    enough = math.ceil(SAVES * save / (GOAL_SHARE * step))
    print(f"  at {SAVES} checkpoints a run, under {GOAL_SHARE:.0%} from {enough} steps on", flush=True)


@contextmanager
def _timed_saves() -> Iterator[Clock]:
    saves, save = Clock(), Extended._save_checkpoint

    def timed(self: Extended, model: Any, trial: Any) -> None:
        with saves.running():
            save(self, model, trial)

    Extended._save_checkpoint = timed  # type: ignore[method-assign]
    try:
        yield saves
    finally:
        Extended._save_checkpoint = save  # type: ignore[method-assign]


def _resumes(name: str, overrides: Sequence[str], folder: Path) -> None:
    """Stop a run with a checkpoint, resume it, and print how long it takes until the first new step."""
    import psutil

    small = ["trainer.steps=1000", "evaluate.needs=20", "evaluate.every=100000"]
    first = _train("quickstart", *overrides, *small, "--out", folder)
    _reach(first, folder, 1)
    first.terminate()
    first.wait()
    step = max(int(path.name.rpartition("-")[2]) for path in folder.glob("checkpoints/checkpoint-*"))
    began = time.perf_counter()
    again = _train(folder)
    line = _reach(again, folder, step + 1)
    waited, used = time.perf_counter() - began, sum(psutil.Process(again.pid).cpu_times()[:2])
    again.kill()
    again.wait()
    begins = waited - line["train/time/step"]
    print(f"  resuming after step {step}: the next begins after {begins:.1f} s ({used:.1f}, that step included)")
    print(f"  wanted: {GOAL_RESUME:g} s and loading the policy", flush=True)


def _train(*arguments: object) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "recr1", "train", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _reach(process: subprocess.Popen[bytes], folder: Path, step: int) -> dict[str, Any]:
    """The numbers of a step, once it is logged."""
    log = folder / "metrics.jsonl"
    while process.poll() is None:
        time.sleep(0.02)
        for text in log.read_text().splitlines() if log.exists() else ():
            line: dict[str, Any] = json.loads(text) if text.endswith("}") else {}
            if line.get("step") == step and "train/time/step" in line:
                return line
    raise RuntimeError(f"training of {folder} ended with {process.returncode} before step {step}")


if __name__ == "__main__":
    main()
