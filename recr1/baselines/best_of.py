"""The policy that writes several queries for a need, of which one is chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from recr1.baselines.access import AGAIN, Access, ByNeed, Sight, answered, introduce, need_of
from recr1.config.build import build
from recr1.errors import UserError
from recr1.policies.base import Policy, Spent, spent_by
from retrievers.base import Rows
from rewards.base import Action, Chat, Need, Search


class BestOf:
    """The best of n samples of a policy.

    Chosen by reward it reads the answer key of the need: an upper bound, which no rival without the key reaches. Chosen
    by agreement it is a rival: it takes the sample whose items most other samples found too, and reads no answer.

    Args:
        policy: the policy that writes, a part of kind "policy".
        n: samples per need.
        choose: by the recipe's rewards, or by agreement of what the samples found.
    """

    def __init__(
        self, *, policy: dict[str, Any], n: int = 8, choose: Literal["reward", "agreement"] = "reward"
    ) -> None:
        if problems := self.check_options({"n": n}):
            raise UserError(problems[0])
        self.n, self.choose = n, choose
        self._policy: Policy = build("policy", policy)
        if hasattr(self._policy, "format"):
            raise UserError(f"policy: {policy['type']!r} answers a need always alike, so that there is none to choose")
        self._access: Access | None = None

    @staticmethod
    def check_options(options: Mapping[str, Any]) -> list[str]:
        """Problems that show before anything is loaded."""
        n = options.get("n", 2)
        return [] if n >= 2 else [f"n: must be at least 2 samples, got {n}"]

    @property
    def sees(self) -> tuple[Sight, ...]:
        """The answers, or what searches found."""
        return ("answers",) if self.choose == "reward" else ("hits",)

    @property
    def format(self) -> BestOf:
        """Itself: it must know which need a chat is of, and its completions are read as the policy's."""
        return self

    @property
    def spent(self) -> Spent:
        """What the policy counted."""
        return spent_by(self._policy)

    def meet(self, access: Access) -> None:
        """Keeps what it searches and is paid by."""
        if self.choose == "reward" and not access.rewards:
            raise UserError("policy 'best_of' chooses by rewards, and there are none here: use choose: agreement")
        self._access = access
        introduce(self._policy, access)

    @property
    def _known(self) -> Access:
        assert self._access is not None, "meet() comes first"
        return self._access

    def render(self, need: Need) -> Chat:
        """The need's id: the policy's own prompt is made of it when it writes."""
        return ByNeed().render(need)

    def parse(self, completion: str) -> Action:
        """As the task's format reads it."""
        return self._known.format.parse(completion)

    def generate(self, chats: Sequence[Chat], n: int) -> list[list[str]]:
        """`max(n, 1)` chosen completions a chat, each the best of samples of its own."""
        per_chat = max(n, 1)
        needs = [need_of(chat, self._known) for chat in chats]
        prompts = self._known.prompts(needs)
        flat = [text for texts in self._policy.generate(prompts, per_chat * self.n) for text in texts]
        size = per_chat * self.n
        scores_B = (
            self._rewards(
                [need for need in needs for _ in range(size)],
                [answered(prompts[place // size], text) for place, text in enumerate(flat)],
            )
            if self.choose == "reward"
            else self._agreements(flat)
        )
        best_G = scores_B.reshape(-1, self.n).argmax(axis=1)
        chosen = [flat[group * self.n + int(best)] for group, best in enumerate(best_G)]
        return [chosen[start : start + per_chat] for start in range(0, len(chosen), per_chat)]

    def _rewards(self, needs: Sequence[Need], chats: Sequence[Chat]) -> NDArray[np.floating]:
        """(B,) what each completion is paid; -inf where a search had no answer, which cannot be chosen for that."""
        return np.nan_to_num(self._known.step(needs, chats, again=AGAIN).rewards, nan=-np.inf)

    def _agreements(self, completions: Sequence[str]) -> NDArray[np.floating]:
        """(B,) the mean number of samples of its group that found an item, over the items that each one found."""
        actions = [self.parse(text) for text in completions]
        queries = [action.query if isinstance(action, Search) else None for action in actions]
        rows_BK = self._known.search(queries, again=AGAIN).rows_QK
        return np.concatenate([votes(rows_BK[start : start + self.n]) for start in range(0, len(rows_BK), self.n)])


def votes(rows_GK: Rows) -> NDArray[np.floating]:
    """(G,) for each ranking of one need, how many of the G hold its items, on average; 0 for an empty ranking."""
    found, counts = np.unique(rows_GK[rows_GK >= 0], return_counts=True)
    held = [rows_K[rows_K >= 0] for rows_K in rows_GK]
    return np.array([counts[np.searchsorted(found, rows)].mean() if len(rows) else 0.0 for rows in held])
