"""Plots of a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recr1.errors import MissingLibrary, UserError

Series = tuple[NDArray[np.int64], NDArray[np.float64]]

TRAIN, FLOOR, CEILING = "train/reward", "/floor", "/ceiling"
_BLUE, _ORANGE, _GREY = "#2f6db3", "#d9711c", "#6b6b6b"


def reward_curve(records: Sequence[Mapping[str, Any]], out: Path, *, title: str) -> None:
    """Draw the training reward, and the first evaluated measure with floor and ceiling, over the steps into a PNG.

    `records` are the lines of `metrics.jsonl`. Raises `MissingLibrary` without matplotlib, and `UserError` when the
    records have neither a reward nor a measure.
    """
    logged = (name for record in records for name in record)
    measure = next((n for n in logged if n.startswith("eval/") and n.count("/") == 2 and "@" in n), None)
    panels = [name for name in (measure, TRAIN) if name and len(series(records, name)[0])]
    if not panels:
        what = f"no line of metrics.jsonl has '{TRAIN}' or an 'eval/<split>/<measure>'"
        raise UserError(f"nothing to draw in {out}: {what}")
    paints = [partial(_draw_reward if name == TRAIN else _draw_measure, records, name) for name in panels]
    draw_panels(paints, out, height=1.0 + 2.9 * len(panels), title=title)


def draw_panels(paints: Sequence[Callable[[Any], None]], out: Path, *, height: float, title: str = "") -> None:
    """Draw panels over the training steps, one below the other, into a PNG; raises `MissingLibrary`.

    `paints` draw on the axis of their panel; `height` is in inches.
    """
    try:
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator
    except ImportError as error:
        raise MissingLibrary("matplotlib", "report", "drawing the curves of a run") from error
    # A Figure of its own needs no display and no global state.
    figure = Figure(figsize=(8, height), dpi=130, layout="constrained")
    axes = figure.subplots(len(paints), 1, sharex=True, squeeze=False)[:, 0]
    for axis, paint in zip(axes, paints, strict=True):
        paint(axis)
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(axis="y", alpha=0.25)
    axes[-1].set_xlabel("training step")
    axes[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    if title:
        figure.suptitle(title)
    figure.savefig(out)


def series(records: Sequence[Mapping[str, Any]], name: str) -> Series:
    """Steps and values of a metric, where it was logged and is finite."""
    points = [(record["step"], record[name]) for record in records if record.get(name) is not None]
    steps, values = zip(*points, strict=True) if points else ((), ())
    return np.array(steps, np.int64), np.array(values, np.float64)


def smoothed(values: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """Centred moving mean over `width` values (made odd); at the ends over fewer."""
    half = width // 2
    sums = np.concatenate([[0.0], np.cumsum(values)])
    low = np.maximum(np.arange(len(values)) - half, 0)
    high = np.minimum(np.arange(len(values)) + half + 1, len(values))
    means: NDArray[np.float64] = (sums[high] - sums[low]) / (high - low)
    return means


def _draw_reward(records: Sequence[Mapping[str, Any]], name: str, axis: Any) -> None:
    steps, values = series(records, name)
    width = max(len(values) // 15, 1)
    smooth = width >= 3
    axis.plot(steps, values, color=_BLUE, lw=1, alpha=0.3 if smooth else 1, label="each step")
    if smooth:
        axis.plot(steps, smoothed(values, width), color=_BLUE, lw=2, label=f"mean over {2 * (width // 2) + 1} steps")
    axis.set_ylabel("mean training reward\n(weighted, shaped)")
    axis.legend(loc="lower right", frameon=False)


def _draw_measure(records: Sequence[Mapping[str, Any]], name: str, axis: Any) -> None:
    _, split, measure = name.split("/")
    steps, values = series(records, name)
    axis.plot(steps, values, color=_ORANGE, lw=2, marker="o", ms=4, label="policy")
    for suffix, label, style in ((CEILING, "ceiling: words of the best items", "--"), (FLOOR, "floor: raw need", ":")):
        level = series(records, name + suffix)[1]
        if len(level):
            axis.axhline(level[-1], color=_GREY, ls=style, lw=1.4, label=f"{label} ({level[-1]:.3f})")
    axis.set_ylim(0, 1)
    axis.set_ylabel(f"{measure}\n({split} needs)")
    axis.legend(loc="best", frameon=False)
