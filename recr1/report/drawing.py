"""Pictures that stand in a page: matplotlib draws them, and the page's style sheet gives them their colours.

A picture is drawn in placeholder colours, which become variables of CSS: it follows light and dark as the page does.
Its text stays text: it is searchable, and in the reader's own font.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import StringIO
from typing import TYPE_CHECKING, Any

from recr1.errors import MissingLibrary

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, FAINT, GRID, GOOD, BAD, FLOOR, CEILING = (f"#0f0e0{place}" for place in range(7))
SERIES = tuple(f"#0f0e1{place}" for place in range(6))
"""Colours of series: the first is the policy's own."""

_VARIABLES = {
    **dict(
        zip(
            (INK, FAINT, GRID, GOOD, BAD, FLOOR, CEILING),
            ("ink", "faint", "grid", "good", "bad", "floor", "ceiling"),
            strict=True,
        )
    ),
    **{colour: f"series-{place + 1}" for place, colour in enumerate(SERIES)},
}
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
"""Inches: about the width of a telephone, so that text is as large there as it is drawn."""


@dataclass(frozen=True)
class Figure:
    """A picture with all that it says in words and numbers."""

    id: str
    title: str
    says: str
    """The picture in a sentence, for those who do not see it and for those who do."""
    svg: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    """Its numbers as a table."""
    wide: bool = False


@contextmanager
def style() -> Iterator[None]:
    """The colours and fonts of a report; raises `MissingLibrary` without matplotlib."""
    try:
        import matplotlib as mpl
    except ImportError as error:
        raise MissingLibrary("matplotlib", "report", "drawing a report") from error
    with mpl.rc_context(_STYLE):
        yield


def draw(name: str, paint: Callable[[Axes], Any], *, width: float = WIDTH, height: float = HEIGHT) -> str:
    """An SVG element that `paint` filled; within `style()`.

    Args:
        name: Distinct on its page: it makes the ids within the picture so, and the same each time.
        paint: Draws on the axes that it is given.
        width: In inches.
        height: In inches.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure as Drawing

    drawing = Drawing(figsize=(width, height), layout="constrained")
    paint(drawing.subplots())
    out = StringIO()
    with mpl.rc_context({"svg.hashsalt": name}):
        drawing.savefig(out, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return themed(out.getvalue(), name)


def themed(svg: str, name: str) -> str:
    """The `<svg>` element alone, its colours as CSS variables and its ids distinct."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"\n\s*", "\n", svg)
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, f"var(--{variable})")
    # Text is in the font of the page: matplotlib's own may not be there.
    svg = re.sub(r"font: (?:\w+ )*?([\d.]+)px [^;\"]*", r"font-size: \1px", svg)
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', svg)
    svg = re.sub(r'(url\(#|href="#)', rf"\g<1>{name}-", svg)
    return re.sub(r"<svg\b", '<svg aria-hidden="true" focusable="false"', svg, count=1).strip()
