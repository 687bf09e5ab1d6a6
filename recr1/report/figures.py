"""Pictures of an evaluation: the policies between floor and ceiling, and where the first relevant item went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from recr1.judge.stats import LEVEL
from recr1.report import drawing
from recr1.report.drawing import Figure, draw
from recr1.report.pool import Pooled
from recr1.report.queries import RankChange, rank_change

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LONGEST = 24
"""Letters of a name beside a picture; its table has them all the same as cut there."""


def standing(policies: Sequence[Pooled], measure: str, name: str) -> Figure:
    """Raw need, policies and ceiling on one line each, with their intervals."""
    last = policies[-1].measures[measure]
    rows = [("raw need", last["floor"], drawing.FLOOR)]
    rows += [(one.policy, one.measures[measure]["policy"], drawing.SERIES[0]) for one in policies]
    rows.append(("ceiling", last["ceiling"], drawing.CEILING))
    title = f"{measure} between floor and ceiling"
    return _intervals(f"standing-{name}", title, rows, f"Mean {measure} on the {policies[-1].first.split} needs")


def compared(held: Mapping[str, Any], name: str) -> Figure:
    """The policies of a comparison on one line each: the first, the rivals, and the bounds, which read the answers."""
    main, rows = held["main"], []
    for label, policy in held["policies"].items():
        colour = drawing.FLOOR if label == held["first"] else drawing.SERIES[0 if policy["trained"] else 4]
        shown = f"{label} *" if policy["bound"] else label
        cut = shown if len(shown) <= LONGEST else f"{shown[: LONGEST - 3]}..."
        rows.append((cut, policy["measures"][main], drawing.CEILING if policy["bound"] else colour))
    says = f"Mean {main} of each policy on the {held['split']} needs (*: reads the answers)"
    return _intervals(f"compared-{name}", f"{main} of all policies", rows, says)


def _intervals(name: str, title: str, rows: Sequence[tuple[str, Mapping[str, float], str]], says: str) -> Figure:
    """Means with their intervals, a line a row: what it is called, its numbers, its colour."""

    def paint(axis: Axes) -> None:
        for place, (_, numbers, colour) in enumerate(reversed(rows)):
            axis.plot([numbers["low"], numbers["high"]], [place, place], color=colour, lw=5, alpha=0.35)
            axis.plot([numbers["mean"]], [place], color=colour, marker="o", ms=8, lw=0, clip_on=False)
            axis.annotate(
                f"{numbers['mean']:.3f}",
                (numbers["mean"], place),
                xytext=(0, 7),
                textcoords="offset points",
                ha="center",
                fontsize=9,
            )
        axis.set_yticks(range(len(rows)), [label for label, _, _ in reversed(rows)])
        axis.set_ylim(-0.5, len(rows) - 0.3)
        axis.set_xlim(0, max(1.0, *(numbers["high"] for _, numbers, _ in rows)))
        axis.tick_params(length=0)
        axis.tick_params(axis="y", labelcolor=drawing.INK)
        axis.spines[["left", "bottom"]].set_visible(False)
        axis.grid(axis="x", lw=0.8)

    told = ", ".join(f"{label} {numbers['mean']:.3f}" for label, numbers, _ in rows)
    table = [[label, *(f"{numbers[key]:.3f}" for key in ("mean", "low", "high"))] for label, numbers, _ in rows]
    svg = draw(name, paint, height=0.5 + 0.46 * len(rows))
    return Figure(name, title, f"{says}, with {LEVEL:.0%} intervals: {told}.", svg, ["", "mean", "low", "high"], table)


def moved(policy: Pooled, name: str) -> Figure | None:
    """From which rank to which the first relevant item went; None where the ranks of the raw need were not kept."""
    change = rank_change(policy)
    if change is None:
        return None
    better, worse = _better(change), _better(change, worse=True)
    total = int(change.counts_RR.sum())

    def paint(axis: Axes) -> None:
        _paint_cells(axis, change)

    says = (
        f"Rank of the first relevant item, with the raw need (rows) and with {policy.policy} (columns), in needs: "
        f"{better} of {total} rise, {worse} fall, {total - better - worse} stay; none: not among the first "
        f"{policy.first.summary['k']}. Below the diagonal is better."
    )
    rows = [
        [f"raw need {label}", *map(str, counts)] for label, counts in zip(change.labels, change.counts_RR, strict=True)
    ]
    size = 0.9 + 0.36 * len(change.labels)
    svg = draw(f"moved-{name}", paint, height=max(size, drawing.HEIGHT))
    return Figure(f"moved-{name}", "First relevant item", says, svg, ["", *change.labels], rows)


def _better(change: RankChange, *, worse: bool = False) -> int:
    counts = change.counts_RR.T if worse else change.counts_RR
    return int(np.tril(counts, -1).sum())


def _paint_cells(axis: Axes, change: RankChange) -> None:
    from matplotlib.patches import Rectangle

    size, most = len(change.labels), max(int(change.counts_RR.max()), 1)
    for raw, column in np.ndindex(size, size):
        count = int(change.counts_RR[raw, column])
        colour = drawing.GOOD if column < raw else drawing.BAD if column > raw else drawing.FAINT
        strength = 0.06 if not count else 0.12 + 0.48 * (count / most) ** 0.5
        box = Rectangle((column + 0.04, raw + 0.04), 0.92, 0.92, facecolor=colour, alpha=strength, lw=0)
        axis.add_patch(box)
        if count:
            axis.text(column + 0.5, raw + 0.5, str(count), ha="center", va="center")
    axis.set_xlim(0, size)
    axis.set_ylim(size, 0)
    axis.set_xticks(np.arange(size) + 0.5, change.labels, fontsize=9)
    axis.set_yticks(np.arange(size) + 0.5, change.labels, fontsize=9)
    axis.set_xlabel("rank with the policy")
    axis.set_ylabel("rank with the raw need")
    axis.tick_params(length=0)
    for spine in axis.spines.values():
        spine.set_visible(False)
