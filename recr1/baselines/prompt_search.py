"""The untrained policy with the best prompt that a search on training needs found: the cheap rival of training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from typing import Any, NamedTuple

import numpy as np

from recr1.baselines.access import AGAIN, Access, Sight, answered, introduce
from recr1.baselines.shots import Shot, best_shots, with_shots
from recr1.config.build import build
from recr1.errors import UserError
from recr1.policies.base import Policy, Spent, spent_by
from rewards.base import Chat, Need

INSTRUCTIONS = (
    "Use the words that a shop would print on the product, not the shopper's.",
    "Keep product, material, colour and size. Leave out everything else that the shopper says.",
    "Write at most six words.",
    "Add synonyms of the most important words.",
    "Name the product first, then what sets it apart.",
    "If the shopper describes a use, name the kind of product that serves it.",
)
"""What is tried, each alone and with examples, beside no instruction at all."""

SHOTS = (0, 2, 4, 8)
"""Numbers of examples that are tried."""


class Prompt(NamedTuple):
    """One prompt that is tried."""

    instruction: str
    shots: tuple[Shot, ...]


class PromptSearch:
    """A policy whose instruction and examples were chosen on training needs by the recipe's own rewards.

    Successive halving (Jamieson and Talwalkar 2016): all prompts are tried on a few training needs, the better half of
    them on other ones, and so on; the prompt as it was is among them, and every rest of the budget is shared alike. The
    examples are the policy's own best completions of training needs, in several draws.

    Args:
        policy: the policy that writes, a part of kind "policy".
        instructions: sentences to try at the end of the system message; default: six of our own.
        prompts: how many prompts are tried.
        budget: completions that may be written for the search, with those among which examples are found.
        seed: draws needs, examples and prompts.
    """

    sees: tuple[Sight, ...] = ("training rewards",)

    def __init__(
        self,
        *,
        policy: dict[str, Any],
        instructions: list[str] | None = None,
        prompts: int = 16,
        budget: int = 4000,
        seed: int = 0,
    ) -> None:
        if problems := self.check_options({"instructions": instructions, "prompts": prompts, "budget": budget}):
            raise UserError(problems[0])
        self.instructions = tuple(INSTRUCTIONS if instructions is None else instructions)
        self.prompts, self.budget, self.seed = prompts, budget, seed
        self._policy: Policy = build("policy", policy)
        self.chosen = Prompt("", ())

    @staticmethod
    def check_options(options: Mapping[str, Any]) -> list[str]:
        """Problems that show before anything is loaded."""
        prompts, problems = options.get("prompts", 16), []
        if prompts < 2:
            problems.append(f"prompts: must be at least 2, got {prompts}")
        least = 8 * prompts
        if options.get("budget", 4000) < least:
            problems.append(f"budget: {prompts} prompts need at least {least} completions, got {options['budget']}")
        if any(not sentence.strip() for sentence in options.get("instructions") or ()):
            problems.append("instructions: an empty sentence; to try none at all needs no entry")
        return problems

    @property
    def spent(self) -> Spent:
        """What the policy counted."""
        return spent_by(self._policy)

    def meet(self, access: Access) -> None:
        """Searches the prompt."""
        introduce(self._policy, access)
        samples = 8
        needs = max(self.budget // (4 * samples), 1)
        pool = best_shots(access, self._policy, needs=needs, samples=samples, seed=self.seed)
        alive = self._candidates(pool)
        rng = Random(self.seed + 1)
        order = rng.sample(list(access.task.needs("train")), len(access.task.needs("train")))
        left, start = self.budget - needs * samples, 0
        while len(alive) > 1:
            rounds = (len(alive) - 1).bit_length()
            size = max(left // (rounds * len(alive)), 1)
            drawn = [order[(start + place) % len(order)] for place in range(min(size, len(order)))]
            means = [self._mean(access, prompt, drawn) for prompt in alive]
            best = sorted(range(len(alive)), key=lambda place: -means[place])[: (len(alive) + 1) // 2]
            # In the order in which they were made, so that of equals the plainer one stays.
            alive = [alive[place] for place in sorted(best)]
            left, start = left - len(drawn) * len(means), start + len(drawn)
        self.chosen = alive[0]

    def _candidates(self, pool: Sequence[Shot]) -> list[Prompt]:
        """Different prompts, the one without anything first; those with examples draw them from the better half."""
        rng = Random(self.seed)
        better = pool[: max(len(pool) // 2, min(len(pool), max(SHOTS)))]
        found = [Prompt("", ()), *(Prompt(sentence, ()) for sentence in self.instructions[: self.prompts // 2])]
        for _ in range(50 * self.prompts):
            if len(found) >= self.prompts:
                break
            shots = tuple(rng.sample(better, min(rng.choice(SHOTS), len(better))))
            prompt = Prompt(rng.choice(["", *self.instructions]), shots)
            found += [] if prompt in found else [prompt]
        return found

    def _mean(self, access: Access, prompt: Prompt, needs: Sequence[Need]) -> float:
        chats = access.prompts(needs)
        written = self._policy.generate([with_shots(chat, prompt.shots, prompt.instruction) for chat in chats], 0)
        complete = [answered(chat, texts[0]) for chat, texts in zip(chats, written, strict=True)]
        # A search without an answer says nothing of the prompt.
        rewards = access.step(needs, complete, again=AGAIN).rewards
        return float(np.nanmean(rewards)) if not np.isnan(rewards).all() else -np.inf

    def generate(self, chats: Sequence[Chat], n: int) -> list[list[str]]:
        """Completions of each chat: one greedy completion when n is 0, n samples otherwise."""
        prompt = self.chosen
        return self._policy.generate([with_shots(chat, prompt.shots, prompt.instruction) for chat in chats], n)
