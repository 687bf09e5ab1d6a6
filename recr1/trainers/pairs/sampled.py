"""Pairs that the policy wrote itself: the best of several completions of each training need.

Rejection-sampled fine-tuning (RAFT, Dong et al. 2023, arXiv 2304.06767; the "RFT" of Yuan et al. 2023, arXiv
2308.01825): sample, keep what earned most, and learn it by heart.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from recr1.env import Environment, chat_with
from recr1.errors import UserError
from recr1.policies import Policy
from recr1.runs import Run, write_text, writing
from recr1.runs.files import read_lines
from recr1.trainers.launch import FailureBudget, Ranks
from recr1.trainers.pairs.pairs import Pair, answer_ids
from retrievers.options import PositiveInt, checked
from retrievers.progress import ProgressBar
from rewards.base import Need, Search

FILE = "pairs.jsonl"
"""Where a run keeps what was sampled: sampled once, whatever stops the run later."""
CHUNK = 256
"""Needs that are sampled between two moves of the progress bar."""


@checked
class SampledPairs:
    """The best of several completions of each training need, by the rewards of the recipe.

    Only completions that are a query, end within `policy.max_new_tokens`, and earn the bound or more are kept; of equal
    ones the first. They are sampled by the starting policy at `policy.temperature`, before the first step, and written
    to `pairs.jsonl` in the run folder.

    Args:
        per_need: completions sampled for each need.
        keep: the most different completions that are kept of a need, those with the highest reward.
        at_least: what a completion must earn to be kept: the weighted reward of the recipe.
        needs: how many training needs, from the first on; null for all.
    """

    def __init__(
        self,
        *,
        per_need: PositiveInt = 8,
        keep: PositiveInt = 1,
        at_least: float = 0.01,
        needs: PositiveInt | None = None,
    ) -> None:
        self.per_need, self.keep, self.at_least, self.needs = per_need, keep, at_least, needs

    @staticmethod
    def check_options(options: Mapping[str, Any]) -> list[str]:
        """Problems that show before anything is loaded."""
        keep, per_need = options.get("keep", 1), options.get("per_need", 8)
        return [f"keep: {keep} of {per_need} completions: raise per_need"] if keep > per_need else []

    def pairs(self, env: Environment, policy: Policy, run: Run, ranks: Ranks, budget: FailureBudget) -> list[Pair]:
        """The kept pairs, in the order of the needs; from the run's folder where they are there already."""
        from accelerate.utils import broadcast_object_list

        with ranks.together():
            there = read_lines(run.path / FILE) if run.writer and (run.path / FILE).exists() else None
        (lines,) = broadcast_object_list([there])  # the folder of another rank may be on another machine
        if lines is None:
            lines = self._sampled(env, policy, run, ranks, budget)
        return [Pair(env.need(line["need"]), line["completion"], f"need '{line['need']}'") for line in lines]

    def _sampled(
        self, env: Environment, policy: Policy, run: Run, ranks: Ranks, budget: FailureBudget
    ) -> list[dict[str, Any]]:
        """Sample, and keep the best in the folder and the record of the run; returns the lines of `pairs.jsonl`."""
        from accelerate import PartialState
        from accelerate.utils import gather_object

        state = PartialState()
        needs = list(enumerate(env.task.needs("train")))[: self.needs]
        own = needs[state.process_index :: state.num_processes]
        found: list[dict[str, Any]] = []
        with ranks.together(), ProgressBar(quiet=not run.writer) as bar:
            if run.writer and not sys.stderr.isatty():  # where no bar is drawn
                sys.stdout.write(f"sampling completions of {len(own)} training needs\n")
            bar.begin("sampling training needs", len(own))
            for start in range(0, len(own), CHUNK):
                found += self._best_of(own[start : start + CHUNK], env, policy, budget)
                bar.advance(min(start + CHUNK, len(own)), len(own))
        sampled = sorted(gather_object(found), key=lambda of_need: of_need["place"])
        kept = [line for of_need in sampled for line in of_need["kept"]]
        if not kept:
            raise UserError(
                f"trainer.pairs: none of {self.per_need * len(needs)} completions of the starting policy earns "
                f"{self.at_least:g}: lower at_least, sample more per_need, or teach it from a file first"
            )
        if run.writer:
            rewards = [reward for of_need in sampled for reward in of_need["rewards"]]
            facts = {
                "needs": len(sampled),
                "needs_with_a_pair": sum(bool(of_need["kept"]) for of_need in sampled),
                "sampled": len(rewards),
                "kept": len(kept),
                "reward_of_sampled": sum(rewards) / len(rewards),
                "reward_of_kept": sum(line["reward"] for line in kept) / len(kept),
            }
            run.update(pairs=facts)
            with writing(run.path):
                write_text(run.path / FILE, "".join(json.dumps(line) + "\n" for line in kept))
        return kept

    def _best_of(
        self, needs: Sequence[tuple[int, Need]], env: Environment, policy: Any, budget: FailureBudget
    ) -> list[dict[str, Any]]:
        """For each need its place, the rewards of its completions, and the lines of those that are kept."""
        prompts = env.prompts([need for _, need in needs])
        answers = policy.generate(prompts, self.per_need)
        each = [need for _, need in needs for _ in range(self.per_need)]
        chats = [chat_with(prompt, text) for prompt, texts in zip(prompts, answers, strict=True) for text in texts]
        step = env.step(each, chats)
        budget.spend(step, alone=False)
        found = []
        for order, (place, need) in enumerate(needs):
            rows = range(order * self.per_need, (order + 1) * self.per_need)
            rewards = {row: float(step.rewards[row]) for row in rows if math.isfinite(step.rewards[row])}
            best: dict[str, float] = {}
            for row in sorted(rewards, key=lambda row: -rewards[row]):
                action, text = step.batch.rollouts[row].action, step.batch.rollouts[row].completion
                taught = rewards[row] >= self.at_least and isinstance(action, Search)
                if taught and len(answer_ids(policy.tokenizer, text)) <= policy.max_new_tokens:
                    best.setdefault(text, rewards[row])
            kept = [{"need": need.id, "completion": text, "reward": best[text]} for text in list(best)[: self.keep]]
            found.append({"place": place, "rewards": list(rewards.values()), "kept": kept})
        return found
