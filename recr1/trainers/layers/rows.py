"""Many texts in few rows without padding: what all begin with, and what some of them continue with, is read once.

    what all begin with | rest of prompt 1 | answer 1 | answer 2 | rest of prompt 2 | answer 3 | ...

An answer sees its own prompt and itself alone, and its positions continue those of its prompt, so that every token has
the log-probability that it has in a row of its own, up to rounding. Nothing is predicted from the last token of an
answer, so it is in the labels alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import takewhile
from typing import TYPE_CHECKING, NamedTuple

from recr1.trainers.pairs.pairs import IGNORED

if TYPE_CHECKING:
    from torch import Tensor

ROW = 256
"""Tokens of a row, at most; what is longer has a row of its own. Attention costs the square of it."""
SHARED, EMPTY = -1, -2
"""In place of the number of a prompt or an answer: what several share, and a place without a token."""


class Packed(NamedTuple):
    """B answers in R rows of L tokens, for a model; the labels (R, L) are the answers', and -100 elsewhere."""

    input_ids: Tensor
    position_ids: Tensor
    attention_mask: Tensor
    """(R, 1, L, L): which token sees which."""
    labels: Tensor
    rows: Tensor
    """(B,): the row of each answer."""
    starts: Tensor
    """(B,): the place of the label of its first token."""

    def places(self, length: int) -> tuple[Tensor, Tensor]:
        """Two indices, (B, 1) and (B, T): the places before the first T tokens of each answer, which predict them.

        Behind the end of an answer they are places of others.
        """
        import torch

        columns = self.starts[:, None] - 1 + torch.arange(length, device=self.starts.device)
        return self.rows[:, None], columns.clamp(max=self.labels.shape[1] - 2)


class Prompted(NamedTuple):
    """A prompt and its answers, with a label for each of their tokens; what is before an answer does not predict it."""

    prompt: list[int]
    answers: list[tuple[list[int], list[int]]]


def common(texts: Sequence[Sequence[int]]) -> int:
    """How many tokens all texts begin with."""
    return sum(1 for _ in takewhile(lambda tokens: len(set(tokens)) == 1, zip(*texts, strict=False)))


def arranged(begin: list[int], groups: Sequence[Prompted]) -> Packed:
    """All answers, in the order of their groups; `begin` is what comes before each prompt.

    A group that fits into one row is in one; any other repeats its prompt in each of its rows.
    """
    import torch

    rows: list[_Row] = []
    found: list[tuple[int, int]] = []
    for number, (prompt, answers) in enumerate(groups):
        own = None
        for place, (ids, labels) in enumerate(answers):
            wanted = len(ids) - 1 if place else len(prompt) + sum(len(each) - 1 for each, _ in answers)
            if not rows or len(rows[-1].ids) + wanted > ROW:
                rows.append(_Row())
                rows[-1].add(begin, 0, SHARED, SHARED)
            if own is not rows[-1]:
                own = rows[-1]
                own.add(prompt, len(begin), number, SHARED)
            found.append((len(rows) - 1, len(own.ids) + 1))
            own.add(ids[:-1], len(begin) + len(prompt), number, len(found), labels[1:])
    width = max(len(row.ids) for row in rows) + 1  # the label of a row's last token is in the place behind it

    def table(columns: Iterable[list[int]], empty: int) -> Tensor:
        return torch.tensor([column + [empty] * (width - len(column)) for column in columns])

    sees_what = sees(*(table((getattr(row, level) for row in rows), EMPTY) for level in ("prompts", "answers")))
    return Packed(
        table((row.ids for row in rows), 0),
        table((row.positions for row in rows), 0),
        sees_what,
        table(([IGNORED, *row.targets] for row in rows), IGNORED),
        *torch.tensor(found).T,
    )


class _Row:
    """A row that is filled from the left, token by token."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.positions: list[int] = []
        self.targets: list[int] = []
        """What each token predicts."""
        self.prompts: list[int] = []
        self.answers: list[int] = []
        """The numbers of the prompt and of the answer that each token belongs to."""

    def add(self, ids: list[int], position: int, prompt: int, answer: int, targets: list[int] | None = None) -> None:
        """More tokens of one prompt and one answer; the first has this position."""
        self.ids += ids
        self.positions += range(position, position + len(ids))
        self.targets += [IGNORED] * len(ids) if targets is None else targets
        self.prompts += [prompt] * len(ids)
        self.answers += [answer] * len(ids)


def sees(*levels: Tensor) -> Tensor:
    """(R, 1, L, L): each token sees, up to itself, what on every level (R, L) is its own or `SHARED`.

    A place without a token is `EMPTY`. It sees itself: a softmax over nothing is not a number.
    """
    import torch

    seen = torch.ones(levels[0].shape[1], dtype=torch.bool, device=levels[0].device).expand(1, levels[0].shape[1], -1)
    for level in levels:
        here, there = level[:, :, None], level[:, None, :]
        seen = seen & ((there == SHARED) & (here > EMPTY) | (there == here)) & (there > EMPTY)
    itself = torch.eye(seen.shape[-1], dtype=torch.bool, device=seen.device)
    return (seen.tril() | itself)[:, None]
