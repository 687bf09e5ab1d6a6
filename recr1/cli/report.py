"""`recr1 report`: what runs have reached, in one HTML file and in Markdown."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from recr1.errors import UserError
from recr1.report import page, read_run, write_report


def report(runs: Sequence[str], *, out: str | None = None, category: str | None = None) -> int:
    """Write the report of run folders.

    Args:
        runs: The folders; those of one recipe with other seeds are pooled, others stand side by side.
        out: The HTML file; `report.html` in the folder of a single run, or in the current one, by default.
        category: The field of the catalog to slice by, of those that the evaluations kept.

    Raises:
        UserError: For a folder that holds no run, a run that is named twice, or a field that was not kept.
    """
    twice = [run for place, run in enumerate(runs) if Path(run).resolve() in [Path(r).resolve() for r in runs[:place]]]
    if twice:
        raise UserError(f"{twice[0]} is named twice: pooled with itself, a run would look surer than it is")
    target = Path(out) if out else (Path(runs[0]) if len(runs) == 1 else Path()) / "report.html"
    if target.suffix not in (".html", ".htm"):
        raise UserError(f"--out {target}: the report is an HTML file: name it {target.with_suffix('.html')}")
    made = page([read_run(run) for run in runs], category=category)
    written, beside = write_report(made, target)
    for part in made.parts:
        sys.stdout.write(f"{part.verdict.sentence}\n")
        sys.stdout.writelines(f"{remark}\n" for remark in part.verdict.remarks)
    sys.stdout.write(f"written to {written} and {beside}\n")
    return 0
