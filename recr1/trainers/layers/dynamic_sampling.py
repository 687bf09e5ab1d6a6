"""Groups that teach nothing are replaced by others before the update: DAPO's dynamic sampling (arXiv 2503.14476).

Where all completions of a need earn the same, no advantage is left, and the group only dilutes the batch. Such groups
are replaced by those of fresh needs, generated and rewarded in the same step, for a bounded number of rounds. Fresh
needs are drawn as those of the batch are: by the curriculum where there is one, all alike otherwise.

The rounds run before TRL's `_generate_and_score_completions`, which then finds completions and rewards ready.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from random import Random
from typing import Any, NamedTuple

from recr1.trainers.layers.curriculum import DrawnNeeds
from recr1.trainers.trl.additions import Addition


class Rollouts(NamedTuple):
    """Completions with their rewards, in rows: those of this process, but for `rewards`."""

    inputs: list[dict[str, Any]]
    """The rows of the training data, one for each completion."""
    generated: tuple[Any, ...]  # what TRL's `_generate` gave
    rewards: Any
    """A tensor (N, 1) with the rows of all processes, in the order of their ranks; NaN where there is no reward."""

    def rows(self) -> list[tuple[Any, ...]]:
        """Each row's input and its entries of the lists in `generated`."""
        return list(zip(*self._lists(), strict=True))

    def replace(self, row: int, values: Sequence[Any]) -> None:
        """Put what `rows` gave of another row in the place of this one."""
        for part, value in zip(self._lists(), values, strict=True):
            part[row] = value

    def _lists(self) -> list[list[Any]]:
        by_row = [part for part in self.generated if isinstance(part, list) and len(part) == len(self.inputs)]
        return [self.inputs, *by_row]


def flat_groups(rewards_N: Sequence[float], size: int, tolerance: float) -> list[int]:
    """The numbers of the groups, `size` rewards each, from which nothing can be learned: flat ones.

    Their highest and lowest rewards differ by the tolerance or less, or fewer than two have a reward (NaN is none).
    """
    groups = [rewards_N[start : start + size] for start in range(0, len(rewards_N), size)]
    there = [[reward for reward in group if math.isfinite(reward)] for group in groups]
    return [at for at, rewards in enumerate(there) if len(rewards) < 2 or max(rewards) - min(rewards) <= tolerance]


