"""Training in stages: each starts from the policy that the stage before it left."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recr1.config.build import EvaluationSpec, Part
from recr1.env import Environment
from recr1.runs import Run, writing
from recr1.trainers.base import Trainer
from recr1.trainers.layers.checkpoints import Checkpoints

if TYPE_CHECKING:
    from recr1.env import Step

FOLDER = "stages"
"""Where, in a run folder, each stage has a folder of its own."""


class Stage(Run):
    """A stage of a run, as its trainer sees it: a run whose steps begin at 0.

    Numbers and rollouts go into the files of the whole run, whose steps continue those of the stage before.
    Checkpoints, and what else a trainer keeps, are in a folder of the stage; so is its policy, except in the last one.
    """

    def __init__(self, whole: Run, name: str, *, first: int, start: int, last: bool, resumed: bool) -> None:
        """Begin after step `first` of `whole`, with the policy of its step `start`."""
        super().__init__(whole.path / FOLDER / name, writer=whole.writer)
        self._whole, self._first, self._start, self._is_last = whole, first, start, last
        self.resumed = resumed
        if self.writer:
            with writing(self.path):
                self.path.mkdir(parents=True, exist_ok=True)

    @property
    def policy_path(self) -> Path:
        """Where the policy of this stage is saved."""
        return self._whole.policy_path if self._is_last else self.path / "policy"

    @property
    def logs(self) -> Path:
        """The folder of the whole run, which has the logs of all stages."""
        return self._whole.path

    def discard(self, *folders: Path) -> None:
        """Have the whole run remove folders, once this stage is recorded as complete."""
        self._whole.discard(*folders)

    def facts(self) -> dict[str, Any]:
        """What `run.json` holds of the whole run."""
        return self._whole.facts()

    def recipe(self) -> dict[str, Any]:
        """The recipe of the whole run."""
        return self._whole.recipe()

    def update(self, **facts: Any) -> None:
        """Add to `run.json`."""
        self._whole.update(**facts)

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Log a step of this stage under its number in the whole run."""
        self._whole.log(self._first + step, metrics)

    def alert(self, step: int, title: str, record: Mapping[str, Any]) -> None:
        """Record an alert of a step of this stage under its number in the whole run."""
        self._whole.alert(self._first + step, title, record)

    def global_step(self, step: int) -> int:
        """The number of a step of this stage in the whole run."""
        return self._first + step

    def log_rollouts(self, step: int, result: Step) -> None:
        """Record the rollouts of a step of this stage under its number in the whole run."""
        self._whole.log_rollouts(self._first + step, result)

    def log_queries(self, step: int, split: str, records: Sequence[Mapping[str, Any]]) -> None:
        """Record the queries of a validation of this stage under its number in the whole run."""
        self._whole.log_queries(self._first + step, split, records)

    def log_histograms(self, step: int, values: Mapping[str, Sequence[float]]) -> None:
        """Show values of a step of this stage under its number in the whole run."""
        self._whole.log_histograms(self._first + step, values)

    def read_metrics(self) -> list[dict[str, Any]]:
        """The lines of this stage, and the validation of the policy that it began with, with its own step numbers."""
        lines = self._whole.read_metrics()
        before = [line for line in lines if line["step"] == self._start and any(n.startswith("eval/") for n in line)]
        return [{**line, "step": 0} for line in before] + self._own(lines)

    def read_rollouts(self) -> list[dict[str, Any]]:
        """The rollouts of this stage, with its own numbers of steps."""
        return self._own(self._whole.read_rollouts())

    def rewind(self, step: int, logged: Mapping[str, int] | None = None) -> None:
        """Forget what was logged after a step of this stage; what was logged before the stage stays."""
        # A stage without a checkpoint starts again; the last validation of a stage before it stays.
        self._whole.rewind(self._first + max(step, 0) if self._first else step, logged)

    def _own(self, lines: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        return [{**line, "step": line["step"] - self._first} for line in lines if line["step"] > self._first]


def train_stages(
    stages: Sequence[tuple[Part, Trainer]],
    policy: Part,
    env: Environment,
    run: Run,
    *,
    seed: int,
    evaluation: EvaluationSpec,
    say: Callable[[str], None],
) -> None:
    """Train the stages that a run has not finished yet, each on the policy of the one before; see `Trainer.train`.

    Each stage is a trainer with the part that it was built from; `say` shows a line. The run keeps a record of finished
    stages under `stages` in `run.json`.
    """
    from accelerate import PartialState

    done = finished_stages(run)
    resumed = run.resumed
    for number, (part, trainer) in enumerate(stages):
        name = f"{number + 1}-{part.type.rpartition(':')[2]}"
        saved = run.path / FOLDER / name / "policy"
        if number >= len(done):
            say(f"stage {number + 1} of {len(stages)}: {part.type}")
            run.update(policy=None)
            first = done[-1]["last_step"] if done else 0
            start = done[-1].get("policy_step", first) if done else 0
            last = number + 1 == len(stages)
            stage = Stage(run, name, first=first, start=start, last=last, resumed=resumed)
            saved = trainer.train(policy, env, stage, seed=seed, evaluation=evaluation)
            done.append({"type": part.type, **_steps(run, first)})
            run.complete(stages=done)
            PartialState().wait_for_everyone()  # no process reads a policy before it is written
            resumed = False
            gc.collect()  # a trainer and its model hold each other: two stages need not fit into memory at once
        kept = {name: value for name, value in policy.options.items() if name != "gguf_file"}
        policy = Part(policy.type, {**kept, "model": str(saved)})


def _steps(run: Run, first: int) -> dict[str, int]:
    """The last step of a stage, and the step whose policy it left if its trainer recorded that, for the writer."""
    if not run.writer:
        return {"last_step": first}
    last = max((int(line["step"]) for line in run.read_metrics()), default=first)
    policy = run.facts().get("policy")
    return {"last_step": last, **({"policy_step": policy["step"]} if policy else {})}


def finished_stages(run: Run) -> list[dict[str, Any]]:
    """The stages that a run has finished: the type and the last step of each."""
    return list(run.facts().get("stages", [])) if (run.path / "run.json").exists() else []


def last_saved_step(run: Run) -> int | None:
    """The last step from which a run can be resumed, in the numbers of the whole run; None where there is none."""
    done = finished_stages(run)
    first = int(done[-1]["last_step"]) if done else None
    homes = [run.path, *sorted((run.path / FOLDER).glob(f"{len(done) + 1}-*"))]
    saved = [step for home in homes for step in Checkpoints(home / "checkpoints").steps()]
    return (first or 0) + max(saved) if saved else first


def policy_so_far(run: Run) -> Path | None:
    """Where the policy is that was saved last: the run's own, or that of a stage before; None where there is none."""
    saved = [*sorted((run.path / FOLDER).glob("*/policy")), *run.path.glob("policy")]
    return saved[-1] if saved else None
