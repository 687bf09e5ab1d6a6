"""Single needs: those that won and lost most, and where their first relevant item went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from recr1.report.pool import Pooled
from recr1.report.source import Source

SHOWN = 8
"""Needs that are shown of either kind."""
SAMPLED_STEPS = 6
"""Steps of which a completion is shown."""


@dataclass(frozen=True)
class Tried:
    """A query for a need, and what it found."""

    by: str
    query: str
    valid: bool
    value: float
    rank: int | None
    """The place of the first relevant item; None where nothing relevant was found, or it is not known."""
    found: Sequence[Mapping[str, Any]] | None
    """The first items: `id`, `title`, `relevant`; None where they were not kept."""


@dataclass(frozen=True)
class Changed:
    """A need with what each query found."""

    need: str
    id: str
    change: float
    """Of the measure, against the raw need."""
    tried: Sequence[Tried]


def changes(policies: Sequence[Pooled], measure: str) -> tuple[list[Changed], list[Changed]]:
    """The needs that won most and those that lost most against the raw need, in the first run; equal ones as they come.

    A need that neither won nor lost is in neither list.
    """
    last = policies[-1].first
    change = last.values(measure) - last.values(measure, "floor")
    order = np.argsort(-change, kind="stable")
    won = [int(place) for place in order[:SHOWN] if change[place] > 0]
    lost = [int(place) for place in order[::-1][:SHOWN] if change[place] < 0]
    return tuple([_changed(policies, measure, place, change[place]) for place in places] for places in (won, lost))  # type: ignore[return-value]


def _changed(policies: Sequence[Pooled], measure: str, place: int, change: float) -> Changed:
    line = policies[-1].first.lines[place]
    raw = line.get("floor", {})
    tried = [
        Tried(
            "raw need",
            line["text"],
            valid=True,
            value=line["measures"][measure]["floor"],
            rank=_first(raw),
            found=raw.get("found"),
        )
    ]
    for policy in policies:
        own = policy.first.lines[place]
        if own["need"] != line["need"]:
            continue
        text = own.get("query", f"({own.get('invalid')})")
        value = own["measures"][measure]["policy"]
        tried.append(Tried(policy.policy, str(text), "query" in own, value, _first(own), own.get("found")))
    return Changed(line["text"], line["need"], float(change), tried)


def _first(line: Mapping[str, Any]) -> int | None:
    return next(iter(line.get("relevant_ranks", ())), None)


@dataclass(frozen=True)
class RankChange:
    """How many needs moved from which ranks to which: (R, R) counts, raw need by policy."""

    labels: Sequence[str]
    """R bins of ranks, the last one for "none"."""
    counts_RR: Any


def rank_change(policy: Pooled) -> RankChange | None:
    """Ranks of the first relevant item, with the raw need and with the policy; None where they were not kept."""
    lines = policy.first.lines
    if not lines or "floor" not in lines[0]:
        return None
    k = int(policy.first.summary["k"])
    tops = [top for top in (1, 3, 10, 30, 100, 300, 1000) if top < k] + [k]
    lows = [1, *(top + 1 for top in tops[:-1])]
    labels = [str(top) if low == top else f"{low}-{top}" for low, top in zip(lows, tops, strict=True)]
    counts = np.zeros((len(tops) + 1, len(tops) + 1), np.int64)
    for line in lines:
        counts[_bin(_first(line["floor"]), tops), _bin(_first(line), tops)] += 1
    return RankChange([*labels, "none"], counts)


def _bin(rank: int | None, tops: Sequence[int]) -> int:
    return len(tops) if rank is None else int(np.searchsorted(tops, rank))


def sampled(source: Source) -> list[Mapping[str, Any]]:
    """What was written as it trained: at some steps, the rollout in the middle of the rewards."""
    by_step: dict[int, list[Mapping[str, Any]]] = {}
    for line in source.rollouts:
        if line.get("reward") is not None:
            by_step.setdefault(int(line["step"]), []).append(line)
    steps = sorted(by_step)
    places = np.linspace(0, len(steps) - 1, min(SAMPLED_STEPS, len(steps))).round().astype(int)
    chosen = []
    for step in (steps[place] for place in places):
        ordered = sorted(by_step[step], key=lambda line: float(line["reward"]))
        chosen.append(ordered[len(ordered) // 2])
    return chosen
