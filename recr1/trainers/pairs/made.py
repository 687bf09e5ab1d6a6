"""Pairs that a run makes once, with searches, and keeps: each process makes those of its share of the needs."""

from __future__ import annotations

import json
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

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
Made = TypeVar("Made")
Maker: TypeAlias = Callable[[Sequence[Need]], Sequence[Made]]
"""Makes something for each of some needs."""


class MadePairs(ABC):
    """Makes pairs from training needs, and writes them to `pairs.jsonl` and what they are to `run.json`."""

    needs: int | None
    """How many training needs, from the first on; None for all."""

    def pairs(self, env: Environment, policy: Policy, run: Run, ranks: Ranks, budget: FailureBudget) -> list[Pair]:
        """The kept pairs, in the order of the needs; from the run's folder where they are there already."""
        from accelerate.utils import broadcast_object_list

        with ranks.together():
            there = read_lines(run.path / FILE) if run.writer and (run.path / FILE).exists() else None
        (lines,) = broadcast_object_list([there])  # the folder of another rank may be on another machine
        if lines is None:
            lines = self._kept(Pass(taught_needs(env, self.needs), run, ranks), env, policy, budget)
        return [Pair(env.need(line["need"]), line["completion"], f"need '{line['need']}'") for line in lines]

    def _kept(self, each: Pass, env: Environment, policy: Policy, budget: FailureBudget) -> list[dict[str, Any]]:
        """Make pairs, and keep them in the folder and the record of the run; returns the lines of `pairs.jsonl`."""
        made = self._made(each, env, policy, budget)
        kept = [line for of_need in made for line in of_need["kept"]]
        facts = {
            "needs": len(made),
            "needs_with_a_pair": sum(bool(of_need["kept"]) for of_need in made),
            "kept": len(kept),
            **self._facts(made),
        }
        if each.run.writer:
            each.run.update(pairs=facts)
            with writing(each.run.path):
                write_text(each.run.path / FILE, "".join(json.dumps(line) + "\n" for line in kept))
        return kept

    @abstractmethod
    def _made(self, each: Pass, env: Environment, policy: Any, budget: FailureBudget) -> list[OfNeed]:
        """What `each` gives for all needs; every line has a "need" (its id) and a "completion"."""

    @abstractmethod
    def _facts(self, made: Sequence[OfNeed]) -> dict[str, Any]:
        """The numbers for `run.json`, on every rank; raises `UserError` where nothing is worth keeping."""


@dataclass(frozen=True)
class Pass:
    """Goes through all needs, each process through its share."""

    needs: Sequence[Need]
    run: Run
    ranks: Ranks

    def __call__(self, make: Maker[Made], doing: str) -> list[Made]:
        """What `make` gives for each need, in their order, the same on every rank; `doing`: "searching edits of"."""
        from accelerate import PartialState
        from accelerate.utils import gather_object

        state = PartialState()
        own = list(enumerate(self.needs))[state.process_index :: state.num_processes]
        found: list[tuple[int, Made]] = []
        with self.ranks.together(), ProgressBar(quiet=not self.run.writer) as bar:
            if self.run.writer and not sys.stderr.isatty():  # where no bar is drawn
                sys.stdout.write(f"{doing} {len(own)} training needs\n")
            bar.begin(f"{doing} training needs", len(own))
            for start in range(0, len(own), CHUNK):
                block = own[start : start + CHUNK]
                made = make([need for _, need in block])
                found += [(place, of_need) for (place, _), of_need in zip(block, made, strict=True)]
                bar.advance(start + len(block), len(own))
        return [of_need for _, of_need in sorted(gather_object(found), key=lambda one: one[0])]


def taught_needs(env: Environment, count: int | None = None) -> list[Need]:
    """The first training needs, without those whose text only evaluation may use."""
    held_out = held_out_texts(env)
    return [need for need in env.task.needs("train")[:count] if group_key(need.text) not in held_out]


def mean(values: Iterable[float]) -> float | None:
    """The mean; None of nothing."""
    listed = list(values)
    return sum(listed) / len(listed) if listed else None
