"""Pictures of a report: how they are drawn, and those of an evaluation.

matplotlib draws in placeholder colours, which become CSS variables, so that pictures follow the light or dark style of
the page. Text stays text: it can be searched, and has the reader's font.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import StringIO
from typing import TYPE_CHECKING, Any

import numpy as np

from recr1.errors import MissingLibrary
from recr1.judge.stats import LEVEL
from recr1.report.groups import PooledPolicy
from recr1.report.run_data import first_rank

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_NAMES = ("ink", "faint", "grid", "good", "bad", "floor", "ceiling")
INK, FAINT, GRID, GOOD, BAD, FLOOR, CEILING = (f"#0f0e0{place}" for place in range(7))
SERIES = tuple(f"#0f0e1{place}" for place in range(6))
"""Colours of series; the first is the policy's."""
_VARIABLES = dict(zip((INK, FAINT, GRID, GOOD, BAD, FLOOR, CEILING), _NAMES, strict=True)) | {
    colour: f"series-{place}" for place, colour in enumerate(SERIES, start=1)
}
"""Placeholder colour -> variable of the style sheet."""
_STYLE = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.titlesize": 10,
    "text.color": INK,
    "axes.labelcolor": FAINT,
    "axes.edgecolor": GRID,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": FAINT,
    "ytick.labelcolor": FAINT,
    "grid.color": GRID,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 2,
    "lines.solid_capstyle": "round",
}
WIDTH, HEIGHT = 4.3, 2.5
"""Inches: about the width of a phone, so that text is not scaled down there."""
LONGEST = 24
"""Letters of a name beside a picture and in its table."""


@dataclass(frozen=True)
class Figure:
    """A picture with its message in words and numbers."""

    id: str
    title: str
    says: str
    """The picture in a sentence, also for readers who cannot see it."""
    svg: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    """Its numbers as a table."""


@contextmanager
def style() -> Iterator[None]:
    """The colours and fonts of a report; raises `MissingLibrary` without matplotlib."""
    try:
        import matplotlib as mpl
    except ImportError as error:
        raise MissingLibrary("matplotlib", "report", "drawing a report") from error
    with mpl.rc_context(_STYLE):
        yield


def draw(name: str, paint: Callable[[Axes], Any], *, height: float = HEIGHT) -> str:
    """An SVG element, drawn by `paint`; within `style()`.

    Args:
        name: Unique on its page; it makes the ids of the picture unique and reproducible.
        paint: Draws on the axes.
        height: In inches.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure as Drawing

    drawing = Drawing(figsize=(WIDTH, height), layout="constrained")
    paint(drawing.subplots())
    out = StringIO()
    with mpl.rc_context({"svg.hashsalt": name}):
        drawing.savefig(out, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return themed(out.getvalue(), name)


def themed(svg: str, name: str) -> str:
    """The `<svg>` element alone, with colours as CSS variables and unique ids."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"\n\s*", "\n", svg)
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, f"var(--{variable})")
    # Text has the font of the page: readers may not have matplotlib's.
    svg = re.sub(r"font: (?:\w+ )*?([\d.]+)px [^;\"]*", r"font-size: \1px", svg)
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', svg)
    svg = re.sub(r'(url\(#|href="#)', rf"\g<1>{name}-", svg)
    return re.sub(r"<svg\b", '<svg aria-hidden="true" focusable="false"', svg, count=1).strip()


@dataclass(frozen=True)
class RankChange:
    """Numbers of needs by rank of the first relevant item: (R, R) counts, raw need by policy."""

    labels: Sequence[str]
    """R bins of ranks, the last one for "none"."""
    counts_RR: Any


def rank_change(policy: PooledPolicy) -> RankChange | None:
    """Ranks of the first relevant item, with the raw need and with the policy; None if they were not saved."""
    lines = policy.first.lines
    if not lines or "floor" not in lines[0]:
        return None
    k = int(policy.first.summary["k"])
    tops = [top for top in (1, 3, 10, 30, 100, 300, 1000) if top < k] + [k]
    lows = [1, *(top + 1 for top in tops[:-1])]
    labels = [str(top) if low == top else f"{low}-{top}" for low, top in zip(lows, tops, strict=True)]
    counts = np.zeros((len(tops) + 1, len(tops) + 1), np.int64)
    for line in lines:
        counts[_bin(first_rank(line["floor"]), tops), _bin(first_rank(line), tops)] += 1
    return RankChange([*labels, "none"], counts)


