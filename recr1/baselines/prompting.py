"""The untrained policy with a better prompt, found with rewards of training needs: what training has to beat.

Few-shot examples are the policy's own best completions. They come from the training split and its rewards, which
reinforcement learning has too, and hold no text of the catalog that the policy did not write.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from typing import Annotated, Any, NamedTuple

import numpy as np
from annotated_types import Ge

from recr1.baselines.access import RETRIES, Visible, prepare
from recr1.config.build import build
from recr1.env import Environment, chat_with
from recr1.formats import parsed
from recr1.policies.base import HasContext, Policy, Spent, spent_by
from retrievers.options import PositiveInt, checked
from rewards.base import Chat, Invalid, Message, Need

INSTRUCTIONS = (
    "Use the words that a shop would print on the product, not the shopper's.",
    "Keep product, material, colour and size. Leave out everything else that the shopper says.",
    "Write at most six words.",
    "Add synonyms of the most important words.",
    "Name the product first, then what sets it apart.",
    "If the shopper describes a use, name the kind of product that serves it.",
)
"""What is tried, each alone and with examples, besides no instruction at all."""

SHOTS = (0, 2, 4, 8)  # numbers of examples that are tried


class Shot(NamedTuple):
    """A few-shot example: a prompt, and a completion that got a high reward."""

    prompt: Chat
    completion: str
    reward: float


class Prompt(NamedTuple):
    """What is added to each chat."""

    instruction: str = ""
    shots: tuple[Shot, ...] = ()

    def of(self, chat: Chat) -> list[Message]:
        """The chat with the instruction at the end of its system message, and the examples as turns before its own."""
        system = "\n\n".join(message["content"] for message in chat if message["role"] == "system")
        opening = "\n\n".join(part for part in (system, self.instruction) if part)
        messages: list[Message] = [{"role": "system", "content": opening}] if opening else []
        for shot in self.shots:
            messages += chat_with(_turns(shot.prompt), shot.completion)
        return messages + _turns(chat)


def _turns(chat: Chat) -> list[Message]:
    return [message for message in chat if message["role"] != "system"]


def best_shots(env: Environment, policy: Policy, *, needs: int, samples: int, seed: int) -> list[Shot]:
    """For each of some training needs the best of the policy's samples, best first; only valid ones with a reward > 0.

    `needs` and `samples` are how many needs the seed draws, and how many completions each of them gets.
    """
    pool = env.task.needs("train")
    drawn = Random(seed).sample(list(pool), min(needs, len(pool)))
    prompts = env.prompts(drawn)
    written = policy.generate(prompts, samples)
    chats = [chat_with(prompt, text) for prompt, texts in zip(prompts, written, strict=True) for text in texts]
    step = env.step([need for need in drawn for _ in range(samples)], chats, again=RETRIES)
    rewards_NS = np.nan_to_num(step.rewards, nan=-np.inf).reshape(len(drawn), samples)
    shots = [
        Shot(prompt, texts[best], float(rewards_S[best]))
        for need, prompt, texts, rewards_S in zip(drawn, prompts, written, rewards_NS, strict=True)
        if rewards_S[best := int(rewards_S.argmax())] > 0
        and not isinstance(parsed(env.format, need, texts[best]), Invalid)
    ]
    return sorted(shots, key=lambda shot: -shot.reward)


class _WithPrompt:
    """A policy whose prompt is chosen before the first chat."""

    sees: tuple[Visible, ...] = ("training rewards",)

    def __init__(self, policy: Mapping[str, Any]) -> None:
        self._policy: Policy = build("policy", policy)
        self.chosen = Prompt()

    @property
    def spent(self) -> Spent:
        """What the policy counted."""
        return spent_by(self._policy)

    def generate(self, chats: Sequence[Chat], n: int) -> list[list[str]]:
        """Completions of each chat: one greedy completion when n is 0, n samples otherwise."""
        return self._policy.generate([fitting(self.chosen, chat, self._policy) for chat in chats], n)


def fitting(prompt: Prompt, chat: Chat, policy: Policy) -> list[Message]:
    """The chat with a prompt; the last examples are left out as far as the policy's context has no room for them."""
    shots = prompt.shots
    while shots and isinstance(policy, HasContext) and not policy.fits(prompt._replace(shots=shots).of(chat)):
        shots = shots[:-1]
    return prompt._replace(shots=shots).of(chat)


