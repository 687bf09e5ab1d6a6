"""The best of n samples of a policy, chosen by reward (an upper bound) or by agreement (a baseline)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Ge
from numpy.typing import NDArray

from recr1.baselines.access import RETRIES, ByNeed, Visible, prepare
from recr1.config.build import build
from recr1.env import Environment, chat_with
from recr1.errors import UserError
from recr1.formats import parsed
from recr1.policies.base import Policy, Spent, format_of, spent_by
from retrievers.base import Rows
from retrievers.options import checked
from rewards.base import Action, Chat, Need, Search


@checked
class BestOf(ByNeed):
    """The best of n samples of a policy.

    Chosen by reward it reads the answer key of the need: an upper bound. Chosen by agreement it takes the sample whose
    items most other samples found too, and reads no answer key.

    Args:
        policy: the policy that writes, a part of kind "policy".
        n: samples per need.
        choose: by the recipe's rewards, or by agreement of what the samples found.
    """

    sees: tuple[Visible, ...] = ("hits",)

    def __init__(
        self, *, policy: dict[str, Any], n: Annotated[int, Ge(2)] = 8, choose: Literal["reward", "agreement"] = "reward"
    ) -> None:
        self.n, self.choose = n, choose
        if choose == "reward":
            self.sees = ("answers",)
        self._policy: Policy = build("policy", policy)
        if format_of(self._policy):
            what = "always answers a need the same way; there is nothing to choose"
            raise UserError(f"policy: {policy['type']!r} {what}")

    @property
    def format(self) -> BestOf:
        """Itself: it must know which need a chat is about, and its completions are read as the policy's."""
        return self

    @property
    def spent(self) -> Spent:
        """What the policy counted."""
        return spent_by(self._policy)

    def prepare(self, env: Environment) -> None:
        """Keep what it searches and is rewarded by."""
        if self.choose == "reward" and not env.rewards:
            raise UserError("policy 'best_of' chooses by rewards, and there are none here: use choose: agreement")
        if self.choose == "agreement":
            env.refuse_candidates("the policy 'best_of' with choose: agreement", "use choose: reward")
        self._env = env
        prepare(self._policy, env)

    def parse(self, completion: str) -> Action:
        """As the task's format reads it."""
        return self._env.format.parse(completion)

    def parse_for(self, need: Need, completion: str) -> Action:
        """As the task's format reads it."""
        return parsed(self._env.format, need, completion)

    def generate(self, chats: Sequence[Chat], n: int) -> list[list[str]]:
        """`max(n, 1)` chosen completions a chat, each the best of samples of its own."""
        if not chats:
            return []
        per_chat = max(n, 1)
        size = per_chat * self.n
        needs = [self._env.need(chat[-1]["content"]) for chat in chats]
        prompts = self._env.prompts(needs)
        flat = [text for texts in self._policy.generate(prompts, size) for text in texts]
        if self.choose == "reward":
            full = [chat_with(prompts[place // size], text) for place, text in enumerate(flat)]
            rewards_B = self._env.step([need for need in needs for _ in range(size)], full, again=RETRIES).rewards
            scores_B = np.nan_to_num(rewards_B, nan=-np.inf)  # NaN where a search had no answer
        else:
            queries = [a.query if isinstance(a := self.parse(text), Search) else None for text in flat]
            rows_BK = self._env.search(queries, again=RETRIES).rows_QK
            scores_B = np.concatenate([votes(rows_BK[at : at + self.n]) for at in range(0, len(rows_BK), self.n)])
        best_G = scores_B.reshape(-1, self.n).argmax(axis=1)
        chosen = [flat[group * self.n + int(best)] for group, best in enumerate(best_G)]
        return [chosen[start : start + per_chat] for start in range(0, len(chosen), per_chat)]


def votes(rows_GK: Rows) -> NDArray[np.floating]:
    """(G,) for each ranking of one need, how many of the G rankings hold its items, on average; 0 for an empty one."""
    found, counts = np.unique(rows_GK[rows_GK >= 0], return_counts=True)
    held = [rows_K[rows_K >= 0] for rows_K in rows_GK]
    return np.array([counts[np.searchsorted(found, rows)].mean() if len(rows) else 0.0 for rows in held])
