"""What is checked at each step: hits, rewards and prompts, so that no number is silently wrong."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recr1.choosing import PickOne
from recr1.errors import LeakError, UserError, shown
from recr1.formats import Format
from recr1.ranking import Ranking
from recr1.tasks.base import HasCanary, Task, splits_of
from retrievers.base import Floats, Hits
from rewards.abilities import check_data
from rewards.base import Batch, Chat, Need, Reward


class ContractError(RuntimeError):
    """A retriever or a reward returned something that its interface forbids: the run stops."""


def checked_hits(hits: Hits, retriever: object, queries: int, k: int, items: int, kind: str = "retriever") -> Hits:
    """The hits of this many queries; raises `ContractError` unless a measure can be computed from them."""
    who = f"{kind} {type(retriever).__name__}"
    expected = ((queries, k), np.int32), ((queries, k), np.float32)
    for name, array, (shape, dtype) in zip(Hits._fields, hits, expected, strict=True):
        if not isinstance(array, np.ndarray) or array.shape != shape or array.dtype != dtype:
            raise ContractError(
                f"{who} returned {name} as {_describe(array)}; a search of {queries} queries for k={k} must "
                f"return {dtype.__name__} of shape {shape}"
            )
    rows, scores = hits
    outside = rows[(rows < -1) | (rows >= items)]
    if len(outside):
        raise ContractError(f"{who} returned row {outside[0]}; the catalog has {items} items")
    if ((rows[:, 1:] >= 0) & (rows[:, :-1] < 0)).any():
        raise ContractError(f"{who} returned an item after a -1; padding belongs at the end")
    if np.isnan(scores).any() or (scores[:, 1:] > scores[:, :-1]).any():
        raise ContractError(f"{who} returned scores that are NaN or rise along the ranking")
    ordered = np.sort(rows, axis=1)
    if ((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)).any():
        raise ContractError(f"{who} returned one item twice for the same query")
    return hits


def check_fit(reward: Reward, task: Task) -> None:
    """Raises `UserError` for a reward that cannot read the fields or grades of a task."""
    try:
        check_data(reward, task.catalog, task.qrels)
    except ValueError as error:
        raise UserError(f"reward '{reward.name}' does not fit this task: {error}") from error


def has_candidates(task: Task) -> bool:
    """Whether needs have candidates, so that these are put in order and the catalog is not searched."""
    return any(need.candidates for needs in splits_of(task).values() for need in needs)


def check_candidates(answer_format: Format, task: Task) -> None:
    """Raises `UserError` for a format of candidates where needs have none."""
    if isinstance(answer_format, Ranking | PickOne) and not has_candidates(task):
        name = "ranking" if isinstance(answer_format, Ranking) else "pick_one"
        raise UserError(
            f"task.format: {name}: the needs of this task have no candidates; give them some with task: "
            "{type: reranking, task: {type: ...}} or the option candidates of sequential, or choose another format"
        )


def checked_reward(reward: Reward, batch: Batch) -> Floats:
    """(B,) the rewards of a batch; raises `ContractError` unless there is a finite number for each rollout."""
    values = reward(batch)
    if not isinstance(values, np.ndarray) or values.shape != (len(batch),) or values.dtype.kind not in "fiub":
        raise ContractError(
            f"reward '{reward.name}' returned {_describe(values)}; {len(batch)} rollouts need float32 of shape "
            f"({len(batch)},)"
        )
    with np.errstate(over="ignore"):  # what overflows becomes inf, which the next check reports
        values_B: Floats = values.astype(np.float32, copy=False)
    finite_B = np.isfinite(values_B)
    if not finite_B.all():
        row = int(np.argmin(finite_B))
        raise ContractError(
            f"reward '{reward.name}' returned {values_B[row]} for need '{batch.rollouts[row].need.id}' "
            f"(completion {batch.rollouts[row].completion[:80]!r}); rewards must be finite"
        )
    return values_B


@dataclass(frozen=True)
class Canary:
    """A text that is in every item, so a prompt with it shows the policy an item; empty if a task declares none."""

    text: str

    @classmethod
    def of(cls, task: Task) -> Canary:
        """The canary that a task declares; raises `UserError` where some item does not hold it."""
        text = task.canary if isinstance(task, HasCanary) else ""
        for item, own_text in zip(task.catalog.ids, task.catalog.texts, strict=True) if text else ():
            if text not in own_text:
                raise UserError(
                    f"the canary {shown(text)} is not in the text of item '{item}': add it to every item, or it "
                    "detects a leak of some items only"
                )
        return cls(text)

    def check(self, need: Need, prompt: Chat) -> None:
        """Raises `LeakError` where the prompt holds the canary."""
        if self.text and any(self.text in message["content"] for message in prompt):
            raise LeakError(
                f"the prompt of need '{need.id}' holds the canary {self.text!r}: the policy is shown the text of an "
                "item; check task.format, and whatever else writes into prompts"
            )


def _describe(value: object) -> str:
    return f"{value.dtype} of shape {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__
