"""Curves of metrics during training, with one or several runs in each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recr1.report import figures
from recr1.report.figures import SERIES, Figure, draw
from recr1.report.run_data import RunData
from recr1.runs.plots import CEILING as CEILING_NAME
from recr1.runs.plots import FLOOR as FLOOR_NAME
from recr1.runs.plots import Series, series, smoothed

if TYPE_CHECKING:
    from matplotlib.axes import Axes

POINTS = 400
"""Most points of a line in a picture of this size."""
ROWS = 10  # rows of a picture's table
OUTCOMES = {
    "ok": ("found something", figures.GOOD),
    "no_hits": ("matched nothing", figures.SERIES[1]),
    "invalid": ("not a query", figures.BAD),
    "retriever_error": ("no answer", figures.FLOOR),
}
"""Label and colour of each outcome of a completion."""


class Curve(NamedTuple):
    """A metric to draw, with its title, explanation, and range if that is known."""

    metric: str
    title: str
    says: str
    span: tuple[float, float] | None = None


FOUND = Curve("train/outcome/ok", "Outcomes", "Share of completions whose query found something.", (0, 1))
CURVES = (
    Curve("train/reward", "Training reward", "Mean reward of sampled completions, weighted as the recipe says."),
    Curve("train/query/words", "Query length", "Mean words per query in training."),
    Curve("train/entropy", "Entropy", "Of the policy's next token, in nats; near 0 it no longer explores."),
    Curve("train/kl", "Distance to the reference policy", "KL divergence per token, in nats."),
    Curve(
        "train/frac_reward_zero_std",
        "Groups without variance",
        "Share of groups whose completions all have the same reward, so that nothing is learned.",
        (0, 1),
    ),
    Curve("train/query/repeated", "Repetition", "Share of words that appear earlier in the same query.", (0, 1)),
    Curve("train/query/copies_need", "Copies of the need", "Share of completions that search the raw need.", (0, 1)),
    Curve("train/query/unique", "Variety", "Different queries per query of a step.", (0, 1)),
)


class RunCurve(NamedTuple):
    """The values of one metric in a run."""

    run: str
    colour: str
    steps: NDArray[np.int64]
    values: NDArray[np.float64]


def curves(runs: Sequence[RunData]) -> list[Figure]:
    """All curves for which a run has numbers; within `figures.style()`."""
    drawn = [_measure(runs, name, place) for place, name in enumerate(_measures(runs))]
    outcomes = _outcomes(runs[0]) if len(runs) == 1 else None
    drawn += [outcomes] if outcomes else []
    shown = CURVES if len(runs) == 1 else (FOUND, *CURVES)
    return drawn + [_curve(curve, lines) for curve in shown if (lines := _lines(runs, curve.metric))]


def thinned(steps: NDArray[np.int64], values: NDArray[np.float64]) -> Series:
    """At most `POINTS` points: means of neighbours, each at its last step."""
    size = -(-len(steps) // POINTS)
    if size <= 1:
        return steps, values
    starts = np.arange(0, len(steps), size)
    means = np.add.reduceat(values, starts) / np.diff([*starts, len(values)])
    return steps[np.minimum(starts + size, len(steps)) - 1], means


def _lines(runs: Sequence[RunData], metric: str) -> list[RunCurve]:
    lines = []
    for place, run in enumerate(runs):
        steps, values = series(run.metrics, metric)
        if len(steps):
            lines.append(RunCurve(run.name, SERIES[place % len(SERIES)], *thinned(steps, values)))
    return lines


def _measures(runs: Sequence[RunData]) -> list[str]:
    """Names such as eval/validation/nDCG@10, in the order of the logs."""
    names = dict.fromkeys(name for run in runs for line in run.metrics for name in line)
    return [name for name in names if name.startswith("eval/") and f"{name}{FLOOR_NAME}" in names]


def _curve(curve: Curve, lines: Sequence[RunCurve]) -> Figure:
    def paint(axis: Axes) -> None:
        for line in lines:
            width = len(line.values) // 15
            if width < 3:
                axis.plot(line.steps, line.values, color=line.colour, lw=1.6, label=line.run)
            else:
                axis.plot(line.steps, line.values, color=line.colour, lw=1, alpha=0.3)
                axis.plot(line.steps, smoothed(line.values, width), color=line.colour, label=line.run)
        _finish(axis, lines, curve.span)

    name = curve.metric.replace("/", "-")
    return Figure(f"curve-{name}", curve.title, f"{curve.says} {_change(lines)}", draw(name, paint), *_table(lines))


def _measure(runs: Sequence[RunData], metric: str, place: int) -> Figure:
    _, split, measure = metric.split("/", 2)
    lines = _lines(runs, metric)
    levels = [
        (values[-1], label, colour, dash)
        for suffix, label, colour, dash in (
            (CEILING_NAME, "ceiling", figures.CEILING, (5, 3)),
            (FLOOR_NAME, "raw need", figures.FLOOR, (1.5, 2)),
        )
        if len(values := series(runs[0].metrics, f"{metric}{suffix}")[1])
    ]

    def paint(axis: Axes) -> None:
        for level, label, colour, dash in levels:
            axis.axhline(level, color=colour, lw=1.5, dashes=dash)
            style: dict[str, Any] = {"ha": "right", "va": "bottom", "color": colour, "fontsize": 9}
            shift: dict[str, Any] = {"xytext": (0, 2), "textcoords": "offset points"}
            axis.annotate(f"{label} {level:.3f}", (1, level), xycoords=("axes fraction", "data"), **shift, **style)
        for line in lines:
            axis.plot(line.steps, line.values, color=line.colour, marker="o", ms=4, label=line.run)
        _finish(axis, lines, (0, 1.08))

    bounds = ", ".join(f"{label} {level:.3f}" for level, label, _, _ in reversed(levels))
    says = f"{measure} of the greedy policy on the {split} needs during training ({bounds}). {_change(lines)}"
    svg = draw(f"measure-{place}", paint)
    return Figure(f"curve-measure-{place}", f"{measure} on {split}", says, svg, *_table(lines))


def _outcomes(run: RunData) -> Figure | None:
    found = {name: series(run.metrics, f"train/outcome/{name}") for name in OUTCOMES}
    shares = {name: thinned(*pair) for name, pair in found.items() if len(pair[0]) and pair[1].any()}
    if not shares:
        return None
    steps = next(iter(shares.values()))[0]
    values = [of_name for _, of_name in shares.values()]
    labels, colours = zip(*(OUTCOMES[name] for name in shares), strict=True)

    def paint(axis: Axes) -> None:
        axis.stackplot(steps, *values, labels=labels, colors=colours, alpha=0.75, lw=0)
        _finish(axis, labels, (0, 1))

    last = ", ".join(f"{label} {share[-1]:.1%}" for label, share in zip(labels, values, strict=True))
    says = f"Outcomes of completions, as shares of each step. In the last step: {last}."
    rows = [[str(steps[row]), *(f"{share[row]:.1%}" for share in values)] for row in _picked(len(steps))]
    return Figure("curve-outcomes", "Outcomes", says, draw("outcomes", paint), ["step", *labels], rows)


def _finish(axis: Axes, lines: Sequence[Any], span: tuple[float, float] | None) -> None:
    from matplotlib.ticker import MaxNLocator

    if span:
        axis.set_ylim(*span)
    axis.grid(axis="y", lw=0.8)
    axis.spines["left"].set_visible(False)
    axis.tick_params(length=0)
    axis.set_xlabel("step")
    axis.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axis.yaxis.set_major_locator(MaxNLocator(nbins=5))
    axis.margins(x=0.01)
    if len(lines) > 1:
        axis.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, handlelength=1.2, labelcolor=figures.INK)


def _change(lines: Sequence[RunCurve]) -> str:
    names = ["From"] if len(lines) == 1 else [f"{line.run}: from" for line in lines]
    ends = (f"{line.values[0]:.3g} to {line.values[-1]:.3g}" for line in lines)
    return "; ".join(f"{name} {text}" for name, text in zip(names, ends, strict=True)) + "."


def _table(lines: Sequence[RunCurve]) -> tuple[list[str], list[list[str]]]:
    """A column for each run, with some evenly spaced rows."""
    steps = np.unique(np.concatenate([line.steps for line in lines]))
    at = [dict(zip(line.steps.tolist(), line.values.tolist(), strict=True)) for line in lines]
    rows = [
        [str(step), *(f"{values[step]:.4g}" if step in values else "" for values in at)]
        for step in steps[_picked(len(steps))].tolist()
    ]
    return ["step", *(line.run for line in lines)], rows


def _picked(count: int) -> NDArray[np.intp]:
    places: NDArray[np.intp] = np.unique(np.linspace(0, count - 1, min(ROWS, count)).round().astype(np.intp))
    return places
