"""Credit by place: each number of a list is paid for what its place and the later ones earn, not for the whole list.

An advantage for each place of a list is the idea of Rank-GRPO (Zhu et al. 2025, arXiv 2510.20150). Let R be what a list
earns, and R_k what its first k places alone earn. A token that is written after k places is credited with

    to_go:  R - (R_k - R_0)          all but what the places before it have earned already
    own:    R_0 + (R_k+1 - R_k)      what the next place adds

and its advantage compares that with the same place in the other lists of its group. With nDCG these are the two rewards
of the paper, the rest of the DCG and the item's own, as shares of the best DCG. The gradient of `to_go` is that of the
whole reward with less noise: nothing that is written later can change what earlier places earned. That of `own` is not:
a place then does not care what it takes from the next ones. The ratio and its clip stay those that `trl` says.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from recr1.env import Environment, chat_with
from recr1.env.checks import checked_reward
from recr1.trainers.trl.additions import Addition
from retrievers.base import Floats, Hits
from rewards.base import Batch, Doubles

if TYPE_CHECKING:
    from torch import Tensor

Credit: TypeAlias = Literal["whole", "to_go", "own"]
"""What a token of a list is paid for: the whole list, its place and all later ones, or its place alone."""


def rewards_of_prefixes(env: Environment, batch: Batch, places: int) -> Floats:
    """(B, places + 1) the weighted reward of the first 0, 1, ... places of each list; the others are empty."""
    columns = []
    for length in range(places + 1):
        rows_BK, scores_BK = batch.hits.rows_QK.copy(), batch.hits.scores_QK.copy()
        rows_BK[:, length:], scores_BK[:, length:] = -1, -np.inf
        part = replace(batch, hits=Hits(rows_BK, scores_BK))
        columns.append(sum(np.float32(weight) * checked_reward(reward, part) for reward, weight in env.rewards))
    return np.stack(columns, axis=1).astype(np.float32)


def credits_of(rewards_B: Floats, prefixes_BP: Floats, credit: Credit) -> Doubles:
    """(B, P + 1) what a token is credited with that is written after 0, 1, ... P places, see the module."""
    before_BP = prefixes_BP.astype(np.float64)
    if credit == "own":
        return before_BP[:, :1] + np.diff(before_BP, axis=1, append=before_BP[:, -1:])
    return rewards_B[:, None] - (before_BP - before_BP[:, :1])


def places_of(decode: Callable[[Sequence[int]], str], ids_T: Sequence[int], ends: Sequence[int]) -> list[int]:
    """(T,) how many of a list's numbers were complete before each token; `ends` are where they end in the text."""
    starts = [len(decode(ids_T[:count])) for count in range(len(ids_T))]
    places: list[int] = np.searchsorted(ends, starts, side="right").tolist()
    return places


class ListCredit(Addition):
    """Gives a batch the advantages of places, (B, T)."""

    def __init__(self, credit: Credit, advantages: Callable[[Tensor, int, Any], Tensor]) -> None:
        self.credit, self.advantages, self._rows = credit, advantages, list[dict[str, Any]]()

    def before_scoring(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Keep which needs are answered."""
        self._rows = rows
        return rows

    def after_scoring(self, batch: dict[str, Any], rewards_B: Any) -> None:
        """Compute them over all processes, and take this process's part."""
        import torch
        from accelerate.utils import gather_object

        trainer, env = self.trainer, self.trainer.reward_funcs[0].env
        ids_B = batch["completion_ids"].tolist()
        texts = list(map(self._decode, ids_B))
        needs = [env.need(row["need_id"]) for row in self._rows]
        chats = [chat_with(row["prompt"], text) for row, text in zip(self._rows, texts, strict=True)]
        step = env.step(needs, chats, training_step=int(trainer.state.global_step))
        most = max(gather_object([len(need.candidates) for need in needs]))  # one width, and one "batch" to scale by
        prefixes_BP = rewards_of_prefixes(env, step.batch, most)
        paid_BP = credits_of(trainer.own(rewards_B).double().cpu().numpy(), prefixes_BP, self.credit)
        device = rewards_B.device
        all_BP = trainer.accelerator.gather(torch.tensor(paid_BP, dtype=torch.float32, device=device))
        columns = [self.advantages(column, trainer.num_generations, trainer.scale_rewards) for column in all_BP.T]
        places_BT = torch.zeros_like(batch["completion_ids"])
        for row, (need, text, ids) in enumerate(zip(needs, texts, ids_B, strict=True)):
            places_BT[row] = torch.tensor(places_of(self._decode, ids, env.format.ends(need, text)), device=device)
        batch["advantages"] = trainer.own(torch.stack(columns, dim=1)).gather(1, places_BT)

    def _decode(self, ids: Sequence[int]) -> str:
        return str(self.trainer.processing_class.decode(ids, skip_special_tokens=True))
