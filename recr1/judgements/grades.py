"""From the values of pairs to grades, with what must be known to trust them: support, intervals, the positions."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from recr1.errors import UserError
from recr1.judge.table import Table
from recr1.judgements.clicks import Impressions
from recr1.judgements.models import Values, values_of

HEADER = ("query", "item", "grade", "value", "low", "high", "impressions", "clicks", "support")
BAR = 20  # characters of an examination of 1
NEVER_MOVED = (
    "warning: each pair was shown at one position only. Positions were never randomised, so these grades cannot tell a "
    "good item from a good position: they repeat the old ranking. Show some results in random order, and grade those."
)


class Graded(NamedTuple):
    """Rows of `HEADER`, best values of a query first, and the facts about them."""

    rows: Sequence[Sequence[Any]]
    facts: dict[str, Any]

    @property
    def curve(self) -> Table:
        """How much each position is examined, drawn for a terminal."""
        rows = []
        for row in self.facts["positions"]:
            cells = [str(cell if cell is not None else "-") for cell in row.values()]
            rows.append([*cells, "█" * round(BAR * (row["examined"] or 0))])
        return Table("Examination", [*self.facts["positions"][0], ""], rows)


def graded(
    log: Impressions,
    model: str,
    *,
    smoothing: float = 10.0,
    minimum: int = 10,
    quantiles: int = 4,
    thresholds: Sequence[float] | None = None,
) -> Graded:
    """Grades of the pairs of a log by one of `MODELS`.

    Each pair gets `smoothing` impressions of the mean click rate in addition; those with fewer than `minimum` are left
    out, and it is a `UserError` if all are. `quantiles` is the number of grades, 0 for the lowest share of the
    values, and so on, where equal values are equal grades; `thresholds` are instead rising values from which on the
    grade is 1, 2 and so on.
    """
    found = values_of(log, model, smoothing, minimum)
    kept = np.flatnonzero(found.support_P >= minimum)
    if not len(kept):
        most = f"the most that a pair has is {int(found.support_P.max()):,}"
        raise UserError(f"no pair has {minimum:,} impressions, {most}: lower --minimum, or take a longer log")
    kept = kept[np.lexsort((-found.value_P[kept], found.query_P[kept]))]
    value_P = found.value_P[kept]
    edges = np.quantile(value_P, np.arange(1, quantiles) / quantiles) if thresholds is None else np.array(thresholds)
    grade_P = np.searchsorted(edges, value_P, side="left" if thresholds is None else "right")
    numbers = [found.value_P.round(6), found.low_P.round(6), found.high_P.round(6)]
    columns = [column[kept].tolist() for column in (*numbers, found.shown_P, found.clicks_P, found.support_P)]
    names = ([log.queries[row] for row in found.query_P[kept]], [log.items[row] for row in found.item_P[kept]])
    rows = list(zip(*names, grade_P.tolist(), *columns, strict=True))
    log.counts[f"pairs with fewer than {minimum:,} impressions that count, left out"] = len(found.support_P) - len(kept)
    several = int((found.positions_P[kept] > 1).sum())
    facts = {
        "model": model,
        "interval": "Wilson, 95%",
        "smoothing": smoothing,
        "minimum": minimum,
        "edges": edges.tolist(),
        "impressions": len(log.clicked_N),
        "clicks": int(found.clicks_R.sum()),
        "pairs": len(kept),
        "pairs_at_several_positions": several,
        "warnings": [NEVER_MOVED] if several == 0 else [],
        "grades": {
            str(grade): count for grade, count in enumerate(np.bincount(grade_P, minlength=len(edges) + 1).tolist())
        },
        "counts": dict(+log.counts),
        "positions": _positions(found, log.first),
    }
    return Graded(rows, facts)


def _positions(found: Values, first: int) -> list[dict[str, Any]]:
    columns = (found.shown_R.tolist(), found.clicks_R.tolist(), found.examined_R.tolist())
    return [
        {
            "position": place + first,
            "impressions": shown,
            "clicks": clicks,
            "click rate": round(clicks / shown, 4),
            "examined": None if math.isnan(examined) else round(examined, 4),
        }
        for place, (shown, clicks, examined) in enumerate(zip(*columns, strict=True))
        if shown
    ]


def write_grades(result: Graded, out: Path) -> Path:
    """Write the rows as CSV and the facts as JSON beside it; returns the JSON. Raises `UserError` for what exists."""
    beside = out.with_name(f"{out.name}.json")
    if existing := next((path for path in (out, beside) if path.exists()), None):
        raise UserError(f"{existing} exists already and is not overwritten: choose another name")
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("x", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(HEADER)
        table.writerows(result.rows)
    beside.write_text(json.dumps(result.facts, indent=2) + "\n", encoding="utf-8")
    return beside
