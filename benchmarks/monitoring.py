"""Time of monitoring: the quickstart's steps with W&B (offline), other services and the terminal panel.

    OMP_NUM_THREADS=1 python benchmarks/monitoring.py [steps]

What is called beside a step is timed where it is called, in CPU time of the thread that trains, so that other work on
the machine changes little. The files of the run folder and the panel are always written, and are counted too.
"Behind" is the CPU time of the process's other threads, in which TensorBoard and trackio write: it costs the training
nothing where a core is free. What W&B does in its own process is not counted. The first step loads libraries and has
its own line.
"""

from __future__ import annotations

import io
import os
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

from rich.console import Console

from recr1.config.build import build
from recr1.env import open_environment
from recr1.loggers.base import Logger
from recr1.recipe import load_recipe
from recr1.runs import Run
from recr1.trainers.layers.generation import Clock
from recr1.trainers.watch import monitor
from recr1.trainers.watch import view as views
from recr1.trainers.watch.view import View

SERVICES: dict[str, list[str]] = {
    "none": [],
    "W&B offline": ["wandb"],
    "W&B offline, TensorBoard, trackio, JSON lines": ["wandb", "tensorboard", "trackio", "jsonl"],
}
FOLDER = ("log", "log_rollouts", "log_queries", "log_histograms")
"""What writes into the run folder, and hands on to the services."""


class Spent:
    """CPU seconds beside the training, by who takes them; those of the first step are kept apart."""

    def __init__(self) -> None:
        self.first: Counter[str] = Counter()
        self.later: Counter[str] = Counter()
        self._now = self.first
        self._within: list[float] = []
        """For each call that is under way, the seconds of the calls within it."""
        self._marks: list[tuple[float, float]] = []
        """(CPU of this thread, CPU of the threads beside it) at the beginning of each step, and at the end."""

    def timed(self, who: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """The call, with its own time added: what it hands on to another timed call is of that one."""

        @wraps(call)
        def timed(*args: Any, **kwargs: Any) -> Any:
            self._within.append(0.0)
            start = time.thread_time()
            try:
                return call(*args, **kwargs)
            finally:
                took = time.thread_time() - start
                self._now[who] += took - self._within.pop()
                if self._within:
                    self._within[-1] += took

        return timed

    def step_began(self) -> None:
        """What comes belongs to the next step."""
        self._marks.append((time.thread_time(), others_time()))
        if len(self._marks) == 2:
            self._now = self.later

    def ended(self) -> None:
        """No step comes any more."""
        self._marks.append((time.thread_time(), others_time()))

    @property
    def training(self) -> float:
        """CPU seconds of this thread in the steps after the first, with what is beside them."""
        return self._marks[-1][0] - self._marks[1][0]

    @property
    def behind(self) -> float:
        """CPU seconds of the process's other threads in that time: what services do behind the training's back."""
        return self._marks[-1][1] - self._marks[1][1]


def others_time() -> float:
    """CPU seconds of the threads that run beside this one."""
    here = threading.get_ident()
    idents = [thread.ident for thread in threading.enumerate() if thread.ident not in (None, here)]
    return sum(time.clock_gettime(time.pthread_getcpuclockid(ident)) for ident in idents if ident is not None)


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
    watched = [(name, logger, ("log", "show")) for name, logger in zip(services, loggers, strict=True)]
    for who, part, names in [*watched, ("folder", run, FOLDER), ("view", view, ("step", "validated"))]:
        for name in names:
            setattr(part, name, spent.timed(who, getattr(part, name)))
    start = Clock.start

    def starts(clock: Clock) -> None:
        spent.step_began()
        start(clock)

    (trainer,) = recipe.stages
    with (
        patched(Clock, "start", starts),
        patched(monitor, "View", lambda *_args, **_options: view),
        patched(views, "perf_counter", time.thread_time),
    ):
        build("trainer", trainer).train(recipe.policy, env, run, seed=recipe.seed, evaluation=recipe.evaluate)
    spent.ended()
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
    print("| services | CPU s a step | ms of it | share | ms behind | share with it | ms in the first step | of whom |")
    print("|" + "---|" * 8)
    for name, services in SERVICES.items():
        with tempfile.TemporaryDirectory() as folder:
            spent = go(Path(folder) / "run", services, steps)
        beside, count = sum(spent.later.values()), steps - 1
        cells = [
            name,
            f"{spent.training / count:.3f}",
            f"{1000 * beside / count:.2f}",
            f"{beside / spent.training:.2%}",
            f"{1000 * spent.behind / count:.2f}",
            f"{(beside + spent.behind) / spent.training:.2%}",
            f"{1000 * sum(spent.first.values()):.0f}",
            ", ".join(f"{who} {1000 * seconds / count:.2f}" for who, seconds in spent.later.most_common()),
        ]
        print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
