"""Slices: the gain for groups of needs, from what an evaluation saved of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from recr1.evaluate.slices import SMALLEST, by_length, by_relevant, category_field, largest, parted
from recr1.judge.difference import mean_cell
from recr1.judge.stats import LEVEL, bootstrap_interval
from recr1.judge.table import Table
from recr1.report.pool import Pooled
from recr1.report.source import Judged, Source

RANKS = ("first place", "second place or lower", "nothing relevant")
"""Where the raw need finds the first relevant item, best first."""

Places = NDArray[np.intp]


def slices(policy: Pooled, measure: str, category: str | None = None) -> Table | None:
    """The gain over the raw need by length, relevant items, head and tail, category, and what the raw need finds.

    None if there are fewer than two slices.

    Args:
        policy: The policy.
        measure: The measure of the gain.
        category: The catalog field to slice by, of those that the evaluation saved; None takes a usual name.
    """
    rows = [_row(policy, measure, label, places) for label, places in _all(policy.first, category)]
    if len(rows) < 2:
        return None
    note = (
        f"Mean gain in {measure} over the raw need with its {LEVEL:.0%} bootstrap interval; slices are not tested, and "
        f"those of fewer than {SMALLEST} needs are left out. head and tail: whether the most frequent relevant item of "
        "the need is above the median in interactions (popularity) or in training needs (training). Needs with a low "
        "value of the raw need can gain most, also by chance alone."
    )
    header = ["slice", "needs", "raw need", "policy", "gain"]
    return Table(f"Slices of {policy.first.split}: {policy.policy}", header, rows, [note])


def check_category(sources: Sequence[Source], category: str | None) -> None:
    """Raises `UserError` for a field that no evaluation of the runs saved."""
    if category is not None:
        kept = {name for source in sources for one in source.judged for name in _fields(one)}
        category_field(sorted(kept), category, "what the evaluations saved (write them again with recr1 eval)")


def _all(judged: Judged, category: str | None) -> Iterator[tuple[str, Places]]:
    for by, names in _criteria(judged, category):
        for part in parted(by, names):
            if len(part.rows) < len(names):
                yield f"{by}: {part.name}", part.rows


def _criteria(judged: Judged, category: str | None) -> Iterator[tuple[str, list[str]]]:
    """Each criterion: its name, and the slice of each need."""
    lines = judged.lines
    yield by_length([line["text"] for line in lines])
    if judged.relevant:
        yield by_relevant([judged.relevant[need] for need in judged.needs])
    for by in lines[0].get("popularity", {}) if lines else ():
        yield by, [line["popularity"][by] for line in lines]
    fields = _fields(judged)
    field = category_field(fields, category if category in fields else None, "the evaluation")
    if field:
        yield field, largest([line["fields"][field] for line in lines])
    if any("floor" in line for line in lines):
        yield "raw need", [_found(line["floor"]["relevant_ranks"]) if "floor" in line else RANKS[2] for line in lines]


def _fields(judged: Judged) -> list[str]:
    return list(judged.lines[0].get("fields", {})) if judged.lines else []


def _found(ranks: Sequence[int]) -> str:
    return RANKS[2] if not ranks else RANKS[0] if ranks[0] == 1 else RANKS[1]


def _row(policy: Pooled, measure: str, label: str, places: Places) -> list[str]:
    floor, own = policy.values(measure, "floor")[places], policy.values(measure)[places]
    gain = bootstrap_interval(own - floor, seed=policy.seed)
    means = [f"{values.mean():.3f}" for values in (floor, own)]
    return [label, str(len(places)), *means, mean_cell(gain._asdict(), spec="+.3f")]
