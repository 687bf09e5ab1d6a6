"""Pictures of a report: how they are drawn, and those of an evaluation.

matplotlib draws in placeholder colours, which become CSS variables, so that pictures follow the light or dark style of
the page. Text stays text: it can be searched, and has the reader's font.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import StringIO
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from recr1.errors import MissingLibrary
from recr1.judge.stats import LEVEL
from recr1.report.groups import PooledPolicy
from recr1.report.run_data import first_rank

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, FAINT, GRID, GOOD, BAD, FLOOR, CEILING = (f"#0f0e0{place}" for place in range(7))
SERIES = tuple(f"#0f0e1{place}" for place in range(6))
"""Colours of series; the first is the policy's."""
_NAMES = ("ink", "faint", "grid", "good", "bad", "floor", "ceiling", *(f"series-{place}" for place in range(1, 7)))
_VARIABLES = dict(zip((INK, FAINT, GRID, GOOD, BAD, FLOOR, CEILING, *SERIES), _NAMES, strict=True))
"""Placeholder colour -> variable of the style sheet."""
_STYLE = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": INK,
    **dict.fromkeys(("axes.labelcolor", "xtick.labelcolor", "ytick.labelcolor"), FAINT),
    **dict.fromkeys(("axes.edgecolor", "xtick.color", "ytick.color", "grid.color"), GRID),
    **dict.fromkeys(("axes.facecolor", "figure.facecolor", "savefig.facecolor"), "none"),
    **dict.fromkeys(("axes.spines.top", "axes.spines.right", "legend.frameon"), False),
    "axes.axisbelow": True,
    "legend.fontsize": 9,
    "lines.linewidth": 2,
    "lines.solid_capstyle": "round",
}
WIDTH, HEIGHT = 4.3, 2.5
"""Inches: about the width of a phone, so that text is not scaled down there."""
LONGEST = 24
"""Letters of a name beside a picture and in its table."""


class Figure(NamedTuple):
    """A picture with its message in words and numbers."""

    id: str
    title: str
    says: str
    """The picture in a sentence, also for readers who cannot see it."""
    svg: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]  # its numbers as a table


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

    `name` is unique on its page and makes the ids of the picture unique and reproducible. `height` is in inches.
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


class RankChange(NamedTuple):
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
        raw, own = (np.searchsorted(tops, first_rank(of) or k + 1) for of in (line["floor"], line))
        counts[raw, own] += 1
    return RankChange([*labels, "none"], counts)


def standing(policies: Sequence[PooledPolicy], measure: str, name: str) -> Figure:
    """Raw need, policies and ceiling with their intervals, one row each."""
    last = policies[-1].measures[measure]
    rows = [("raw need", last["floor"], FLOOR)]
    rows += [(one.policy, one.measures[measure]["policy"], SERIES[0]) for one in policies]
    rows.append(("ceiling", last["ceiling"], CEILING))
    title = f"{measure} between floor and ceiling"
    return intervals(f"standing-{name}", title, rows, f"Mean {measure} on the {policies[-1].first.split} needs")


def compared(comparison: Mapping[str, Any], name: str) -> Figure:
    """The policies of a `compare.json`, one row each: the first, the others, and bounds that read the answers."""
    main, rows = comparison["main"], []
    for label, policy in comparison["policies"].items():
        colour = FLOOR if label == comparison["first"] else SERIES[0 if policy["trained"] else 4]
        shown = f"{label} *" if policy["bound"] else label
        cut = shown if len(shown) <= LONGEST else f"{shown[: LONGEST - 3]}..."
        rows.append((cut, policy["measures"][main], CEILING if policy["bound"] else colour))
    says = f"Mean {main} of each policy on the {comparison['split']} needs (*: reads the answers)"
    return intervals(f"compared-{name}", f"{main} of all policies", rows, says)


def intervals(name: str, title: str, rows: Sequence[tuple[str, Mapping[str, float], str]], says: str) -> Figure:
    """Means with their intervals; a row is a name, numbers and a colour."""

    def paint(axis: Axes) -> None:
        for place, (_, numbers, colour) in enumerate(reversed(rows)):
            mean = numbers["mean"]
            axis.plot([numbers["low"], numbers["high"]], [place, place], color=colour, lw=5, alpha=0.35)
            axis.plot([mean], [place], color=colour, marker="o", ms=8, lw=0, clip_on=False)
            axis.annotate(
                f"{mean:.3f}", (mean, place), xytext=(0, 7), textcoords="offset points", ha="center", fontsize=9
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
    says = f"{says}, with {LEVEL:.0%} intervals: {values}."
    return Figure(name, title, says, svg, ["", "mean", "low", "high"], table)


def moved(policy: PooledPolicy, name: str) -> Figure | None:
    """How the rank of the first relevant item changed; None if the ranks of the raw need were not saved."""
    change = rank_change(policy)
    if change is None:
        return None
    labels, counts_RR = change
    total, size, most = int(counts_RR.sum()), len(labels), max(int(counts_RR.max()), 1)
    better, worse = int(np.tril(counts_RR, -1).sum()), int(np.triu(counts_RR, 1).sum())

    def paint(axis: Axes) -> None:
        from matplotlib.patches import Rectangle

        for (raw, own), count in np.ndenumerate(counts_RR):
            colour = GOOD if own < raw else BAD if own > raw else FAINT
            strength = 0.12 + 0.48 * (count / most) ** 0.5 if count else 0.06
            box = Rectangle((own + 0.04, raw + 0.04), 0.92, 0.92, facecolor=colour, alpha=strength, lw=0)
            axis.add_patch(box)
            if count:
                axis.text(own + 0.5, raw + 0.5, str(count), ha="center", va="center")
        axis.set_xlim(0, size)
        axis.set_ylim(size, 0)
        axis.set_xticks(np.arange(size) + 0.5, labels, fontsize=9)
        axis.set_yticks(np.arange(size) + 0.5, labels, fontsize=9)
        axis.set_xlabel("rank with the policy")
        axis.set_ylabel("rank with the raw need")
        axis.tick_params(length=0)
        axis.spines[:].set_visible(False)

    says = (
        f"Rank of the first relevant item, with the raw need (rows) and with {policy.policy} (columns), in needs: "
        f"{better} of {total} are better, {worse} worse, {total - better - worse} equal; none: not in the first "
        f"{policy.first.summary['k']}. Below the diagonal is better."
    )
    rows = [[f"raw need {label}", *map(str, counts)] for label, counts in zip(labels, counts_RR, strict=True)]
    svg = draw(f"moved-{name}", paint, height=max(0.9 + 0.36 * size, HEIGHT))
    return Figure(f"moved-{name}", "First relevant item", says, svg, ["", *labels], rows)
