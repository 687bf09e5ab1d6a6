"""What monitoring costs: the quickstart's steps with W&B (offline), other services and the live view.

What is called beside a step is timed where it is called, in CPU time of the thread that trains, as training itself is:
that stands on a machine with other work on it, where seconds do not. The view reads the same clock, and so draws as
often as it would on an idle machine. What W&B does in its own process is not in it. The first step loads libraries, and
stands on its own.

    OMP_NUM_THREADS=1 python benchmarks/monitoring.py [steps]
"""

from __future__ import annotations

import io
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
from recr1.trainers import view as views
from recr1.trainers.clock import Clock
from recr1.trainers.view import View

SERVICES: dict[str, list[str]] = {
    "the view alone": [],
    "W&B offline and view": ["wandb"],
    "W&B offline, TensorBoard, trackio, JSON lines and view": ["wandb", "tensorboard", "trackio", "jsonl"],
}


class Spent:
    """CPU seconds of calls, one sum a training step."""

    def __init__(self) -> None:
        self.steps = [0.0]
        self.training = [time.thread_time()]
        self._inside = False

    def timed(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """The call, with its time added; one within another counts once."""

        @wraps(call)
        def timed(*args: Any, **kwargs: Any) -> Any:
            if self._inside:
                return call(*args, **kwargs)
            self._inside, start = True, time.thread_time()
            try:
                return call(*args, **kwargs)
            finally:
                self._inside = False
                self.steps[-1] += time.thread_time() - start

        return timed

    def step_ended(self) -> None:
        """What comes belongs to the next step."""
        self.steps.append(0.0)
        self.training.append(time.thread_time())


def go(folder: Path, services: list[str], steps: int) -> Spent:
    """Train, and take the times; validation and its tables belong to the step after which they come."""
    os.environ |= {"WANDB_MODE": "offline", "WANDB_SILENT": "true", "HF_HUB_OFFLINE": "1"}
    os.environ["TRACKIO_DIR"] = str(folder.parent / "trackio")
    recipe = load_recipe("recipes/quickstart.yaml", [f"trainer.steps={steps}"])
    env = open_environment(recipe.task, recipe.retriever, recipe.rewards, recipe.k)
    loggers: list[Logger] = [build("logger", {"type": name}) for name in services]
    run = Run.create(folder, recipe.to_dict(), {"seed": recipe.seed}, loggers=loggers)
    view = View(steps, quiet=False, console=Console(force_terminal=True, width=120, file=io.StringIO()))
    spent = Spent()
    for part, names in [*((logger, ("log", "show")) for logger in loggers), (view, ("step", "validated"))]:
        for name in names:
            setattr(part, name, spent.timed(getattr(part, name)))
    begin = Clock.begin

    def begins(clock: Clock) -> None:
        spent.step_ended()
        begin(clock)

    (trainer,) = recipe.stages
    with (
        patched(Clock, "begin", begins),
        patched(monitor, "View", lambda *_args, **_options: view),
        patched(views, "perf_counter", time.thread_time),
    ):
        build("trainer", trainer).train(recipe.policy, env, run, seed=recipe.seed, evaluation=recipe.evaluate)
    spent.step_ended()
    run.finish("finished")
    return spent


@contextmanager
def patched(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Another attribute for a while."""
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


def main() -> None:
    """Print a line for each set of services."""
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else 40
    print(f"{'services':<58}{'s a step':>10}{'ms of it':>10}{'share':>8}{'ms at first':>13}")
    for name, services in SERVICES.items():
        with tempfile.TemporaryDirectory() as folder:
            spent = go(Path(folder) / "run", services, steps)
        # training[0] is the start, [1] the beginning of step 1; sums [2:-1] are those of the steps after the first.
        later, training = sum(spent.steps[2:-1]), spent.training[-1] - spent.training[2]
        each = f"{training / (steps - 1):>10.3f}{1000 * later / (steps - 1):>10.2f}{later / training:>8.2%}"
        print(f"{name:<58}{each}{1000 * sum(spent.steps[:2]):>13.0f}", flush=True)


if __name__ == "__main__":
    main()