class DynamicSampling(Addition):
    """Replaces groups from which nothing can be learned, for up to a number of rounds."""

    def __init__(self, rounds: int, tolerance: float, curriculum: DrawnNeeds | None) -> None:
        self.rounds, self.tolerance, self.curriculum = rounds, tolerance, curriculum
        self._ready: Rollouts | None = None
        self._first_reward = math.nan

    def before_scoring(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The rows of the batch after the last round; its completions and rewards are ready for TRL.

        Every process takes the same number of rounds.
        """
        self._ready = None
        batch = self._rollouts(list(rows))
        self._first_reward = batch.rewards[:, 0].nanmean().item()
        logged = _Logged(self.trainer)
        seen = set(_gathered([row["need_id"] for row in rows]))
        groups = len(batch.rewards) // self.trainer.num_generations
        replaced = rounds = 0
        while rounds < self.rounds and (flat := self._flat(batch)):
            fresh = self._draw(len(flat), seen, rounds)
            if not fresh:
                break
            rounds += 1
            replaced += self._replace(batch, flat, self._rollouts(fresh))
        logged.keep(self.trainer)
        self.trainer._metrics["train"]["dynamic_sampling/replaced"].append(replaced / groups)
        self.trainer._metrics["train"]["dynamic_sampling/rounds"].append(rounds)
        self._ready = batch
        return batch.inputs

    def around_generation(self, generate: Callable[..., Any], prompts: list[Any]) -> Any:
        """The completions that are ready, else generated ones."""
        return generate(prompts) if self._ready is None else self._ready.generated

    def around_rewards(self, compute: Callable[..., Any], rows: list[dict[str, Any]], *more: Any) -> Any:
        """The rewards that are ready, else computed ones."""
        return compute(rows, *more) if self._ready is None else self._ready.rewards

    def after_scoring(self, batch: dict[str, Any], rewards_B: Any) -> None:
        """Log the mean reward of the first round, which is a fair sample of the needs."""
        self._ready = None
        self.trainer._metrics["train"]["reward"][-1] = self._first_reward

    def _rollouts(self, rows: list[dict[str, Any]]) -> Rollouts:
        prompts = [row["prompt"] for row in rows]
        generated = self.trainer._generate(prompts)
        # TRL's GRPO puts a mask of tools between token ids and texts; RLOO has no tools.
        completion_ids, completions = generated[1], generated[2 if len(generated) == 3 else 3]
        return Rollouts(rows, generated, self.trainer._calculate_rewards(rows, prompts, completions, completion_ids))

    def _flat(self, batch: Rollouts) -> list[int]:
        return flat_groups(batch.rewards[:, 0].tolist(), self.trainer.num_generations, self.tolerance)

    def _draw(self, count: int, seen: set[str], round_: int) -> list[dict[str, Any]]:
        """This process's rows of fresh groups, `count` or a few more over all processes; fewer where needs run out.

        All processes draw the same, and a resumed run draws what it would have drawn.
        """
        size, data = self.trainer.num_generations, self.trainer.train_dataset
        processes, rank = self.trainer.accelerator.num_processes, self.trainer.accelerator.process_index
        share = processes // math.gcd(size, processes)  # groups that split evenly over the processes
        wanted = math.ceil(count / share) * share
        drawn = self._fresh_places(min(len(data), wanted + len(seen)), round_)
        rows = [row for row in map(data.__getitem__, drawn) if row["need_id"] not in seen][:wanted]
        rows = rows[: len(rows) // share * share]
        seen.update(row["need_id"] for row in rows)
        # The mark tells the reward function that these are not a batch of their own.
        each = [{**row, "replacement": True} for row in rows for _ in range(size)]
        own = len(each) // processes
        return each[rank * own :][:own]

    def _fresh_places(self, count: int, round_: int) -> list[int]:
        """`count` different places in the training data, in the order in which they were drawn."""
        seed, place = self.trainer.args.seed, self.trainer._step
        if self.curriculum is not None:
            return self.curriculum.known.draw(count, [seed, place, round_])
        random = Random(f"recr1 resample {seed} {place} {round_}")
        return random.sample(range(len(self.trainer.train_dataset)), count)

    def _replace(self, batch: Rollouts, flat: Sequence[int], fresh: Rollouts) -> int:
        """Put fresh groups that are not flat in the places of flat ones; returns how many were replaced."""
        size = self.trainer.num_generations
        useless = set(self._flat(fresh))
        useful = [group for group in range(len(fresh.rewards) // size) if group not in useless]
        pairs = list(zip(flat, useful, strict=False))
        rows = _gathered(fresh.rows()) if pairs else []
        own = len(batch.inputs)
        first = self.trainer.accelerator.process_index * own
        for here, there in ((old * size + row, new * size + row) for old, new in pairs for row in range(size)):
            batch.rewards[here] = fresh.rewards[there]
            if first <= here < first + own:
                batch.replace(here - first, rows[there])
        return len(pairs)


class _Logged:
    """The numbers after the first round, which is a fair sample of needs: later rounds add their time, and no more."""

    def __init__(self, trainer: Any) -> None:
        self._own = {name: len(values) for name, values in trainer._metrics["train"].items()}
        self._rewards = {name: list(values) for name, values in trainer._pending_metrics.items()}

    def keep(self, trainer: Any) -> None:
        for name, length in self._own.items():
            del trainer._metrics["train"][name][length:]
        pending = dict(trainer._pending_metrics)
        trainer._pending_metrics.clear()
        for name, values in self._rewards.items():
            trainer._pending_metrics[name] += [sum(pending[name])] if name.startswith("time/") else values


def _gathered(rows: list[Any]) -> list[Any]:
    """The rows of all processes, in the order of their ranks."""
    from accelerate.utils import gather_object

    gathered: list[Any] = gather_object(rows)
    return gathered
