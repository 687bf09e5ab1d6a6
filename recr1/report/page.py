"""A report: everything that its page and its Markdown show, put together from run folders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from recr1.judge.table import Table
from recr1.report import attached, drawing, figures, tables
from recr1.report.attached import Attached
from recr1.report.card import Card, card
from recr1.report.curves import curves
from recr1.report.drawing import Figure
from recr1.report.notices import Notice, notices
from recr1.report.pool import Group, grouped
from recr1.report.queries import Changed, changes, sampled
from recr1.report.slices import check_category, slices
from recr1.report.source import Source
from recr1.report.verdict import Verdict, verdict


@dataclass(frozen=True)
class Part:
    """What is said of one group of runs."""

    id: str
    name: str
    verdict: Verdict
    standing: Figure | None = None
    moved: Figure | None = None
    results: Sequence[Table] = ()
    """Of each split, that of the verdict first."""
    rivals: Table | None = None
    slices: Table | None = None
    guards: Table | None = None
    won: Sequence[Changed] = ()
    lost: Sequence[Changed] = ()
    measure: str = ""
    tally: Mapping[str, int] | None = None
    """Needs that the policy won, tied and lost against the raw need."""
    compared: Sequence[Attached] = ()
    swapped: Sequence[Attached] = ()
    rescored: Sequence[Attached] = ()
    to_compare: str = ""
    """The command that compares its policies with cheaper ones."""


@dataclass(frozen=True)
class Page:
    """A report."""

    title: str
    made: str
    notices: Sequence[Notice]
    parts: Sequence[Part]
    side_by_side: Table | None
    curves: Sequence[Figure]
    samples: Table | None
    costs: Table
    cards: Sequence[Card]


def page(sources: Sequence[Source], *, category: str | None = None) -> Page:
    """The report of runs; raises `MissingLibrary` without matplotlib.

    Args:
        sources: The runs.
        category: The field of the catalog to slice by; None takes a usual name where there is one. Raises `UserError`
            for one that no evaluation kept.
    """
    check_category(sources, category)
    groups = grouped(sources)
    with drawing.style():
        return Page(
            title=", ".join(group.name for group in groups),
            made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            notices=notices(sources),
            parts=[_part(group, f"g{place}", category) for place, group in enumerate(groups)],
            side_by_side=tables.side_by_side(groups),
            curves=curves(sources),
            samples=_samples(sources),
            costs=tables.costs(sources),
            cards=[card(source) for source in sources],
        )


def _part(group: Group, name: str, category: str | None) -> Part:
    said = verdict(group)
    part = Part(
        name,
        group.name,
        said,
        compared=attached.compared(group, name),
        swapped=attached.swapped(group),
        rescored=attached.rescored(group),
        to_compare=attached.to_compare(group),
    )
    return _evaluated(part, group, category) if group.splits else part


def _evaluated(part: Part, group: Group, category: str | None) -> Part:
    name = part.id
    policies = next(iter(group.splits.values()))
    last = policies[-1]
    measure = last.first.measures[0]
    won, lost = changes(policies, measure)
    test = last.measures[measure]["versus_floor"]
    return replace(
        part,
        standing=figures.standing(policies, measure, name),
        moved=figures.moved(last, name),
        results=[tables.results(group, split) for split in group.splits],
        rivals=tables.rivals(policies, measure),
        slices=slices(last, measure, category),
        guards=tables.guards(policies),
        won=won,
        lost=lost,
        measure=measure,
        tally={"won": test["wins"], "tied": test["ties"], "lost": test["losses"]},
    )


def _samples(sources: Sequence[Source]) -> Table | None:
    """What was written while training, of each run; None where no rollouts were logged."""
    rows = []
    for source in sources:
        for line in sampled(source):
            text = line.get("query", f"({line.get('invalid')})")
            rank = line.get("first_relevant")
            own = [
                str(line["step"]),
                str(line["need"]),
                str(text),
                f"{line['reward']:.3f}",
                str(rank) if rank else "none",
            ]
            rows.append([source.name, *own] if len(sources) > 1 else own)
    if not rows:
        return None
    header = ["step", "need", "query", "reward", "first relevant"]
    note = "The completion in the middle of the rewards of its step."
    return Table("Written while it trained", ["run", *header] if len(sources) > 1 else header, rows, [note])
