"""The files of a comparison."""

from __future__ import annotations

import json
from pathlib import Path

from recr1.compare.comparison import Comparison
from recr1.compare.tables import tables_of
from recr1.compare.verdict import verdict, verdicts
from recr1.evaluate import Table
from recr1.runs import write_text, writing


def tables(comparison: Comparison) -> list[Table]:
    """The measures and their tests, what it costs, and the slices."""
    return tables_of(comparison.summary)


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
