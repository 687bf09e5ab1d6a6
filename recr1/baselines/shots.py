"""Examples for a prompt, taken from a policy itself: its own best completions of training needs.

They come from the training split and its rewards, which is what reinforcement learning has, and hold no text of the
catalog that the policy did not write.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import NamedTuple

import numpy as np

from recr1.baselines.access import AGAIN, Access, answered
from recr1.policies.base import Policy
from rewards.base import Chat, Message, Search


class Shot(NamedTuple):
    """A prompt, and a completion that was paid well."""

    prompt: Chat
    completion: str
    reward: float


def best_shots(access: Access, policy: Policy, *, needs: int, samples: int, seed: int) -> list[Shot]:
    """The best of `samples` completions of each of some training needs, best first; without what found or paid nothing.

    Args:
        access: where the needs and the rewards are.
        policy: writes the completions.
        needs: how many training needs are drawn.
        samples: completions of each.
        seed: draws the needs.
    """
    pool = access.task.needs("train")
    drawn = Random(seed).sample(list(pool), min(needs, len(pool)))
    prompts = access.prompts(drawn)
    written = policy.generate(prompts, samples)
    flat = [(need, prompt, text) for need, prompt, texts in zip(drawn, prompts, written, strict=True) for text in texts]
    step = access.step([need for need, _, _ in flat], [answered(prompt, text) for _, prompt, text in flat], again=AGAIN)
    rewards_NS = np.nan_to_num(step.rewards, nan=-np.inf).reshape(len(drawn), samples)
    shots = [
        Shot(prompt, texts[best], float(rewards_S[best]))
        for prompt, texts, rewards_S in zip(prompts, written, rewards_NS, strict=True)
        if rewards_S[best := int(rewards_S.argmax())] > 0 and isinstance(access.format.parse(texts[best]), Search)
    ]
    return sorted(shots, key=lambda shot: -shot.reward)


def with_shots(chat: Chat, shots: Sequence[Shot], instruction: str = "") -> list[Message]:
    """The chat with an instruction at the end of its system message, and with examples as turns before its own."""
    system = "\n\n".join(message["content"] for message in chat if message["role"] == "system")
    opening = "\n\n".join(part for part in (system, instruction) if part)
    messages: list[Message] = [{"role": "system", "content": opening}] if opening else []
    for shot in shots:
        messages += answered(_turns(shot.prompt), shot.completion)
    return messages + _turns(chat)


def _turns(chat: Chat) -> list[Message]:
    return [message for message in chat if message["role"] != "system"]
