"""Pairs that a run makes once, with searches, and keeps: each process makes those of its share of the needs."""

from __future__ import annotations

import json
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar, TypeAlias

from recr1.env import Environment
from recr1.policies import Policy
from recr1.runs import Run, write_text, writing
from recr1.runs.files import read_lines
from recr1.tasks.splits import group_key
from recr1.trainers.launch import FailureBudget, Ranks
from recr1.trainers.pairs.pairs import Pair, held_out_texts
from retrievers.progress import ProgressBar
from rewards.base import Need

FILE = "pairs.jsonl"
"""Where a run keeps its pairs: made once, whatever stops the run later."""
CHUNK = 256
"""Needs between two moves of the progress bar."""

OfNeed: TypeAlias = dict[str, Any]
"""What was made for a need: the lines of `pairs.jsonl` under "kept", and what the facts are counted from."""
Maker: TypeAlias = Callable[[Sequence[Need]], Sequence[OfNeed]]


class MadePairs(ABC):
    """Makes pairs from training needs, and writes them to `pairs.jsonl` and what they are to `run.json`."""

    doing: ClassVar[str]
    """What takes long, such as "sampling completions of" training needs."""
    needs: int | None
    """How many training needs, from the first on; None for all."""

    def pairs(self, env: Environment, policy: Policy, run: Run, ranks: Ranks, budget: FailureBudget) -> list[Pair]:
        """The kept pairs, in the order of the needs; from the run's folder where they are there already."""
        from accelerate.utils import broadcast_object_list

        with ranks.together():
            there = read_lines(run.path / FILE) if run.writer and (run.path / FILE).exists() else None
        (lines,) = broadcast_object_list([there])  # the folder of another rank may be on another machine
        if lines is None:
            lines = self._made(env, policy, run, ranks, budget)
        return [Pair(env.need(line["need"]), line["completion"], f"need '{line['need']}'") for line in lines]

    def _made(
        self, env: Environment, policy: Policy, run: Run, ranks: Ranks, budget: FailureBudget
    ) -> list[dict[str, Any]]:
        """Make pairs, and keep them in the folder and the record of the run; returns the lines of `pairs.jsonl`."""
        from accelerate import PartialState
        from accelerate.utils import gather_object

        state = PartialState()
        own = list(enumerate(taught_needs(env, self.needs)))[state.process_index :: state.num_processes]
        found: list[tuple[int, OfNeed]] = []
        with ranks.together(), ProgressBar(quiet=not run.writer) as bar:
            make = self._maker(env, policy, budget)
            if run.writer and not sys.stderr.isatty():  # where no bar is drawn
                sys.stdout.write(f"{self.doing} {len(own)} training needs\n")
            bar.begin(f"{self.doing} training needs", len(own))
            for start in range(0, len(own), CHUNK):
                block = own[start : start + CHUNK]
                made = make([need for _, need in block])
                found += [(place, of_need) for (place, _), of_need in zip(block, made, strict=True)]
                bar.advance(start + len(block), len(own))
        all_made = [of_need for _, of_need in sorted(gather_object(found), key=lambda one: one[0])]
        kept = [line for of_need in all_made for line in of_need["kept"]]
        facts = {
            "needs": len(all_made),
            "needs_with_a_pair": sum(bool(of_need["kept"]) for of_need in all_made),
            "kept": len(kept),
            **self._facts(all_made),
        }
        if run.writer:
            run.update(pairs=facts)
            with writing(run.path):
                write_text(run.path / FILE, "".join(json.dumps(line) + "\n" for line in kept))
        return kept

    @abstractmethod
    def _maker(self, env: Environment, policy: Any, budget: FailureBudget) -> Maker:
        """What makes the pairs of some needs, each in its place; its lines have a "need" (id) and a "completion"."""

    @abstractmethod
    def _facts(self, made: Sequence[OfNeed]) -> dict[str, Any]:
        """The numbers for `run.json`, on every rank; raises `UserError` where nothing is worth keeping."""


def taught_needs(env: Environment, count: int | None = None) -> list[Need]:
    """The first training needs, without those whose text only evaluation may use."""
    held_out = held_out_texts(env)
    return [need for need in env.task.needs("train")[:count] if group_key(need.text) not in held_out]


def mean(values: Iterable[float]) -> float | None:
    """The mean; None of nothing."""
    listed = list(values)
    return sum(listed) / len(listed) if listed else None
