"""The untrained policy with examples in its prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from recr1.baselines.access import Access, Sight, introduce
from recr1.baselines.shots import Shot, best_shots, with_shots
from recr1.config.build import build
from recr1.errors import UserError
from recr1.policies.base import Policy, Spent, spent_by
from rewards.base import Chat


class FewShot:
    """A policy that reads some of its own best completions of training needs before each need.

    Args:
        policy: the policy that writes, a part of kind "policy".
        shots: how many examples stand in the prompt.
        needs: how many training needs are tried, to find them.
        samples: completions of each of these needs.
        seed: draws the needs.
    """

    sees: tuple[Sight, ...] = ("training rewards",)

    def __init__(
        self, *, policy: dict[str, Any], shots: int = 4, needs: int = 64, samples: int = 8, seed: int = 0
    ) -> None:
        if problems := self.check_options({"shots": shots, "needs": needs, "samples": samples}):
            raise UserError(problems[0])
        self.shots, self.needs, self.samples, self.seed = shots, needs, samples, seed
        self._policy: Policy = build("policy", policy)
        self._chosen: list[Shot] = []

    @staticmethod
    def check_options(options: Mapping[str, Any]) -> list[str]:
        """Problems that show before anything is loaded."""
        return [
            f"{name}: must be at least 1, got {options[name]}"
            for name in ("shots", "needs", "samples")
            if options.get(name, 1) < 1
        ]

    @property
    def spent(self) -> Spent:
        """What the policy counted."""
        return spent_by(self._policy)

    def meet(self, access: Access) -> None:
        """Finds the examples."""
        introduce(self._policy, access)
        found = best_shots(access, self._policy, needs=self.needs, samples=self.samples, seed=self.seed)
        self._chosen = found[: self.shots]

    def generate(self, chats: Sequence[Chat], n: int) -> list[list[str]]:
        """Completions of each chat: one greedy completion when n is 0, n samples otherwise."""
        return self._policy.generate([with_shots(chat, self._chosen) for chat in chats], n)
