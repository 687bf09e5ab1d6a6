"""A report: everything that it shows, and how it is written, as one HTML file and as Markdown.

Queries are written by a model, and titles by anybody: everything in a template is escaped, but for pictures that this
package draws itself. The HTML file loads nothing from elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from recr1.errors import MissingLibrary
from recr1.judge.table import Table
from recr1.report import attached, figures, tables
from recr1.report.attached import Attached
from recr1.report.card import Card, Notice, card, notices
from recr1.report.curves import curves
from recr1.report.figures import Figure
from recr1.report.groups import ChangedNeed, Group, Verdict, changes, grouped, verdict
from recr1.report.run_data import RunData
from recr1.runs import write_text, writing

TEMPLATES = Path(__file__).with_name("templates")


@dataclass(frozen=True)
class GroupReport:
    """The results of one group of runs."""

    name: str
    verdict: Verdict
    compared: Sequence[Attached]
    swapped: Sequence[Attached]
    rescored: Sequence[Attached]
    to_compare: str
    """The command that compares its policies with cheaper ones."""
    standing: Figure | None = None
    moved: Figure | None = None
    results: Sequence[Table] = ()
    """Of each split, that of the verdict first."""
    rivals: Table | None = None
    slices: Table | None = None
    guards: Table | None = None
    won: Sequence[ChangedNeed] = ()
    lost: Sequence[ChangedNeed] = ()
    measure: str = ""
    tally: Mapping[str, int] | None = None
    """Needs that the policy won, tied and lost against the raw need."""


@dataclass(frozen=True)
class Page:
    """A report."""

    title: str
    made: str
    notices: Sequence[Notice]
    parts: Sequence[GroupReport]
    side_by_side: Table | None
    curves: Sequence[Figure]
    samples: Table | None
    costs: Table
    cards: Sequence[Card]


def page(runs: Sequence[RunData], *, category: str | None = None) -> Page:
    """The report of runs; raises `MissingLibrary` without matplotlib.

    `category` is the catalog field to slice by; None takes a usual name, if there is one. Raises `UserError` for a
    field that no evaluation saved.
    """
    tables.check_category(runs, category)
    groups = grouped(runs)
    with figures.style():
        return Page(
            title=", ".join(group.name for group in groups),
            made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            notices=notices(runs),
            parts=[_part(group, f"g{place}", category) for place, group in enumerate(groups)],
            side_by_side=tables.side_by_side(groups),
            curves=curves(runs),
            samples=tables.samples(runs),
            costs=tables.costs(runs),
            cards=[card(run) for run in runs],
        )


def _part(group: Group, name: str, category: str | None) -> GroupReport:
    part = GroupReport(
        group.name,
        verdict(group),
        attached.compared(group, name),
        attached.swapped(group),
        attached.rescored(group),
        attached.to_compare(group),
    )
    if not group.splits:
        return part
    policies = next(iter(group.splits.values()))
    last = policies[-1]
    measure = last.first.measures[0]
    won, lost = changes(policies, measure)
    test = last.measures[measure]["versus_floor"]
    return replace(
        part,
        standing=figures.standing(policies, measure, name),
        moved=figures.moved(last, name),
        results=[table for split in group.splits for table in tables.results(group, split)],
        rivals=tables.rivals(policies, measure),
        slices=tables.slices(last, measure, category),
        guards=tables.guards(policies),
        won=won,
        lost=lost,
        measure=measure,
        tally={"won": test["wins"], "tied": test["ties"], "lost": test["losses"]},
    )


def write_report(page: Page, out: Path) -> tuple[Path, Path]:
    """Write the HTML file and the Markdown beside it; returns both paths. Raises `RunError` if it cannot write."""
    beside = out.with_suffix(".md")
    with writing(out.parent):
        out.parent.mkdir(parents=True, exist_ok=True)
        write_text(out, html(page))
        write_text(beside, markdown(page))
    return out, beside


def html(page: Any, template: str = "report.html.jinja") -> str:
    """A report, or what another template shows, as HTML."""
    style = (TEMPLATES / "report.css").read_text(encoding="utf-8")
    return _rendered(template, page=page, style=style)


def markdown(page: Page) -> str:
    """The page as Markdown, without pictures."""
    return re.sub(r"\n{3,}", "\n\n", _rendered("report.md.jinja", page=page)).strip() + "\n"


def _rendered(template: str, **values: Any) -> str:
    try:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
    except ImportError as error:
        raise MissingLibrary("jinja2", "report", "writing a report") from error
    is_html = template.endswith(".html.jinja")
    templates = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=is_html,
        undefined=StrictUndefined,
        finalize=None if is_html else _escaped_markdown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters["capitalized"] = lambda text: f"{text[:1].upper()}{text[1:]}"
    return templates.get_template(template).render(**values)


def _escaped_markdown(value: Any) -> Any:
    """A text that Markdown shows as it is: one line, without markup, HTML, links or ends of cells."""
    from markupsafe import Markup

    if isinstance(value, Markup):
        return value
    line = " ".join(str(value).split())
    return re.sub(r"([\\`*_{}\[\]<>#|~$&])", r"\\\1", line).replace("://", ":\\//")
