"""Slices: for whom the gain is, by what an evaluation knows of its needs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recr1.evaluate.report import Table
from recr1.evaluate.slices import RELEVANT, WORDS, Bins, within
from recr1.evaluate.stats import LEVEL, bootstrap_interval
from recr1.report.pool import Pooled

RANKS = {"raw need: first place": (1, 1), "raw need: second place or lower": (2, None)}
LEAST = 5
"""A slice of fewer needs is not shown: its interval would say nothing. Nor is one of all needs."""

Places = NDArray[np.intp]


def slices(policy: Pooled, measure: str) -> Table | None:
    """The gain over the raw need by length of the need, relevant items, and what the raw need finds.

    None where there are not two slices to compare.
    """
    rows = [_row(policy, measure, label, places) for label, places in _all(policy.first.lines, policy.first.relevant)]
    if len(rows) < 2:
        return None
    note = (
        f"Mean gain in {measure} over the raw need with its {LEVEL:.0%} bootstrap interval; each slice is looked at on "
        f"its own, and slices of fewer than {LEAST} needs are left out. Needs that the raw need serves worst can gain "
        "most, by chance alone too."
    )
    header = ["slice", "needs", "raw need", "policy", "gain", f"{LEVEL:.0%} interval"]
    return Table(f"Slices of {policy.first.split}: {policy.policy}", header, rows, [note])


def _all(lines: Sequence[Mapping[str, Any]], relevant: Mapping[str, int]) -> Iterator[tuple[str, Places]]:
    words = [len(line["text"].split()) for line in lines]
    yield from _binned("need", "word", words, WORDS)
    if relevant:
        yield from _binned("need with", "relevant item", [relevant[line["need"]] for line in lines], RELEVANT)
    ranks = [_first(line["floor"]["relevant_ranks"]) if "floor" in line else None for line in lines]
    if any("floor" in line for line in lines):
        for label, (low, high) in RANKS.items():
            yield from _enough(label, [rank is not None and within(rank, low, high) for rank in ranks])
        yield from _enough("raw need: nothing relevant", [rank is None for rank in ranks])


def _binned(before: str, unit: str, values: Sequence[int], bins: Bins) -> Iterator[tuple[str, Places]]:
    for low, high in bins:
        span = f"{low}" if high == low else f"{low} to {high}" if high else f"{low} or more"
        one = high == low == 1
        yield from _enough(
            f"{before} {span} {unit}{'' if one else 's'}"
            if before != "need"
            else f"{span} {unit}{'' if one else 's'} in the need",
            [within(v, low, high) for v in values],
        )


def _enough(label: str, wanted: Sequence[bool]) -> Iterator[tuple[str, Places]]:
    places = np.flatnonzero(wanted)
    if LEAST <= len(places) < len(wanted):
        yield label, places


def _first(ranks: Sequence[int]) -> int | None:
    return ranks[0] if ranks else None


def _row(policy: Pooled, measure: str, label: str, places: Places) -> list[str]:
    floor, own = policy.values(measure, "floor")[places], policy.values(measure)[places]
    gain = bootstrap_interval(own - floor, seed=policy.seed)
    means = [f"{values.mean():.3f}" for values in (floor, own)]
    return [label, str(len(places)), *means, f"{gain.mean:+.3f}", f"{gain.low:+.3f} to {gain.high:+.3f}"]
