"""Before and after: what two policies wrote for the same needs, and what that found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recr1.evaluate.evaluation import Evaluation
from recr1.evaluate.report import check_same_needs
from rewards.base import Search


@dataclass(frozen=True)
class Example:
    """One need, what two policies wrote for it, and what that found."""

    need: str
    measure: str
    """The name of the first measure, which the examples are about."""
    queries: tuple[str, str]
    """Before and after; an invalid completion stands as "(invalid: reason)"."""
    ranks: tuple[int | None, int | None]
    """The place of the first relevant item; None where there is none in k."""
    values: tuple[float, float]
    """What the measure says of each."""
    titles: tuple[Sequence[str], Sequence[str]]
    """The first items found, each with its rank and, when it is relevant, a star."""


def examples(before: Evaluation, after: Evaluation, n: int = 5, titles: int = 3) -> list[Example]:
    """Before-and-after queries that show losses as well as gains.

    The needs are sorted by the change in the first measure (equal ones in the order of the data), and n are taken at
    even distances: the largest gain first, the largest loss last, what is typical in between. The first completion of
    each is shown. Raises `ValueError` unless both are of the same needs and measures.
    """
    check_same_needs(before, after)
    measure = next(iter(after.values))
    change = after.values[measure][:, 0] - before.values[measure][:, 0]
    order = np.argsort(-change, kind="stable")
    places = np.linspace(0, len(order) - 1, min(n, len(order))).round().astype(int)
    return [_example(before, after, int(order[place]), measure, titles) for place in places]


def _example(before: Evaluation, after: Evaluation, need: int, measure: str, titles: int) -> Example:
    both = before, after
    ranks = [next(iter(e.relevant_ranks(need)), None) for e in both]
    found = [titles_of(e, need, titles) for e in both]
    values = [float(e.values[measure][need, 0]) for e in both]
    queries = [_query(e, need) for e in both]
    return Example(
        after.needs[need].text,
        measure,
        (queries[0], queries[1]),
        (ranks[0], ranks[1]),
        (values[0], values[1]),
        (found[0], found[1]),
    )


def examples_text(shown: Sequence[Example], before: str = "before", after: str = "after", width: int = 100) -> str:
    """Examples for a terminal: each need, then what was written before and after, with ranks and what was found."""
    margin = max(len(label) for label in ("need", before, after)) + 2
    blocks = []
    for example in shown:
        lines = [f"{'need':<{margin}}{example.need}"]
        for place, label in enumerate((before, after)):
            rank = example.ranks[place]
            at = f"first relevant at {rank}" if rank else "nothing relevant"
            lines.append(f"{label:<{margin}}{example.queries[place]}")
            lines.append(f"{'':<{margin}}{example.measure} {example.values[place]:.2f}, {at}")
            lines += [_cut(f"{'':<{margin}}  {title}", width) for title in example.titles[place]]
        blocks.append("\n".join(lines))
    note = "The needs are taken at even distances, from the largest gain to the largest loss. *: a relevant item."
    return "\n\n".join([*blocks, note])


def titles_of(evaluation: Evaluation, need: int, count: int) -> list[str]:
    """The first items that the first completion of a need found, each with its rank and, when relevant, a star."""
    catalog, row = evaluation.env.task.catalog, need * evaluation.samples
    relevant = set(evaluation.relevant_ranks(need))
    texts = [catalog.title(int(item)) for item in evaluation.hits.rows_QK[row, :count] if item >= 0]
    return [f"{rank}{'*' if rank in relevant else ' '} {text}" for rank, text in enumerate(texts, start=1)]


def _query(evaluation: Evaluation, need: int) -> str:
    action = evaluation.actions[need][0]
    return str(action.query) if isinstance(action, Search) else f"(invalid: {action.reason})"


def _cut(line: str, width: int) -> str:
    return line if len(line) <= width else f"{line[: width - 3]}..."
