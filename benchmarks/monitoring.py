"""What monitoring costs: the quickstart's steps with W&B (offline) and the live view, and all that goes to them.

What is called beside a step is timed where it is called, in one run: differences between two runs of seconds on a
machine with other work on it say nothing. Two numbers: the share of the time between the first step and the last
(validation and its tables included), and that of a step alone, with its histograms.

    python benchmarks/monitoring.py [steps]
"""

from __future__ import annotations

import io
import os
import sys
import tempfile
import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

from rich.console import Console

from recr1.build import build
from recr1.env import open_environment
from recr1.loggers.base import Logger
from recr1.recipe import load_recipe
from recr1.runs import Run
from recr1.trainers import monitor
from recr1.trainers.view import View

SERVICES: dict[str, list[str]] = {
    "nothing beside the run folder": [],
    "W&B offline and view": ["wandb"],
    "W&B offline, TensorBoard, trackio, JSON lines and view": ["wandb", "tensorboard", "trackio", "jsonl"],
}


class Spent:
    """Sums the time of calls."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._inside = False

    def timed(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """The call, with its time added; one within another counts once."""

        @wraps(call)
        def timed(*args: Any, **kwargs: Any) -> Any:
            if self._inside:
                return call(*args, **kwargs)
            self._inside, start = True, time.perf_counter()
            try:
                return call(*args, **kwargs)
            finally:
                self._inside, self.seconds = False, self.seconds + time.perf_counter() - start

        return timed


def go(folder: Path, services: list[str], steps: int) -> tuple[float, float, float]:
    """Seconds of training, of it in services and view, and the part of that which was beside training steps."""
    os.environ |= {"WANDB_MODE": "offline", "WANDB_SILENT": "true", "HF_HUB_OFFLINE": "1"}
    os.environ["TRACKIO_DIR"] = str(folder.parent / "trackio")
    recipe = load_recipe("recipes/quickstart.yaml", [f"trainer.steps={steps}"])
    env = open_environment(recipe.task, recipe.retriever, recipe.rewards, recipe.k)
    spent, of_steps = Spent(), Spent()
    loggers: list[Logger] = [build("logger", {"type": name}) for name in services]
    run = Run.create(folder, recipe.to_dict(), {"seed": recipe.seed}, loggers=loggers)
    for logger in loggers:
        for name in ("log", "show"):
            setattr(logger, name, spent.timed(getattr(logger, name)))
    view = View(steps, quiet=not services, console=Console(force_terminal=True, width=120, file=io.StringIO()))
    for name in ("step", "validated"):
        setattr(view, name, spent.timed(getattr(view, name)))
    setattr(monitor, "View", lambda *_args, **_options: view)  # noqa: B010 - the monitor makes its own
    validate = monitor.Monitor.validate

    def apart(self: Any, step: int) -> None:
        before = spent.seconds
        validate(self, step)
        of_steps.seconds += spent.seconds - before

    monitor.Monitor.validate = apart  # type: ignore[method-assign]
    (part,) = recipe.stages
    start = time.perf_counter()
    try:
        build("trainer", part).train(recipe.policy, env, run, seed=recipe.seed, evaluation=recipe.evaluate)
    finally:
        monitor.Monitor.validate, monitor.View = validate, View  # type: ignore[method-assign, misc]
    seconds = time.perf_counter() - start
    run.finish("finished")
    steps_alone = sum(line.get("train/time/step", 0.0) for line in run.read_metrics())
    return steps_alone, spent.seconds - of_steps.seconds, spent.seconds / seconds


def main() -> None:
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else 40
    print(f"{'services':<58}{'s a step':>10}{'ms of it':>10}{'share':>8}{'of the run':>12}")
    for name, services in SERVICES.items():
        with tempfile.TemporaryDirectory() as folder:
            training, monitoring, whole = go(Path(folder) / "run", services, steps)
        each = f"{training / steps:>10.3f}{1000 * monitoring / steps:>10.2f}{monitoring / training:>8.2%}{whole:>12.2%}"
        print(f"{name:<58}{each}", flush=True)


if __name__ == "__main__":
    main()
