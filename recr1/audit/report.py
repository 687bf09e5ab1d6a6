"""An audit for people: a table of numbers, one of each bias, a page, and the files."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recr1.audit.audit import Audit
from recr1.audit.base import SIGNIFICANCE, Number, Part
from recr1.judge.table import Table, page
from recr1.report import figures
from recr1.report.figures import BAD, SERIES, Figure
from recr1.report.page import html
from recr1.runs import write_text, writing

HEADER = ["number", "value", "95% interval", "p", "chance", "limit", "verdict", "what it is"]
NOTE = (
    f"A number fails where it is above its limit and p is below {SIGNIFICANCE:g}. p is how often chance alone gives as "
    "much; where there is a limit, it is corrected for the number of tests (Holm). chance: answers drawn at random."
)


@dataclass(frozen=True)
class Page:
    """What the template shows."""

    title: str
    audit: Audit
    facts: str
    note: str
    parts: list[tuple[Part, Table | None, Figure | None]]


def _row(one: Number) -> list[str]:
    known = not math.isnan(one.value)
    value = f"{one.value:.3f}" if known else "-"
    interval = "" if one.low is None or one.high is None else f"{one.low:.3f} to {one.high:.3f}"
    verdict = "fails" if one.fails else "passes" if known and one.limit is not None else ""
    own = one.p if one.corrected is None else one.corrected
    p = "" if own is None else "< 0.001" if own < 0.001 else f"{own:.3f}"
    chance, limit = ("" if of is None else f"{of:.3f}" for of in (one.chance, one.limit))
    return [one.name, value, interval, p, chance, limit, verdict, one.says]


def tables(audit: Audit) -> list[Table]:
    """For a terminal: the numbers with a limit, in a table."""
    rows = [_row(number)[:7] for number in audit.numbers if number.limit is not None]
    return [Table(_title(audit), HEADER[:7], rows, [NOTE])]


def remarks(audit: Audit) -> list[str]:
    """What was not audited, and why."""
    return [f"{part.title}: {remark}" for part in audit.parts for remark in part.remarks]


def _title(audit: Audit) -> str:
    return f"{audit.policy} on {audit.split}: {len(audit.seen.needs)} needs"


def _parts(audit: Audit) -> Iterator[tuple[Part, Table | None, Figure | None]]:
    for place, part in enumerate(audit.parts):
        colour = BAD if any(number.fails for number in part.numbers) else SERIES[0]
        rows = [(label, values, colour) for label, values in part.shares.items()]
        shown = figures.intervals(f"audit-{place}", part.title, rows, part.picture) if rows else None
        numbers = Table(part.title, HEADER, [_row(number) for number in part.numbers]) if part.numbers else None
        yield part, numbers, shown


def write(audit: Audit, folder: str | Path, *, origin: dict[str, Any] | None = None) -> Path:
    """Write `audit.html`, `audit.json` and `audit.md` into a folder and return it.

    Raises `RunError` where it cannot write, and `MissingLibrary` without matplotlib or jinja2.
    """
    out = Path(folder)
    made = f"{audit.generated} answers generated, {audit.reused} from the evaluation"
    with figures.style():
        shown = Page(_title(audit), audit, made, NOTE, list(_parts(audit)))
    text = html(shown, "audit.html.jinja")
    content = audit.plain() | ({"origin": origin} if origin else {})
    whole = [table for part, numbers, _ in shown.parts for table in (numbers, *part.tables) if table]
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
        write_text(out / "audit.html", text)
        write_text(out / "audit.json", json.dumps(content, indent=2) + "\n")
        write_text(out / "audit.md", page(whole, [audit.verdict, *remarks(audit)]))
    return out
