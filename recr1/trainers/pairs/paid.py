"""What queries of training needs earn, for pairs that are chosen by rewards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from recr1.baselines.best_edit import EditSearch
from recr1.baselines.edit_model import Attempt, attempts
from recr1.env import Environment, chat_with
from recr1.trainers.launch import WINDOW, FailureBudget
from recr1.trainers.pairs.pairs import answer_ids, writer_of
from retrievers.base import Floats
from rewards.base import Need, Search


class Paid:
    """What queries of some needs earn, as the completions that ask for them."""

    def __init__(self, needs: Sequence[Need], env: Environment, policy: Any, budget: FailureBudget) -> None:
        self.needs, self.env, self.policy, self.budget = needs, env, policy, budget
        self.prompts, self.write = env.prompts(needs), writer_of(env.format)

    def written(self, samples: int) -> list[list[str]]:
        """Queries that the policy writes for each need, without repeats."""
        found = []
        for texts in self.policy.generate(self.prompts, samples):
            actions = map(self.env.format.parse, texts)
            queries = [a.query for a in actions if isinstance(a, Search) and isinstance(a.query, str)]
            found.append(list(dict.fromkeys(queries)))
        return found

    def attempts(self, search: EditSearch) -> list[list[Attempt]]:
        """What edits of each need gain."""
        return attempts(search, [need.text for need in self.needs], self)

    def __call__(self, places: Sequence[int], queries: Sequence[str]) -> Floats:
        """(Q,) the rewards of queries for the needs in these places; NaN for one that has none."""
        values_Q = np.full(len(queries), np.nan, np.float32)
        for start in range(0, len(queries), WINDOW):  # as many as a failure budget counts
            own, chats, rows = [], [], []
            for row in range(start, min(start + WINDOW, len(queries))):
                if (text := self._answer(queries[row])) is not None:
                    rows.append(row)
                    own.append(self.needs[places[row]])
                    chats.append(chat_with(self.prompts[places[row]], text))
            if rows:
                step = self.env.step(own, chats)
                self.budget.spend(step, alone=False)
                values_Q[rows] = step.rewards
        return values_Q

    def whole(self, query: str) -> bool:
        """Whether the policy may write the completion that asks for it, and its end."""
        return bool(len(answer_ids(self.policy.tokenizer, self.write(query))) <= self.policy.max_new_tokens)

    def _answer(self, query: str) -> str | None:
        try:
            return self.write(query)
        except ValueError:  # no completion asks for it
            return None
