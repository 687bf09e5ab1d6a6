"""Which needs to train on next: those whose completions have the most different rewards, and sometimes any other.

A group whose rewards are all equal changes no weight. Where a reward is 0 or 1 and a completion earns it with
probability p, the rewards of a group have the variance p(1 - p): highest at one half, 0 where a need is always or never
solved. Rutherford et al. 2024 (arXiv 2408.15099) call it learnability; here it is the variance of any reward.

Needs are drawn where a batch is generated, in place of those that TRL's sampler chose. The draw depends on the seed,
the place in training and the variances seen, which a checkpoint keeps: a resumed run draws what it would have drawn.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np

from recr1.errors import UserError
from recr1.judge.stats import Doubles
from recr1.trainers.trl.additions import Addition

Curriculum: TypeAlias = Literal["none", "learnability"]
FILE = "curriculum.json"
"""What is known of the needs, in a checkpoint."""
KNOWN = "per_need.jsonl"
"""What was found of the needs before training, in the folder of `recr1 headroom --out`."""


class Learnability:
    """The running variance of the rewards of each need, and the chance to be drawn that follows from it."""

    def __init__(self, needs: Sequence[str], *, uniform: float, rate: float, start: Mapping[str, float]) -> None:
        """Begin with the variances of `start`, by need; see `OnlineTrainer` for the others."""
        self._place = {name: place for place, name in enumerate(needs)}
        self._uniform, self._rate = uniform, rate
        self.variance: Doubles = np.full(len(needs), np.nan)
        for name, value in start.items():
            if name in self._place:
                self.variance[self._place[name]] = value

    def learn(self, needs: Sequence[str], rewards: Sequence[float]) -> None:
        """Take the rewards of a batch into account, one for each completion; NaN counts as no reward.

        A need with a single reward is left out.
        """
        earned: dict[str, list[float]] = {}
        for name, reward in zip(needs, rewards, strict=True):
            if np.isfinite(reward):
                earned.setdefault(name, []).append(reward)
        for name, values in earned.items():
            if len(values) > 1:
                place, variance, rate = self._place[name], float(np.var(values, ddof=1)), self._rate
                known = self.variance[place]
                self.variance[place] = variance if np.isnan(known) else (1 - rate) * known + rate * variance

    @property
    def chances(self) -> Doubles:
        """(N,) what each need's chance to be drawn is proportional to; they add up to 1.

        A need that was not seen counts as the mean of those that were.
        """
        seen = ~np.isnan(self.variance)
        filled = np.where(seen, self.variance, self.variance[seen].mean() if seen.any() else 0.0)
        even: Doubles = np.full(len(filled), 1 / len(filled))
        return self._uniform * even + (1 - self._uniform) * filled / filled.sum() if filled.sum() else even

    def draw(self, count: int, seed: Sequence[int]) -> list[int]:
        """The places of `count` different needs, drawn in turn by their chances (Efraimidis and Spirakis 2006).

        Where there are fewer needs, they repeat.
        """
        chances = self.chances
        ages = np.random.default_rng(seed).exponential(size=len(chances)) / chances
        order = np.argsort(ages, kind="stable")
        return [int(order[place % len(order)]) for place in range(count)]

    def state(self) -> list[float | None]:
        """The variances, None where nothing is known; exact when written as JSON."""
        return [None if np.isnan(value) else float(value) for value in self.variance]

    def restore(self, state: Sequence[float | None]) -> None:
        """Continue from what `state` gave."""
        self.variance = np.array([np.nan if value is None else value for value in state], np.float64)


class DrawnNeeds(Addition):
    """Draws the needs of each batch by their learnability."""

    def __init__(self, uniform: float, rate: float, start: Mapping[str, float]) -> None:
        self._options: dict[str, Any] = {"uniform": uniform, "rate": rate, "start": start}
        self._before: tuple[int, list[float | None]] = (-1, [])  # steps before this one, and what was known before it

    @cached_property
    def known(self) -> Learnability:
        """What is known of the training needs."""
        return Learnability(self.trainer.train_dataset["need_id"], **self._options)

    def choose(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """This process's rows of the groups that all processes draw together."""
        trainer = self.trainer
        if self._before[0] != trainer.state.global_step:
            self._before = trainer.state.global_step, self.known.state()
        groups = len(rows) * trainer.accelerator.num_processes // trainer.num_generations
        drawn = self.known.draw(groups, [trainer.args.seed, trainer._step])
        chances, variance, logged = self.known.chances, self.known.variance, trainer._metrics["train"]
        known = variance[drawn][~np.isnan(variance[drawn])]
        logged["curriculum/seen"].append(float((~np.isnan(variance)).mean()))
        logged["curriculum/spread"].append(float(1 / (chances**2).sum() / len(chances)))
        if len(known):
            logged["curriculum/expected_std"].append(float(np.sqrt(known).mean()))
        each = [place for place in drawn for _ in range(trainer.num_generations)]
        first = trainer.accelerator.process_index * len(rows)
        return [trainer.train_dataset[place] for place in each[first : first + len(rows)]]

    def around_rewards(self, compute: Callable[..., Any], rows: list[dict[str, Any]], *more: Any) -> Any:
        """Learn from the rewards."""
        from accelerate.utils import gather_object

        rewards = compute(rows, *more)
        self.known.learn(gather_object([row["need_id"] for row in rows]), rewards[:, 0].tolist())
        return rewards

    def save(self, folder: Path) -> None:
        """Write what is known; after a step that failed, what was known before it, for the step is made again."""
        if self.trainer.args.should_save:
            step, before = self._before
            state = before if step == self.trainer.state.global_step else self.known.state()
            (folder / FILE).write_text(json.dumps(state))

    def load(self, checkpoint: Path) -> None:
        """Continue with what was known."""
        self.known.restore(json.loads((checkpoint / FILE).read_text()))


def curriculum_problems(options: Mapping[str, Any]) -> list[str]:
    """What is wrong with the options of a curriculum, before anything is loaded."""
    problems = []
    if options.get("curriculum", "none") != "none" and (options.get("trl") or {}).get("num_generations") == 1:
        problems.append("curriculum: one completion of a need does not differ: set trl.num_generations to 2 or more")
    start = options.get("curriculum_start")
    if start is not None and not (Path(start) / KNOWN).is_file():
        problems.append(
            f"curriculum_start: there is no {Path(start) / KNOWN}: `recr1 headroom --out {start}` writes it"
        )
    return problems


def known_variances(folder: str | None) -> dict[str, float]:
    """Need -> variance of its rewards, as `recr1 headroom --out` found them; raises `UserError` for another file."""
    if folder is None:
        return {}
    path = Path(folder) / KNOWN
    try:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        return {line["need"]: float(np.var(line["rewards"], ddof=1)) for line in lines}
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"curriculum_start: {path} is not what `recr1 headroom --out` writes ({type(error).__name__}: {error})"
        ) from error
