"""A comparison for people and for tools: tables, and the files of a comparison."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from recr1.compare.comparison import Comparison
from recr1.compare.entry import Entry
from recr1.compare.verdict import verdict, verdicts
from recr1.evaluate import Table
from recr1.evaluate.report import cell
from recr1.evaluate.stats import LEVEL
from recr1.runs import write_text, writing


def tables(comparison: Comparison) -> list[Table]:
    """The measures and their tests, what it costs, and the slices."""
    return [_measured(comparison), _costs(comparison), *_sliced(comparison)]


def _measured(comparison: Comparison) -> Table:
    first = comparison.entries[0]
    header = ["", *comparison.measures, "won/tied/lost", "effect"]
    rows = []
    for entry in comparison.entries:
        tests = {
            m: comparison.difference(m, entry.label, first.label) for m in comparison.measures if entry is not first
        }
        cells = [
            cell(entry.interval(measure, comparison.seed)._asdict(), tests[measure].p_holm if tests else None)
            for measure in comparison.measures
        ]
        main = tests.get(comparison.main)
        outcome = f"{main.wins}/{main.ties}/{main.losses}" if main else ""
        effect = "" if main is None or main.effect is None else f"{main.effect:+.2f}"
        rows.append([_name(entry), *cells, outcome, effect])
    title = f"{first.first.split}: {len(first.first.needs)} needs, each policy against {first.label}"
    return Table(title, header, rows, [_note(comparison), *_own_notes(comparison)])


def _name(entry: Entry) -> str:
    seeds = len(entry.evaluations)
    name = f"{entry.label} ({seeds} seeds)" if seeds > 1 else entry.label
    return f"{name} *" if entry.bound else name


def _note(comparison: Comparison) -> str:
    settings, first = comparison.summary["settings"], comparison.entries[0].label
    return (
        f"Means with {LEVEL:.0%} intervals: bootstrap over needs; of several seeds, over needs and seeds. p: of the "
        f"two-sided paired test against {first}, Holm-corrected for all {settings['tests']} tests of this comparison. "
        f"won/tied/lost, effect (Cohen's d): needs against {first} in {comparison.main}. *: reads the answers, a "
        "bound and no rival."
    )


def _own_notes(comparison: Comparison) -> Iterator[str]:
    seeing = [f"{entry.label}: {', '.join(entry.sees)}" for entry in comparison.entries if entry.sees]
    if seeing:
        yield f"What is seen beside the need, {'; '.join(seeing)}."
    yield from (f"{entry.label}: {note}." for entry in comparison.entries for note in entry.notes)


def _costs(comparison: Comparison) -> Table:
    header = ["", "ms", "tokens read", "tokens written", "words", "invalid", "no hits", "setup s", "setup tokens"]
    rows = []
    for entry in comparison.entries:
        cost, behaviour = entry.cost, entry.behaviour
        rows.append(
            [
                _name(entry),
                f"{cost.milliseconds:.2f}",
                f"{cost.tokens_read:.1f}",
                f"{cost.tokens_written:.1f}",
                f"{behaviour['query_words']:.1f}",
                f"{behaviour['invalid']:.1%}",
                f"{behaviour['no_hits']:.1%}",
                f"{cost.setup_seconds:.1f}",
                str(cost.setup_tokens),
            ]
        )
    note = (
        "A query, on this machine, in batches: milliseconds of writing with the searches that are part of it (not the "
        "final one), tokens of language models. setup: once, before the first query; training is not in it."
    )
    return Table("What a query costs", header, rows, [note])


def _sliced(comparison: Comparison) -> Iterator[Table]:
    parts = comparison.summary["slices"]
    if not parts:
        return
    labels = list(dict.fromkeys([comparison.entries[0].label, comparison.subject.label]))
    rows = []
    for part in parts:
        levels = [cell(part["policies"][label]) for label in labels]
        gained = [_gain(part["differences"][label]) for label in labels[1:]]
        rows.append([f"{part['by']}: {part['name']}", str(part["needs"]), *levels, *gained])
    note = (
        f"{LEVEL:.0%} intervals of each slice alone, over its needs; many slices are looked at, none is tested. "
        "Those of the other policies are in compare.json."
    )
    yield Table(
        f"{comparison.main} by slices", ["slice", "needs", *labels, *(["gain"] * len(labels[1:]))], rows, [note]
    )


def _gain(numbers: Mapping[str, float]) -> str:
    return "{mean:+.3f}\n[{low:+.3f}..{high:+.3f}]".format(**numbers)


def write(comparison: Comparison, folder: str | Path) -> Path:
    """Write a comparison into a folder and return it; raises `RunError` when it cannot be written.

    - `compare.json`: every number, with the values of each need;
    - `compare.md`: verdict and tables.
    """
    out = Path(folder)
    summary = comparison.summary | {"verdict": verdict(comparison), "verdicts": verdicts(comparison)}
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
        write_text(out / "compare.json", json.dumps(summary) + "\n")
        write_text(out / "compare.md", markdown(comparison))
    return out


def markdown(comparison: Comparison) -> str:
    """The page."""
    said = "\n".join(f"- {label}: {sentence}" for label, sentence in verdicts(comparison).items())
    drawn = "\n".join(table.markdown() for table in tables(comparison))
    return f"# Comparison\n\n**{verdict(comparison)}**\n\n{drawn}\n## In words\n\n{said}\n"
