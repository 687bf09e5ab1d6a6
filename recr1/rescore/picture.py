"""The curve of a measure over the steps, before and after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from recr1.errors import MissingLibrary
from recr1.runs.plots import series

_STYLES: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "": ("rescored", {"color": "#00796b", "lw": 2, "marker": "o", "ms": 3}),
    "/before": ("as it was", {"color": "#c2570c", "lw": 2, "marker": "o", "ms": 3}),
    "/ceiling": ("ceiling, rescored", {"color": "#6b6b6b", "lw": 1.4, "ls": "--"}),
    "/floor": ("floor, rescored", {"color": "#6b6b6b", "lw": 1.4, "ls": ":"}),
}


def draw_curve(records: Sequence[Mapping[str, Any]], measure: str, out: Path) -> None:
    """Draw `rescored/<measure>` with its floor, ceiling and what it was before into a PNG; raises `MissingLibrary`."""
    try:
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator
    except ImportError as error:
        raise MissingLibrary("matplotlib", "report", "drawing the rescored curve") from error
    figure = Figure(figsize=(8, 4), dpi=130, layout="constrained")
    axis = figure.subplots()
    for suffix, (label, style) in _STYLES.items():
        steps, values = series(records, f"rescored/{measure}{suffix}")
        if len(steps):
            axis.plot(steps, values, label=label, **style)
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis="y", alpha=0.25)
    axis.set_ylim(0, 1)
    axis.set_xlabel("training step")
    axis.set_ylabel(f"{measure} of the rollouts")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.legend(loc="best", frameon=False)
    figure.savefig(out)
