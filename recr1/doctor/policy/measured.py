"""Two steps of a recipe's own trainer in a process of its own, so that its memory is measured alone.

    python -m recr1.doctor.policy.measured FOLDER

The first step is greedy, so that it can be compared with evaluation, and makes what an optimizer keeps; the second one
is timed. Nothing is written outside of a temporary folder.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from recr1.config.build import AlarmSpec, EvaluationSpec, Part, build
from recr1.doctor.policy.recorder import Recorder
from recr1.env import Environment, open_environment
from recr1.errors import UserError
from recr1.recipe import Recipe, load_recipe
from recr1.runs import Run
from recr1.trainers.base import TRLTrainer
from recr1.trainers.pairs.pairs import Pair, answer_ids, writer_of

LIMIT = 1800
"""Seconds after which two steps are given up."""
RECIPE, RESULT = "recipe.yaml", "result.json"


@dataclass(frozen=True)
class Measured:
    """What two steps of a stage showed."""

    trainer: str
    steps: int
    """Those of the recipe."""
    failed: str = ""
    """Why there are no numbers."""
    found: Mapping[str, Any] = field(default_factory=dict)
    """What `main` wrote."""


class WrittenNeeds:
    """Pairs for a timed step: training needs with their own first words as the query, as many as an answer may have."""

    def pairs(self, env: Environment, policy: Any, *_: object) -> list[Pair]:
        """Sampling pairs would take far longer than a step; raises `UserError` where the format writes no query."""
        write, found = writer_of(env.format), []
        for need in env.task.needs("train")[:1000]:
            words = need.text.split()
            for count in range(len(words), 0, -1):
                with suppress(ValueError):
                    answer = write(" ".join(words[:count]))
                    if len(answer_ids(policy.tokenizer, answer)) <= policy.max_new_tokens:
                        found.append(Pair(need, answer, need.id))
                        break
        if not found:
            raise UserError("policy.max_new_tokens is too small for any answer in this format: raise it")
        return found


def measure(recipe: Recipe, stage: Part, say: Callable[[str], None]) -> Measured:
    """Train two steps of a stage, from the policy with which the recipe begins."""
    say(f"training two steps of {stage.type} in a process of its own; this takes as long as they do")
    steps = int(stage.options["steps"])
    with TemporaryDirectory(prefix="recr1-doctor-") as name:
        folder = Path(name)
        _short(recipe, stage).dump(folder / RECIPE)
        with (folder / "output").open("wb") as output:
            command = [sys.executable, "-m", __spec__.name, name]
            try:
                status = subprocess.run(command, stdout=output, stderr=output, timeout=LIMIT, check=False).returncode
            except subprocess.TimeoutExpired:
                return Measured(stage.type, steps, f"not done after {LIMIT / 60:g} minutes")
        if status == 0:
            return Measured(stage.type, steps, found=json.loads((folder / RESULT).read_text()))
        said = (folder / "output").read_text(errors="replace").strip().splitlines()
        killed = f"the process was killed by signal {-status}; a system that is out of memory sends 9"
        return Measured(stage.type, steps, killed if status < 0 else " ".join(said[-1:])[-500:])


def _short(recipe: Recipe, stage: Part) -> Recipe:
    """The recipe with two steps of one stage; it validates on one need, and keeps nothing."""
    options: dict[str, Any] = {**stage.options, "steps": 2}
    options["trl"] = {**(stage.options.get("trl") or {}), "save_strategy": "no"}
    if (options.get("pairs") or {}).get("type") == "sampled":
        options["pairs"] = {"type": f"{__spec__.name}:{WrittenNeeds.__name__}"}
    spec = EvaluationSpec(
        split=recipe.evaluate.split, measures=recipe.evaluate.measures, needs=1, every=1000, keep="last",
        alarm=AlarmSpec(action="off"),
    )  # fmt: skip
    return replace(recipe, stages=(Part(stage.type, options),), evaluate=spec, log=())


def main(folder: Path) -> None:
    """Train what the recipe in a folder says, and write there what it took and what it computed."""
    import torch

    recipe = load_recipe(folder / RECIPE)
    assert recipe.trainer is not None
    env = open_environment(recipe.task, recipe.retriever, recipe.rewards, recipe.k)
    trainer: Any = build("trainer", recipe.trainer)
    if not isinstance(trainer, TRLTrainer):
        raise UserError(f"the trainer {recipe.trainer.type!r} is not built on TRL: its steps cannot be measured")
    recorder = Recorder()
    trainer.watching.append(recorder)
    run = Run.create(folder / "run", recipe.to_dict(), {"seed": recipe.seed})
    trainer.train(recipe.policy, env, run, seed=recipe.seed, evaluation=recipe.evaluate)
    lines = {line["step"]: line for line in run.read_metrics() if "train/time/step" in line}
    gpu = torch.cuda.is_available()
    whole = {
        "lines": [lines[1], lines[2]],
        "peak": torch.cuda.max_memory_allocated() if gpu else _peak_of_process(),
        "gpu": gpu,
        **recorder.facts(),
    }
    (folder / RESULT).write_text(json.dumps(whole))


def _peak_of_process() -> int:
    """Bytes of this process at their peak. Linux counts the parent in `ru_maxrss`, but not in /proc."""
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]))
    except UserError as error:
        sys.exit(f"{error}")