@checked
class FewShot(_WithPrompt):
    """A policy that reads some of its own best completions of training needs before each need.

    Args:
        policy: the policy that writes, a part of kind "policy".
        shots: how many examples the prompt has.
        needs: how many training needs are tried to find them.
        samples: completions of each of these needs.
        seed: draws the needs.
    """

    def __init__(
        self,
        *,
        policy: dict[str, Any],
        shots: PositiveInt = 4,
        needs: PositiveInt = 64,
        samples: PositiveInt = 8,
        seed: int = 0,
    ) -> None:
        super().__init__(policy)
        self.shots, self.needs, self.samples, self.seed = shots, needs, samples, seed

    def prepare(self, env: Environment) -> None:
        """Find the examples."""
        prepare(self._policy, env)
        found = best_shots(env, self._policy, needs=self.needs, samples=self.samples, seed=self.seed)
        self.chosen = Prompt("", tuple(found[: self.shots]))


@checked
class PromptSearch(_WithPrompt):
    """A policy whose instruction and examples are chosen on training needs by the recipe's own rewards.

    Successive halving (Jamieson and Talwalkar 2016): all prompts are tried on a few training needs, the better half of
    them on others, and so on, each round with an equal part of the budget. The unchanged prompt is one of them. The
    examples are the policy's own best completions of training needs, in several draws.

    Args:
        policy: the policy that writes, a part of kind "policy".
        instructions: sentences to try at the end of the system message; default: six of ours.
        prompts: how many prompts are tried.
        budget: completions that the search may write, with those that the examples are taken from.
        seed: draws needs, examples and prompts.
    """

    def __init__(
        self,
        *,
        policy: dict[str, Any],
        instructions: list[str] | None = None,
        prompts: Annotated[int, Ge(2)] = 16,
        budget: PositiveInt = 4000,
        seed: int = 0,
    ) -> None:
        super().__init__(policy)
        self.instructions = tuple(INSTRUCTIONS if instructions is None else instructions)
        self.prompts, self.budget, self.seed = prompts, budget, seed

    @staticmethod
    def check_options(options: Mapping[str, Any]) -> list[str]:
        """Whether the budget is enough for the prompts, and no instruction is empty."""
        prompts, budget, problems = options.get("prompts", 16), options.get("budget", 4000), []
        if budget < 8 * prompts:
            problems.append(f"budget: must be an integer >= {8 * prompts} for {prompts} prompts, got {budget}")
        if any(not sentence.strip() for sentence in options.get("instructions") or ()):
            problems.append("instructions: an empty sentence; leave it out, no instruction is always tried")
        return problems

    def prepare(self, env: Environment) -> None:
        """Search the prompt."""
        prepare(self._policy, env)
        samples = 8
        needs = max(self.budget // (4 * samples), 1)
        pool = best_shots(env, self._policy, needs=needs, samples=samples, seed=self.seed)
        alive = self._candidates(pool)
        rng = Random(self.seed + 1)
        order = rng.sample(list(env.task.needs("train")), len(env.task.needs("train")))
        left, start = self.budget - needs * samples, 0
        while len(alive) > 1:
            rounds = (len(alive) - 1).bit_length()
            size = max(left // (rounds * len(alive)), 1)
            drawn = [order[(start + place) % len(order)] for place in range(min(size, len(order)))]
            means = [self._mean(env, prompt, drawn) for prompt in alive]
            best = sorted(range(len(alive)), key=lambda place: -means[place])[: (len(alive) + 1) // 2]
            # In the order in which they were made: of equals the simpler one stays.
            alive = [alive[place] for place in sorted(best)]
            left, start = left - len(drawn) * len(means), start + len(drawn)
        self.chosen = alive[0]

    def _candidates(self, pool: Sequence[Shot]) -> list[Prompt]:
        """Different prompts, the unchanged one first; examples are drawn from the better half of the pool."""
        rng = Random(self.seed)
        better = pool[: max(len(pool) // 2, min(len(pool), max(SHOTS)))]
        found = [Prompt(), *(Prompt(sentence) for sentence in self.instructions[: self.prompts // 2])]
        for _ in range(50 * self.prompts):
            if len(found) >= self.prompts:
                break
            shots = tuple(rng.sample(better, min(rng.choice(SHOTS), len(better))))
            prompt = Prompt(rng.choice(["", *self.instructions]), shots)
            found += [] if prompt in found else [prompt]
        return found

    def _mean(self, env: Environment, prompt: Prompt, needs: Sequence[Need]) -> float:
        """The mean reward of greedy completions; searches without an answer do not count."""
        chats = env.prompts(needs)
        written = self._policy.generate([fitting(prompt, chat, self._policy) for chat in chats], 0)
        complete = [chat_with(chat, texts[0]) for chat, texts in zip(chats, written, strict=True)]
        rewards = env.step(needs, complete, again=RETRIES).rewards
        return float(np.nanmean(rewards)) if not np.isnan(rewards).all() else -np.inf