def _bin(rank: int | None, tops: Sequence[int]) -> int:
    return len(tops) if rank is None else int(np.searchsorted(tops, rank))


def standing(policies: Sequence[PooledPolicy], measure: str, name: str) -> Figure:
    """Raw need, policies and ceiling with their intervals, one row each."""
    last = policies[-1].measures[measure]
    rows = [("raw need", last["floor"], FLOOR)]
    rows += [(one.policy, one.measures[measure]["policy"], SERIES[0]) for one in policies]
    rows.append(("ceiling", last["ceiling"], CEILING))
    title = f"{measure} between floor and ceiling"
    return _intervals(f"standing-{name}", title, rows, f"Mean {measure} on the {policies[-1].first.split} needs")


def compared(comparison: Mapping[str, Any], name: str) -> Figure:
    """The policies of a `compare.json`, one row each: the first, the others, and bounds that read the answers."""
    main, rows = comparison["main"], []
    for label, policy in comparison["policies"].items():
        colour = FLOOR if label == comparison["first"] else SERIES[0 if policy["trained"] else 4]
        shown = f"{label} *" if policy["bound"] else label
        cut = shown if len(shown) <= LONGEST else f"{shown[: LONGEST - 3]}..."
        rows.append((cut, policy["measures"][main], CEILING if policy["bound"] else colour))
    says = f"Mean {main} of each policy on the {comparison['split']} needs (*: reads the answers)"
    return _intervals(f"compared-{name}", f"{main} of all policies", rows, says)


def _intervals(name: str, title: str, rows: Sequence[tuple[str, Mapping[str, float], str]], says: str) -> Figure:
    """Means with their intervals; a row is a name, numbers and a colour."""

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
        axis.tick_params(axis="y", labelcolor=INK)
        axis.spines[["left", "bottom"]].set_visible(False)
        axis.grid(axis="x", lw=0.8)

    values = ", ".join(f"{label} {numbers['mean']:.3f}" for label, numbers, _ in rows)
    table = [[label, *(f"{numbers[key]:.3f}" for key in ("mean", "low", "high"))] for label, numbers, _ in rows]
    svg = draw(name, paint, height=0.5 + 0.46 * len(rows))
    return Figure(
        name, title, f"{says}, with {LEVEL:.0%} intervals: {values}.", svg, ["", "mean", "low", "high"], table
    )


def moved(policy: PooledPolicy, name: str) -> Figure | None:
    """How the rank of the first relevant item changed; None if the ranks of the raw need were not saved."""
    change = rank_change(policy)
    if change is None:
        return None
    better, worse = _better(change), _better(change, worse=True)
    total = int(change.counts_RR.sum())

    def paint(axis: Axes) -> None:
        _paint_cells(axis, change)

    says = (
        f"Rank of the first relevant item, with the raw need (rows) and with {policy.policy} (columns), in needs: "
        f"{better} of {total} are better, {worse} worse, {total - better - worse} equal; none: not in the first "
        f"{policy.first.summary['k']}. Below the diagonal is better."
    )
    rows = [
        [f"raw need {label}", *map(str, counts)] for label, counts in zip(change.labels, change.counts_RR, strict=True)
    ]
    size = 0.9 + 0.36 * len(change.labels)
    svg = draw(f"moved-{name}", paint, height=max(size, HEIGHT))
    return Figure(f"moved-{name}", "First relevant item", says, svg, ["", *change.labels], rows)


def _better(change: RankChange, *, worse: bool = False) -> int:
    counts = change.counts_RR.T if worse else change.counts_RR
    return int(np.tril(counts, -1).sum())


def _paint_cells(axis: Axes, change: RankChange) -> None:
    from matplotlib.patches import Rectangle

    size, most = len(change.labels), max(int(change.counts_RR.max()), 1)
    for raw, column in np.ndindex(size, size):
        count = int(change.counts_RR[raw, column])
        colour = GOOD if column < raw else BAD if column > raw else FAINT
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
