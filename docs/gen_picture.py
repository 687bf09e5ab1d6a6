"""Prints the pictures of the README and of "Your first real run", each from a run.

python docs/gen_picture.py quickstart RUN > docs/quickstart.svg
python docs/gen_picture.py first-real-run RUN > docs/first-real-run.svg
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from html import escape
from pathlib import Path

WIDTH, HEIGHT = 880, 534
LEFT, RIGHT, TOP, BOTTOM = 60, 690, 256, 486  # of the chart
CUT = 200  # above it, the README's picture has a step
MEASURE = "eval/validation/nDCG@10"
# One of the needs that `recr1 eval` of the quickstart shows.
NEED = ("somewhere in the middle, like in a barn,", "fuchsia and no compromises: an umbrella")
BEFORE, AFTER = ("fuchsia medium country brolly", "0.00"), ("rose regular rustic umbrella", "1.00")

STYLE = """\
  svg { color-scheme: light dark; font: 13px system-ui, sans-serif; --ground: #ffffff; --ink: #1f2328; --soft: #59636e;
        --line: #d1d9e0; --box: #f6f8fa; --teal: #00695c; --rust: #b3470d }
  @media (prefers-color-scheme: dark) {
    svg { --ground: #0d1117; --ink: #e6edf3; --soft: #9198a1; --line: #3d444d; --box: #151b23; --teal: #4db6ac;
          --rust: #f0883e } }
  text { fill: var(--ink) } .soft { fill: var(--soft) } .teal { fill: var(--teal) } .rust { fill: var(--rust) }
  .bold { font-weight: 600 } .middle { text-anchor: middle } .end { text-anchor: end }
  .box { fill: var(--box); stroke: var(--line) } .arrow { fill: none; stroke: var(--soft); stroke-width: 1.5 }
  .grid { stroke: var(--line) } .bound { stroke: var(--soft); stroke-dasharray: 5 4 }
  .train { fill: none; stroke: var(--rust); stroke-width: 1.2; opacity: .8 }
  .valid { fill: none; stroke: var(--teal); stroke-width: 2.5 } .dot { fill: var(--teal) }"""

BOXES = (
    (20, "need", "words of a shopper"),
    (200, "policy", "a language model"),
    (380, "query", "what it writes"),
    (560, "retriever", "hidden catalog"),
    (740, "reward", "nDCG@10 of hits"),
)


def picture(name: str, run: Path) -> str:
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    if name == "quickstart":
        top, title = 0, "One training step, and nDCG@10 of the quickstart over 80 steps, between floor and ceiling"
        heading = "The quickstart: 5,000 items, a policy of a million parameters, one minute on two CPU cores"
        body = [*step(), *chart(records, heading, 20)]
    else:
        top, title = CUT, "nDCG@10 of SmolLM2-135M over 400 steps of supervised training, between floor and ceiling"
        heading = "SmolLM2-135M on judged queries of films: 400 steps on pairs that searches found, on one CPU core"
        body = [*chart(records, heading, 100, low=0.64, high=0.76, grid=0.02)]
    height, drawn = HEIGHT - top, "\n".join(body)
    return f"""\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 {top} {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img">
<title>{title}</title>
<style>
{STYLE}
</style>
<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">
<path d="M0 0 L8 4 L0 8 z" style="fill: var(--soft)"/></marker></defs>
<rect y="{top}" width="{WIDTH}" height="{height}" rx="8" style="fill: var(--ground)"/>
{drawn}
</svg>
"""


def step() -> Iterator[str]:
    """The boxes of a training step, and a need before and after training."""
    for left, title, note in BOXES:
        yield f'<rect class="box" x="{left}" y="20" width="120" height="54" rx="6"/>'
        yield text(left + 60, 43, title, "bold middle")
        yield text(left + 60, 62, note, "soft middle", size=11)
        if left > 20:
            yield f'<path class="arrow" d="M{left - 56} 47 H{left - 5}" marker-end="url(#tip)"/>'
    yield '<path class="arrow" d="M800 78 V104 H260 V80" marker-end="url(#tip)"/>'
    yield text(530, 122, "GRPO, RLOO or PPO changes the weights of the policy", "soft middle")
    yield text(20, 160, NEED[0])
    yield text(20, 178, NEED[1])
    for y, when, (query, reward), color in ((160, "untrained", BEFORE, "rust"), (178, "trained", AFTER, "teal")):
        yield text(368, y, when, "soft end")
        yield text(380, y, query, f"{color} bold")
        yield text(800, y, reward, f"{color} bold middle")
    yield f'<path class="grid" d="M20 200 H{WIDTH - 20}"/>'


def chart(
    records: list[dict[str, float]], title: str, tick: int, *, low: float = 0, high: float = 1, grid: float = 0.25
) -> Iterator[str]:
    """Validation over the steps, and the training reward where there is one, with floor and ceiling.

    What is below `low` or above `high` is said, and not drawn.
    """
    steps = max(int(record["step"]) for record in records)
    valid = [(record["step"], record[MEASURE]) for record in records if MEASURE in record]
    train = [(record["step"], record["train/reward"]) for record in records if "train/reward" in record]
    first = next(record for record in records if MEASURE in record)

    def at(point: tuple[float, float]) -> tuple[float, float]:
        return LEFT + point[0] / steps * (RIGHT - LEFT), BOTTOM - (point[1] - low) / (high - low) * (BOTTOM - TOP)

    yield text(20, 230, title, "bold")
    for value in (low + grid * line for line in range(round((high - low) / grid) + 1)):
        y = at((0, value))[1]
        yield f'<path class="grid" d="M{LEFT} {y:.1f} H{RIGHT}"/>'
        yield text(LEFT - 8, y + 4, f"{value:g}", "soft end", size=11)
    for x in range(0, steps + 1, tick):
        yield text(at((x, 0))[0], BOTTOM + 18, str(x), "soft middle", size=11)
    yield text((LEFT + RIGHT) / 2, BOTTOM + 36, "training steps", "soft middle")
    yield from bounds(first, at, high)
    if train:
        yield f'<polyline class="train" points="{points(map(at, train))}"/>'
        yield text(RIGHT + 10, HEIGHT - 172, "training reward", "rust")
    if valid[0][1] < low:
        yield text(LEFT + 10, BOTTOM - 8, f"before: {valid.pop(0)[1]:.3f}", "teal")
    yield f'<polyline class="valid" points="{points(map(at, valid))}"/>'
    for point in valid:
        x, y = at(point)
        yield f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="4"/>'
    best = max(valid, key=lambda point: point[1])
    x, y = at(best)
    yield text(x + 20, y - 11, f"kept: step {best[0]:g}, {best[1]:.3f}", "teal bold end")
    yield text(RIGHT + 10, HEIGHT - 190.6, "validation nDCG@10", "teal bold")
    yield text(RIGHT + 10, at(valid[0])[1] + 30, "floor: search the need", "soft", size=11)
    yield text(RIGHT + 10, at(valid[0])[1] + 45, "as the shopper said it", "soft", size=11)


def bounds(
    record: dict[str, float], at: Callable[[tuple[float, float]], tuple[float, float]], high: float
) -> Iterator[str]:
    """Lines of floor and ceiling, with their names."""
    for name in ("floor", "ceiling"):
        value = record[f"{MEASURE}/{name}"]
        y = at((0, min(value, high)))[1]
        if value <= high:
            yield f'<path class="bound" d="M{LEFT} {y:.1f} H{RIGHT}"/>'
        yield text(RIGHT + 10, y + 4, f"{name} {value:.3f}{', not drawn' if value > high else ''}", "soft")


def points(places: Iterator[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in places)


def text(x: float, y: float, words: str, look: str = "", *, size: int = 13) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{look}" font-size="{size}">{escape(words)}</text>'


if __name__ == "__main__":
    sys.stdout.write(picture(sys.argv[1], Path(sys.argv[2])))
